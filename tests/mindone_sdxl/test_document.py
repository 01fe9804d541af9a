"""The commands of docs/mindone_sdxl.md, run one after the other as they are printed.

Folders of the names that the document uses hold tiny models. Images are made small, and the first command gets the two
flags that the document says other devices need.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs the extra [mindspore]")

from PIL import Image

from test_variants import EDM, MEAN, STD, changed

pytestmark = [pytest.mark.torch, pytest.mark.mindspore]
DOCUMENT = Path(__file__).parents[2] / "docs" / "mindone_sdxl.md"
SMALL = ["--height", "64", "--width", "64"]
ON_CPU = ["--device_target", "CPU", "--ms_amp_level", "O0"]


def commands():
    """Every command of the document, in its order, as a list of words."""
    blocks = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.replace("\\\n", " ").splitlines()]


@pytest.fixture
def place(folder, refiner_folder, tmp_path, monkeypatch):
    """A folder with all that the document takes to be there."""
    from torch_refs.sgm import files

    shutil.copytree(folder, tmp_path / "sdxl-base-1.0")
    shutil.copytree(refiner_folder, tmp_path / "sdxl-refiner-1.0")
    shutil.copytree(folder / "vae", tmp_path / "sdxl-vae-fp16-fix")
    (tmp_path / "checkpoints").mkdir()
    files.write(folder, tmp_path / "configs" / "inference")
    (tmp_path / "configs" / "inference" / "model.yaml").rename(tmp_path / "configs" / "inference" / "sd_xl_base.yaml")
    playground = changed(
        folder, tmp_path / "playground-v2.5", "vae/config.json", latents_mean=MEAN, latents_std=STD, scaling_factor=0.5
    )
    changed(folder, playground, "scheduler/scheduler_config.json", _class_name="EDMEulerScheduler", **EDM)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "photo.png")
    np.save(tmp_path / "init_latent.npy", rng.standard_normal((1, 4, 8, 8)))
    np.save(tmp_path / "noise.npy", rng.standard_normal((40, 1, 4, 8, 8)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_of_the_document_runs_as_it_is_printed(place, mindspore, capsys):
    from mindone_sdxl import convert, sample

    mains = {"mindone_sdxl.convert": convert.main, "mindone_sdxl.sample": sample.main}
    written = set()
    for words in commands():
        assert words[:2] == ["python", "-m"], words
        arguments = words[3:]
        if words[2] == "mindone_sdxl.sample":
            arguments += [] if "img2img" in arguments else SMALL  # an image brings its own size
            arguments += [] if "CPU" in arguments else ON_CPU
            part = {"img2img", "--add_pipeline"} & set(arguments)
            steps = "14" if part else "4"  # an image keeps some of the steps, 15 % of them at the least
            arguments += [] if "--sample_step" in arguments else ["--sample_step", steps]
        assert mains[words[2]](arguments) == 0, (words, capsys.readouterr().err)
        if words[2] == "mindone_sdxl.sample":
            image = Path(capsys.readouterr().out.split()[-1])
            assert image.exists()
            written.add(image)
    assert len(written) == sum(words[2] == "mindone_sdxl.sample" for words in commands())
    assert (place / "diffusers" / "model_index.json").exists() or (place / "diffusers" / "unet").is_dir()
