"""Token ids against the two tokenizers of a diffusers pipeline."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tokenizers", reason="needs the extra [mindspore]")

from mindone_sdxl.tokenizer import CLIPTokenizer, pad_token_of

pytestmark = pytest.mark.torch
PROMPTS = [
    "",
    "the astronaut",
    "THE   Cat's\tcats' don't\n 12345 x",
    "wow! such cat!! ! !",
    "caf\u00e9 cafe\u0301 \u732b \U0001f600 a\u00df\u0130",
    "<|endoftext|> in the <|startoftext|>middle<|endoftext|>",
    "<|ENDOFTEXT|> !<|EndOfText|>!",
    "astronaut " * 80,
    "!" * 90,
    " leading and trailing ",
    "&amp; \u201cquotes\u201d ...?!",
    "\x00\x07control\u200bzero",
]


@pytest.mark.parametrize("number", ["", "_2"])
def test_ids_equal_those_of_diffusers(number, folder, reference):
    theirs = getattr(reference, f"tokenizer{number}")
    ours = CLIPTokenizer(folder / f"tokenizer{number}", pad_token=pad_token_of(folder / f"tokenizer{number}"))
    expected = theirs(PROMPTS, padding="max_length", max_length=77, truncation=True, return_tensors="np").input_ids
    for prompt, mine, other in zip(PROMPTS, ours(PROMPTS), expected, strict=True):
        assert mine.tolist() == other.tolist(), prompt


def test_the_pad_token_in_a_prompt_is_ordinary_when_asked(folder):
    path = folder / "tokenizer_2"
    special, ordinary = (CLIPTokenizer(path, pad_token="!", pad_token_is_special=flag) for flag in (True, False))
    assert special.encode("cat!")[-1] == 0
    assert ordinary.encode("cat!")[-1] == 256
    assert ordinary(["cat"])[0, -1] == special(["cat"])[0, -1] == 0


def test_ids_are_the_same_from_vocabulary_and_merges_as_from_one_file(folder, tmp_path):
    from conftest import write_tokenizer

    write_tokenizer(tmp_path / "plain", "!")
    plain = CLIPTokenizer(tmp_path / "plain", pad_token="!")
    assert np.array_equal(plain(PROMPTS), CLIPTokenizer(folder / "tokenizer_2", pad_token="!")(PROMPTS))
