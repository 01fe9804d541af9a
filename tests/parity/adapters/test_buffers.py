"""Buffers are weights: a right port with batch normalisation matches, and a wrong moving statistic is found and named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from parity import result as results
from parity.trace import Trace

ROOT = Path(__file__).parents[3]
FILES = {
    "norms.py": """
import torch
from torch import nn


class Norms(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(6, 8), nn.Linear(8, 4)
        self.norms = nn.Sequential(*(nn.BatchNorm1d(8, eps=1e-3) for _ in range(4)))
        self.places = nn.Embedding(5, 4)
        self.register_buffer("position_ids", torch.arange(5)[None])
        self.register_buffer("table", torch.linspace(0, 1, 5), persistent=False)

    def forward(self, x):
        return self.outer(self.norms(self.inner(x)))[:, None] + self.places(self.position_ids) + self.table[:, None]


def made():
    torch.manual_seed(1)
    net = Norms()
    with torch.no_grad():
        for norm in net.norms:
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            norm.weight.normal_()
            norm.bias.normal_()
            norm.num_batches_tracked.fill_(7)
    return net
""",
    "norms_reference.py": """
import numpy as np
import torch
from norms import made

from parity.adapters.torch_ import ModuleReference


class NormsReference(ModuleReference):
    name = "norms"

    def pipeline(self, resolved):
        net = made()
        np.savez(resolved.model_path / "model.npz", **{name: each.numpy() for name, each in net.state_dict().items()})
        return net

    def parts(self, pipeline):
        return {"unet": pipeline}

    def inputs(self, case):
        return {"x": torch.randn(3, 6, generator=torch.Generator().manual_seed(3))}

    def run(self, pipeline, **inputs):
        return pipeline(**inputs)


reference = NormsReference()
""",
    "norms_port.py": """
import mindspore as ms
import numpy as np
from mindspore import nn

NAMES = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var",
         "embedding_table": "weight"}


class Norms(nn.Cell):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Dense(6, 8), nn.Dense(8, 4)
        self.norms = nn.SequentialCell([nn.BatchNorm1d(8, eps=1e-3) for _ in range(4)])
        self.places = nn.Embedding(5, 4)
        self.position_ids = ms.Parameter(ms.Tensor(np.arange(5, dtype=np.int32)[None]), requires_grad=False)

    def construct(self, x):
        table = ms.Tensor(np.linspace(0, 1, 5).astype(np.float32))
        return self.outer(self.norms(self.inner(x))).expand_dims(1) + self.places(self.position_ids) + table[:, None]


def load(folder):
    net, state = Norms(), np.load(folder / "model.npz")
    for name, parameter in net.parameters_and_names():
        owner, _, last = name.rpartition(".")
        array = state[f"{owner}.{NAMES.get(last, last)}".lstrip(".")]
        parameter.set_data(ms.Tensor(array.astype(parameter.asnumpy().dtype)))
    return net
""",
    "norms_candidate.py": """
from norms_port import Norms, load

from parity.adapters.cells import CellCandidate


class NormsCandidate(CellCandidate):
    name = "norms_port"

    def pipeline(self, request):
        return load(request.model)

    def parts(self, pipeline):
        return {"unet": pipeline}

    def run(self, pipeline, **inputs):
        return pipeline(**inputs)


class Faulty(NormsCandidate):
    def pipeline(self, request):
        net = load(request.model)
        scaled, exchanged, fresh, _ = net.norms
        scaled.moving_variance.set_data(scaled.moving_variance * 1.01)
        mean, variance = exchanged.moving_mean.value(), exchanged.moving_variance.value()
        exchanged.moving_mean.set_data(variance)
        exchanged.moving_variance.set_data(mean.abs())
        fresh.moving_mean.set_data((fresh.moving_mean * 0).abs())
        net.position_ids.set_data(net.position_ids[:, ::-1])
        return net


candidate, faulty = NormsCandidate(), Faulty()
""",
    "case.toml": 'schema = 1\n[model]\nfolder = "model"\n',
}

pytestmark = [pytest.mark.torch, pytest.mark.mindspore]


@pytest.fixture(scope="module")
def parity(tmp_path_factory):
    """Return a function that runs a command where the files are, with the reference recorded already."""
    folder = tmp_path_factory.mktemp("norms")
    (folder / "model").mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "parity", *arguments],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode in {0, 1}, done.stderr
        return folder

    run("record", "case.toml", "--reference", "norms_reference:reference", "--out", "reference")
    return run


def test_a_right_port_with_moving_statistics_matches_also_in_float64(parity):
    parity("replay", "reference", "--candidate", "norms_candidate:candidate", "--out", "right")
    folder = parity("compare", "reference", "right", "--out", "match")
    manifest = Trace.open(folder / "reference").manifest
    assert {"unet.norms.0:running_mean", "unet.norms.3:running_var"} <= manifest.weights.keys()
    assert manifest.buffers.keys() == {
        "unet:position_ids", "unet:table", *(f"unet.norms.{place}:num_batches_tracked" for place in range(4))
    }  # fmt: skip
    result = results.read(folder / "match")
    assert result.verdict == "MATCH"
    audited = {pair.address: pair.native for pair in result.pairs if pair.stage == "weights"}
    assert audited["unet.norms.1:running_var"] == "unet.norms.1.moving_variance"
    assert audited.keys() == {*manifest.weights, "unet:position_ids"}
    exact = [pair for pair in result.pairs if pair.question == "semantics" and "norms" in pair.address]
    assert len(exact) > 4
    assert max(float(pair.rel_l2) for pair in exact) < 1e-14


def test_wrong_moving_statistics_are_found_and_named(parity):
    only = ("--mode", "layers", "--dtype", "float32")
    parity("replay", "reference", "--candidate", "norms_candidate:faulty", "--out", "wrong", *only)
    folder = parity("compare", "reference", "wrong", "--out", "mismatch")
    result = results.read(folder / "mismatch")
    assert result.verdict == "MISMATCH"
    wrong = {
        pair.address: (pair.change, pair.detail) for pair in result.pairs if pair.stage == "weights" and pair.detail
    }
    assert wrong == {
        "unet.norms.0:running_var": ("different", "different, kind unknown"),
        "unet.norms.1:running_mean": ("another tensor", "equals the reference's unet.norms.1:running_var"),
        "unet.norms.1:running_var": ("different", "different, kind unknown"),
        "unet.norms.2:running_mean": ("initial", "all zeros"),
        "unet:position_ids": ("flipped", "equals the reference's flipped along axis 1"),
    }
    failed = {pair.address for pair in result.pairs if pair.mode == "layers" and pair.verdict == "MISMATCH"}
    assert {f"unet.norms.{place}:output" for place in range(3)} <= failed
    assert "unet.norms.3:output" not in failed
