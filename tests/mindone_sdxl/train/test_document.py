"""The commands of docs/training.md, run one after the other as they are printed, with small images and graphs off."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.mindspore]
DOCUMENT = Path(__file__).parents[3] / "docs" / "training.md"


def commands():
    """Every command of the document, in its order, as a list of words."""
    blocks = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def test_every_command_of_the_document_runs_as_it_is_printed(
    folder, photographs, mindspore, tmp_path, monkeypatch, capsys
):
    from mindone_sdxl import sample
    from mindone_sdxl.train.__main__ import main

    shutil.copytree(folder, tmp_path / "sdxl-base-1.0")
    shutil.copytree(photographs, tmp_path / "photographs")
    monkeypatch.chdir(tmp_path)
    for words in commands():
        assert words[:2] == ["python", "-m"], words
        arguments = words[3:]
        if words[2] == "mindone_sdxl.train":
            arguments += ["--ms_mode", "1", *([] if "--cache_latent" in arguments else ["--resolution", "64"])]
        else:
            arguments += ["--height", "64", "--width", "64", "--sample_step", "2"]
        run = {"mindone_sdxl.train": main, "mindone_sdxl.sample": sample.main}[words[2]]
        assert run(arguments) == 0, (words, capsys.readouterr().err)
    assert {path.name for path in Path("runs/first/weights").iterdir()} == {
        "SDXL-base-1.0_1.ckpt",
        "SDXL-base-1.0_2.ckpt",
    }
    assert Path("runs/cached/weights/unet_1.ckpt").exists()
