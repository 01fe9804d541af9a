"""Training from the command line, on a tiny model of the real classes."""

from __future__ import annotations

import csv
import re
import shutil

import numpy as np
import pytest

from mindone_sdxl.files import read, read_safetensors
from mindone_sdxl.train.__main__ import main
from tests.mindone_sdxl.train.conftest import write_table

pytestmark = [pytest.mark.torch, pytest.mark.mindspore]
_SMALL = [
    "--resolution",
    "64",
    "--device_target",
    "CPU",
    "--ms_amp_level",
    "O0",
    "--ms_mode",
    "1",
    "--learning_rate",
    "1e-3",
]


@pytest.fixture
def train(folder, photographs, mindspore, capsys):
    """Trains, and gives the exit status, the folder that was written and what was said."""

    def run(*arguments: str, source=("--config", str(folder), "--data_path", str(photographs))):
        status = main([*source, *_SMALL, *arguments])
        said = capsys.readouterr()
        return status, said.out.strip(), said.err

    return run


def _log(folder) -> list[dict[str, str]]:
    with (folder / "log.csv").open() as file:
        return list(csv.DictReader(file))


def _same(first, second) -> bool:
    assert first.keys() == second.keys()
    return all(np.array_equal(first[name], second[name]) for name in first)


def _to(folder) -> list[str]:
    return ["--save_path", str(folder), "--save_path_with_time", "False"]


def test_a_run_that_goes_on_gives_the_numbers_of_an_unbroken_one(train, tmp_path):
    options = [
        "--use_ema",
        "True",
        "--clip_grad",
        "True",
        "--random_flip",
        "True",
        "--offset_noise_level",
        "0.1",
        "--save_ckpt_interval",
        "1",
    ]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    status, said, progress = train(*_to(whole), *options, "--total_step", "3", "--gradient_accumulation_steps", "2")
    assert (status, said) == (0, str(whole))
    assert "3/3 steps" in progress
    assert "loss " in progress
    # A run that was killed while it wrote its third checkpoint.
    shutil.copytree(whole, broken)
    (broken / "state_3.safetensors").unlink()
    (broken / "weights" / "SDXL-base-1.0_3.ckpt").write_bytes(b"half")
    status, said, _ = train(
        "--resume", str(broken), *options, "--total_step", "3", "--gradient_accumulation_steps", "2"
    )
    assert (status, said) == (0, str(broken))
    for name in ("state_3.safetensors", "weights/SDXL-base-1.0_3.ckpt", "weights/SDXL-base-1.0_3_ema.ckpt"):
        assert _same(read(whole / name), read(broken / name)), name
    assert _log(broken) == _log(whole)
    assert [row["step"] for row in _log(whole)] == ["1", "2", "3"]
    losses = [float(row["loss"]) for row in _log(whole)]
    assert all(0 < loss < 10 for loss in losses)
    assert len(set(losses)) == 3
    # Another recipe is another run.
    status, _, said = train("--resume", str(broken), "--total_step", "4")
    assert status == 2
    assert "was written with another recipe or other data" in said


def test_a_trained_checkpoint_is_a_whole_model_that_differs_in_the_unet_alone(train, folder, tmp_path):
    from mindone_sdxl.config import from_diffusers
    from mindone_sdxl.convert import read_any

    assert train(*_to(tmp_path), "--total_step", "1", "--max_num_ckpt", "1")[0] == 0
    before = read_any(folder, from_diffusers(folder))
    after = read(tmp_path / "weights" / "SDXL-base-1.0_1.ckpt")
    assert before.keys() == after.keys()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("model.diffusion_model.") for name in changed)


