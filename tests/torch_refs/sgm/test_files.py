"""The files of sgm's users, made of a diffusers folder, and what the adapter says without the package."""

from __future__ import annotations

import re

import pytest

from parity.errors import FrameworkMissingError, InputError

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def least(tmp_path_factory):
    from torch_refs.sgm.files import main as convert
    from torch_refs.tiny import main as build

    place = tmp_path_factory.mktemp("least")
    build([str(place / "folder"), "--least"])
    convert([str(place / "folder"), str(place / "files")])
    return place


def test_the_least_model_has_less_than_three_million_parameters(least):
    from safetensors.numpy import load_file

    assert sum(array.size for array in load_file(least / "files" / "model.safetensors").values()) < 3_000_000


def test_the_yaml_file_describes_the_folder_s_model(least):
    from mindone_sdxl.config import from_diffusers
    from mindone_sdxl.config_yaml import from_yaml

    assert from_yaml(least / "files" / "model.yaml").model == from_diffusers(least / "folder")


def test_the_same_folder_gives_the_same_bytes(least, tmp_path):
    from torch_refs.sgm.files import write

    write(least / "folder", tmp_path)
    names = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert {str(name) for name in names} >= {"model.safetensors", "model.yaml", "clip/vocab.json", "clip/config.json"}
    assert all((tmp_path / name).read_bytes() == (least / "files" / name).read_bytes() for name in names)


def test_reading_the_yaml_file_loads_no_framework(least):
    import subprocess
    import sys

    code = (
        "import sys; from mindone_sdxl.config_yaml import from_yaml; from_yaml(sys.argv[1]); import mindone_sdxl.convert; "
        "assert not {'torch', 'mindspore'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(least / "files" / "model.yaml")], check=True)


def test_a_folder_without_the_package_is_refused(tmp_path):
    from torch_refs.sgm.package import load

    with pytest.raises(InputError, match=re.escape(f"{tmp_path} holds no package sgm")):
        load(tmp_path)


def test_without_a_source_the_variable_is_named(monkeypatch):
    from torch_refs.sgm.package import load

    monkeypatch.delenv("PARITY_SGM_SOURCE", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(FrameworkMissingError, match="PARITY_SGM_SOURCE"):
        load(None)


@pytest.mark.parametrize(("device", "message"), [("cuda:99", "is not there"), ("gpu", "is not a device")])
def test_the_reference_refuses_a_device_that_is_not_there(device, message):
    from torch_refs.sgm.reference import reference

    with pytest.raises(InputError, match=message):
        reference.load(None, device=device, dtype="float32")


def test_the_lifted_sinusoids_are_the_port_s_formula():
    import numpy as np
    import torch

    from torch_refs.sgm.twin import timestep_embedding

    found = timestep_embedding(torch.tensor([999, 3]), 8).numpy()
    frequencies = 10000.0 ** (-np.arange(4) / 4)
    angles = np.array([[999.0], [3.0]]) * frequencies
    assert found.dtype == np.float64
    assert np.abs(found - np.concatenate([np.cos(angles), np.sin(angles)], 1)).max() < 1e-12
