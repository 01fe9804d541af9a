"""docs/adapters.md does what it says: exactly its text is written down and run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from parity import result as results
from parity.trace import Trace

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "adapters.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(?:python|toml)\n# (?P<name>[\w.]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = {match["name"]: match["text"] for match in BLOCK.finditer(DOCUMENT)}
COMMANDS = re.findall(r"^python -m (parity .+)$", DOCUMENT, re.MULTILINE)
SHAPES = {
    "words.weight": (64, 24), "denoiser.inner.weight": (40, 48), "denoiser.inner.bias": (40,),
    "denoiser.outer.weight": (24, 40), "denoiser.outer.bias": (24,),
}  # fmt: skip

pytestmark = [pytest.mark.torch, pytest.mark.mindspore]


def write(place):
    """Write the document's files, and weights, into a folder."""
    for name, text in FILES.items():
        (place / name).write_text(text, encoding="utf-8")
    (place / "weights").mkdir()
    random = np.random.default_rng(1)
    for name, shape in SHAPES.items():
        np.save(place / "weights" / f"{name}.npy", random.normal(0, 0.3, shape).astype(np.float32))
    return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The document's files, with weights."""
    return write(tmp_path_factory.mktemp("swirl"))


def run(folder, command):
    """Run one of the document's commands there."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip


@pytest.fixture(scope="module")
def healthy(folder):
    """The three commands as they stand."""
    return [run(folder, command) for command in COMMANDS]


def test_the_adapters_are_shorter_than_forty_lines():
    assert set(FILES) > {"swirl.py", "swirl_port.py", "swirl_reference.py", "swirl_candidate.py", "case.toml"}
    for name in ("swirl_reference.py", "swirl_candidate.py"):
        assert len(FILES[name].splitlines()) < 40


def test_the_documents_commands_end_in_match(healthy):
    assert [command.split()[1] for command in COMMANDS] == ["record", "replay", "compare"]
    assert [done.returncode for done in healthy] == [0, 0, 0], healthy[-1].stderr + healthy[-1].stdout
    assert "MATCH" in healthy[-1].stdout


def test_nothing_is_said_of_a_diffusion_model(folder, healthy):
    assert healthy[0].returncode == 0
    manifest = Trace.open(folder / "reference").manifest
    assert set(manifest.case) == {"schema", "model", "sampling", "precision", "exclude", "tolerance"}
    assert manifest.case["sampling"] == {"steps": 4, "seed": 7}
    assert manifest.components == {"words": "conditioning", "denoiser": "unet", "pipeline": "image"}
    done = run(folder, f"{COMMANDS[2]} --out page")
    assert done.returncode == 0, done.stderr
    told = done.stdout + (folder / "page" / "report.html").read_text(encoding="utf-8")
    for word in ("EulerAncestral", "DiffusersDDPM", "1024 x 1024", "guidance scale"):
        assert word not in told, word


def test_the_documents_conformance_tests_pass(folder, healthy):
    assert healthy[0].returncode == 0
    done = run(folder, "pytest test_swirl.py -q -p no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert "20 passed, 1 skipped" in done.stdout


def test_every_module_is_compared_in_every_mode_and_semantics_is_exact(folder, healthy):
    assert run(folder, f"{COMMANDS[2]} --out result").returncode == 0
    result = results.read(folder / "result")
    assert result.verdict == "MATCH"
    assert result.coverage.unexplained == []
    assert result.coverage.paths == result.coverage.compared == 6
    semantics = [pair for pair in result.pairs if pair.question == "semantics" and pair.mode == "layers"]
    assert {pair.address for pair in semantics if pair.address.startswith("denoiser.act")} == {
        f"denoiser.act@step={step}:output" for step in range(4)
    }
    assert max(float(pair.rel_l2 or 0) for pair in semantics) < 1e-13
    assert {pair.mode for pair in result.pairs} == {"audit", "free", "steps", "layers"}


@pytest.mark.parametrize(
    ("before", "after", "address"),
    [
        ("nn.SiLU()", "nn.GELU()", "denoiser.act@step=0:output"),
        ("/ steps", "/ (steps + 1)", "denoiser.inner@step=1:output"),
        (".mean(axis=1)", ".sum(axis=1)", "denoiser.inner@step=0:output"),
        ('np.load(weights / f"denoiser.{name}.npy")', 'np.load(weights / f"denoiser.{name}.npy") * 1.001', "denoiser.inner:weight"),
    ],
)  # fmt: skip
def test_a_broken_port_is_named_where_it_is_broken(folder, healthy, tmp_path, before, after, address):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    port = FILES["swirl_port.py"]
    assert before in port
    (tmp_path / "swirl_port.py").write_text(port.replace(before, after), encoding="utf-8")
    replay = COMMANDS[1].replace("replay reference", f"replay {folder / 'reference'}")
    done = run(tmp_path, replay)
    assert done.returncode == 0, done.stderr
    done = run(tmp_path, f"parity compare {folder / 'reference'} candidate --out result")
    assert done.returncode == 1, done.stderr
    result = results.read(tmp_path / "result")
    assert result.verdict == "MISMATCH"
    assert result.first_divergence is not None
    assert result.first_divergence.address == address
    local = {pair.address for pair in result.pairs if pair.mode == "layers" and pair.verdict == "MISMATCH"}
    assert "pipeline:output" in local
    assert (local == {"pipeline:output"}) == (before in {"/ steps", ".mean(axis=1)"})