def test_a_cache_trains_as_its_images_do(train, folder, tmp_path):
    status, said, _ = train("--task", "cache", "--cache_path", str(tmp_path / "cache"), "--total_step", "1")
    assert (status, said) == (0, str(tmp_path / "cache"))
    cached = ("--cache_latent", "True", "--cache_text_embedding", "True", "--cache_path", str(tmp_path / "cache"))
    plain = [word for word in _SMALL if word not in {"--resolution", "64"}]
    assert main(["--config", str(folder), *cached, *plain, *_to(tmp_path / "run"), "--total_step", "1"]) == 0
    weights = read(tmp_path / "run" / "weights" / "unet_1.ckpt")
    assert all(name.startswith("model.diffusion_model.") for name in weights)
    latents = np.load(tmp_path / "cache" / "latent_cache" / "0.npy")
    assert latents.shape == (1, 4, 8, 8)
    assert np.load(tmp_path / "cache" / "crossattn_cache" / "0.npy").shape == (1, 77, 160)
    assert np.load(tmp_path / "cache" / "vector_cache" / "0.npy").shape == (1, 96 + 6 * 32)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ([], {"float32"}),
        (["--param_fp16", "True"], {"float16", "float32"}),
        (["--param_fp16", "True", "--keep_norm_fp32", "False"], {"float16"}),
    ],
)
def test_weights_are_kept_in_the_types_that_are_asked_for(train, tmp_path, options, kept):
    half = ["--ms_amp_level", "O2", "--loss_scale", "128", "--adam_epsilon", "1e-6"]
    status, _, said = train(*_to(tmp_path), "--total_step", "1", *half, *options)
    assert status == 0
    assert ("experimental" in said) == bool(options)
    state = read_safetensors(tmp_path / "state_1.safetensors")
    trained = {name: value for name, value in state.items() if name.startswith("weight.")}
    assert {str(value.dtype) for value in trained.values()} == kept
    norms = {str(value.dtype) for name, value in trained.items() if name.endswith("gamma")}
    assert norms == ({"float16"} if kept == {"float16"} else {"float32"})
    assert all(np.isfinite(value).all() for value in trained.values())


def test_an_update_whose_gradients_overflow_is_left_out_and_the_scale_halved(train, tmp_path):
    options = [
        "--ms_amp_level",
        "O2",
        "--loss_scale",
        "1e9",
        "--dynamic_loss_scale",
        "True",
        "--overflow_still_update",
        "False",
    ]
    assert train(*_to(tmp_path), "--total_step", "2", *options)[0] == 0
    rows = _log(tmp_path)
    assert [row["updated"] for row in rows] == ["0", "0"]
    assert [float(row["loss_scale"]) for row in rows] == [1e9, 5e8]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda place: (place / "0.png").unlink(), r"line 2: the image .*0.png does not exist"),
        (lambda place: write_table(place / "table.csv", []), "no row"),
        (
            lambda place: write_table(place / "table.csv", [("0.png", "cat " * 80)]),
            "has .* tokens, at most 75 are seen",
        ),
        (lambda place: (place / "table.csv").unlink(), r"has no \.csv file"),
    ],
)
def test_what_cannot_be_used_is_one_error_before_anything_is_written(train, folder, photographs, tmp_path, spoil, said):
    place = tmp_path / "spoilt"
    shutil.copytree(photographs, place)
    spoil(place)
    source = ("--config", str(folder), "--data_path", str(place))
    status, out, err = train(*_to(tmp_path / "run"), "--total_step", "1", source=source)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert re.search(said, err)
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_and_a_strange_folder_are_one_error(train, tmp_path):
    run = tmp_path / "run"
    assert train(*_to(run), "--total_step", "1")[0] == 0
    status, _, err = train(*_to(run), "--total_step", "2")
    assert status == 2
    assert f"holds a run already; go on with it by --resume {run}" in err
    whole = (run / "state_1.safetensors").read_bytes()
    (run / "state_1.safetensors").write_bytes(whole[: len(whole) // 2])
    status, _, err = train("--resume", str(run), "--total_step", "2")
    assert status == 2
    assert "state_1.safetensors" in err
    assert "take an earlier one with --resume_step" in err
    status, _, err = train("--resume", str(tmp_path / "nowhere"), "--total_step", "2")
    assert status == 2
    assert "has no state to go on from" in err
    status, _, err = train("--resume", str(run), "--resume_step", "7", "--total_step", "9")
    assert status == 2
    assert "no state after 7 updates; there are those after 1" in err
