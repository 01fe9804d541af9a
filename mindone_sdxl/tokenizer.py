"""CLIP's byte-pair tokenizer, from the files that a diffusers folder has, by the `tokenizers` library alone.

Ids equal those of the two tokenizers of a diffusers SDXL pipeline. They differ in one thing: the first pads with the
end-of-text token, the second with "!", whose id is 0. In diffusers a pad token is a special token, so that every "!"
in a prompt for the second tokenizer becomes id 0 instead of the ordinary token for "!"; `pad_token_is_special=False`
tokenizes it as an ordinary character, as OpenCLIP does.
"""

# mypy: no-warn-return-any
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE

from mindone_sdxl.config import read_json
from mindone_sdxl.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindone_sdxl.arrays import Array

__all__ = ["CLIPTokenizer", "pad_token_of"]

START, END = "<|startoftext|>", "<|endoftext|>"
# Contractions, runs of letters, single digits, runs of anything else that is not white space.
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class CLIPTokenizer:
    """Prompts to ids [batch, max_length], started, truncated, ended and padded.

    Args:
        folder: holds `vocab.json` and `merges.txt`, or `tokenizer.json`.
        pad_token: what fills up short prompts.
        pad_token_is_special: whether the pad token's text in a prompt means the pad token itself.
        max_length: tokens of a prompt, start and end included.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        pad_token: str = END,
        pad_token_is_special: bool = True,
        max_length: int = 77,
    ) -> None:
        vocabulary, merges = _read(Path(folder))
        for token in (START, END, pad_token):
            if token not in vocabulary:
                message = f"the vocabulary in {folder} has no {token!r}"
                raise ConfigError(message)
        self.max_length = max_length
        self.start_id, self.end_id, self.pad_id = (vocabulary[token] for token in (START, END, pad_token))
        self._tokenizer = _build(vocabulary, merges)
        special = [START, END, *([pad_token] if pad_token_is_special else [])]
        normalized = _normalized_tokens(Path(folder))
        self._tokenizer.add_special_tokens(
            [AddedToken(token, special=True, normalized=token in normalized) for token in special]
        )

    def encode(self, prompt: str) -> list[int]:
        """Ids of a prompt of any length, without start, end and padding."""
        return list(self._tokenizer.encode(prompt, add_special_tokens=False).ids)

    def frame(self, ids: Sequence[int]) -> list[int]:
        """Ids cut to the length, between start and end, padded."""
        framed = [self.start_id, *ids[: self.max_length - 2], self.end_id]
        return framed + [self.pad_id] * (self.max_length - len(framed))

    def __call__(self, prompts: Sequence[str]) -> Array:
        """Ids of prompts, int32 [batch, max_length]."""
        return np.array([self.frame(self.encode(prompt)) for prompt in prompts], dtype=np.int32)


def _build(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    tokenizer = Tokenizer(
        BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>", unk_token=END, continuing_subword_prefix="")
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return tokenizer


def _read(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a folder; ConfigError where they cannot be read."""
    try:
        return _vocabulary(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        message = f"{folder} holds no readable vocabulary and merges: {error!r:.200}"
        raise ConfigError(message) from error


def _vocabulary(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a folder."""
    if (folder / "vocab.json").exists():
        vocabulary = dict(read_json(folder / "vocab.json"))
        lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
        merges = [line for line in lines if line and not line.startswith("#version")]
    elif (folder / "tokenizer.json").exists():
        model = read_json(folder / "tokenizer.json")["model"]
        vocabulary, merges = dict(model["vocab"]), model["merges"]
    else:
        message = f"{folder} has neither vocab.json nor tokenizer.json"
        raise ConfigError(message)
    split = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    return vocabulary, [(first, second) for first, second in split]


def _normalized_tokens(folder: Path) -> set[str]:
    """The special tokens that are also found in other spellings, such as upper case, as the folder's files say."""
    if (folder / "tokenizer.json").exists():
        tokens = read_json(folder / "tokenizer.json")["added_tokens"]
    elif (folder / "tokenizer_config.json").exists():
        settings = read_json(folder / "tokenizer_config.json")
        named = [settings.get(f"{name}_token") for name in ("bos", "eos", "unk", "pad")]
        # A token named twice is what the last name says; a bare string is not normalized.
        last = [{"content": token, "normalized": False} if isinstance(token, str) else token for token in named]
        listed = settings.get("added_tokens_decoder")
        tokens = list(listed.values()) if listed else [token for token in last if token]
    else:
        tokens = []
    flags = {token["content"]: token.get("normalized", False) for token in tokens}
    return {content for content, flag in flags.items() if flag}


def pad_token_of(folder: str | Path, default: str = END) -> str:
    """The pad token that a tokenizer folder's configuration names."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = Path(folder) / name
        if path.exists():
            token = read_json(path).get("pad_token")
            if token is not None:
                return token["content"] if isinstance(token, dict) else token
    return default
