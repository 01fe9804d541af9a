"""CLIP's byte-pair tokenizer as the files that a diffusers folder holds.

The 49408-token vocabulary is a function of the list of merges, and that list is data of the installed
`open-clip-torch` distribution. The list is located through the distribution's metadata and the package is
not imported, so building the files needs neither its dependencies nor torch.

    folder/vocab.json, merges.txt, special_tokens_map.json, tokenizer_config.json

Limits: only CLIP's own vocabulary; a tokenizer with added tokens is saved by transformers itself.
"""

from __future__ import annotations

import gzip
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from parity.errors import FrameworkMissingError

__all__ = ["VOCABULARY_SIZE", "merges", "vocabulary", "write_tokenizer"]

VOCABULARY_SIZE = 49408
_BYTES = 256
_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
_MERGES_FILE = "bpe_simple_vocab_16e6.txt.gz"


def merges() -> list[str]:
    """Return the merges in order, each as `left right`.

    Raises:
        FrameworkMissingError: the distribution that carries the list is not installed.
    """
    found = find_spec("open_clip")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        path = Path(folder) / _MERGES_FILE
        if path.is_file():
            lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
            return lines[1 : 1 + VOCABULARY_SIZE - 2 * _BYTES - len(_SPECIAL)]
    message = f"{_MERGES_FILE} of open-clip-torch is not installed; pip install 'sdxl-parity[torch]'"
    raise FrameworkMissingError(message)


def vocabulary(pairs: list[str]) -> dict[str, int]:
    """Return token -> id: bytes, bytes that end a word, one token per merge, the two special tokens."""
    letters = _byte_letters()
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *(pair.replace(" ", "") for pair in pairs), *_SPECIAL]
    return {token: index for index, token in enumerate(tokens)}


def _byte_letters() -> list[str]:
    """Return one printable letter per byte: the printable bytes themselves, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = len(set(range(_BYTES)) - set(printable))
    return [chr(code) for code in printable] + [chr(_BYTES + index) for index in range(others)]


def write_tokenizer(folder: Path, *, padding: str) -> None:
    """Write the four files of one tokenizer; `padding` is the pad token, which differs between SDXL's two."""
    pairs = merges()
    folder.mkdir(parents=True, exist_ok=True)
    start, end = _SPECIAL
    _write_json(folder / "vocab.json", vocabulary(pairs))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(pairs) + "\n", encoding="utf-8", newline="\n")
    special = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": padding}
    _write_json(folder / "special_tokens_map.json", special)
    configuration = special | {
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": 77,
        "tokenizer_class": "CLIPTokenizer",
    }
    _write_json(folder / "tokenizer_config.json", configuration)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON with one fixed byte form."""
    path.write_text(json.dumps(content, ensure_ascii=False, indent=None) + "\n", encoding="utf-8", newline="\n")
