"""The folder that mindone is given: older names for its text encoders, the reference's rounding, links for the rest."""

import numpy as np
import pytest

pytest.importorskip("safetensors", reason="needs the extra [mindspore]")

from safetensors.numpy import load_file

from ms_candidates.mindone.folder import readable
from parity.adapters.plants import Plant
from parity.errors import WeightsError
from parity.replay import Request
from parity.trace import Manifest, WeightDigests

FILE = "model.safetensors"


def request_for(model, folder, **changes):
    weights = {}
    for address, dtype in changes.pop("types", {}).items():
        weights[address] = WeightDigests(shape=(), dtype=dtype, digests={})
    manifest = Manifest(side="reference", name="x", case={}, case_digest="", weights=weights)
    values = {"weights": None, "dtype": "float32", "device": "CPU"} | changes
    return Request(model=model, folder=folder, manifest=manifest, **values)


def test_a_text_encoder_of_transformers_5_gets_the_names_that_mindone_looks_for(tiny_model, tmp_path):
    folder = readable(request_for(tiny_model, tmp_path))
    before = load_file(tiny_model / "text_encoder" / FILE)
    after = load_file(folder / "text_encoder" / FILE)
    assert {f"text_model.{name}" for name in before} == set(after)
    assert all(np.array_equal(after[f"text_model.{name}"], array) for name, array in before.items())


def test_what_needs_no_change_is_linked(tiny_model, tmp_path):
    folder = readable(request_for(tiny_model, tmp_path))
    assert (folder / "tokenizer").is_symlink()
    assert (folder / "text_encoder_2" / FILE).is_symlink()
    assert [path.is_symlink() for path in sorted((folder / "unet").iterdir())] == [True, True]


def test_weights_are_rounded_as_the_reference_s_were(tiny_model, tmp_path):
    request = request_for(tiny_model, tmp_path, types={"unet.conv_in:weight": "float16"})
    folder = readable(request)
    (path,) = (tiny_model / "unet").glob("*.safetensors")
    before, after = load_file(path), load_file(folder / "unet" / path.name)
    assert np.array_equal(after["conv_in.weight"], before["conv_in.weight"].astype(np.float16).astype(np.float32))
    assert np.array_equal(after["conv_in.bias"], before["conv_in.bias"])


def test_a_planted_fault_changes_tensors_by_their_whole_name(tiny_model, tmp_path):
    def change(state):
        if "unet.conv_in.bias" in state:
            state["unet.conv_in.bias"] = state["unet.conv_in.bias"] + 1

    folder = readable(request_for(tiny_model, tmp_path), Plant(checkpoint=change))
    (path,) = (tiny_model / "unet").glob("*.safetensors")
    assert np.array_equal(load_file(folder / "unet" / path.name)["conv_in.bias"], load_file(path)["conv_in.bias"] + 1)


def test_weights_that_are_given_are_taken_as_they_are_or_refused(tiny_model, tmp_path):
    assert readable(request_for(tiny_model, tmp_path, weights=tiny_model)) == tiny_model
    with pytest.raises(WeightsError, match=r"has no model_index\.json"):
        readable(request_for(tiny_model, tmp_path, weights=tmp_path))
