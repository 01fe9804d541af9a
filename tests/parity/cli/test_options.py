"""What can be refused without a framework is refused before one is imported; a recording is asked for in one way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from parity.cli.options import Recording, Replaying
from parity.errors import InputError
from parity.trace import Manifest, TraceWriter

ROOT = Path(__file__).parents[3]
CASE = """
schema = 1
[model]
folder = "weights"
[prompt]
positive = ["a"]
[sampling]
steps = 3
"""
RULE = """
[[tolerance]]
address = ".*"
require = "rel_l2 >= 0"
reason = "none"
"""
CHILD = """
import contextlib, io, json, sys
from parity.cli import main
answers = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["parity", *arguments]
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            main()
            code = 0
        except SystemExit as exit:
            code = exit.code
    loaded = [name for name in ("torch", "mindspore", "diffusers", "transformers") if sys.modules.get(name)]
    answers.append([code, said.getvalue(), loaded])
print(json.dumps(answers))
"""
RECORD = ["record", "case.toml", "--out", "new"]
REPLAY = ["replay", "trace", "--out", "new"]
REFUSED = [
    ([*RECORD, "--out", "trace"], "trace holds a trace already; choose another folder, or resume it"),
    ([*RECORD, "--steps", "1,3"], "--steps 3 is not in the case; its steps are 0 to 2"),
    ([*RECORD, "--steps", "one"], "--steps one is not a list of step numbers"),
    ([*RECORD, "--taps", "unet.("], "'unet.(' is not a regular expression"),
    ([*RECORD, "--device", "gpu"], "'gpu' is not a device; give cpu, cuda or cuda:N"),
    ([*RECORD, "--size", "256"], "--size 256 is not WIDTHxHEIGHT"),
    ([*RECORD, "--size", "0x0"], "size.height is 0; it must be a positive multiple of 8, at most 65,536"),
    ([*RECORD, "--size", "64x63"], "size.height is 63; it must be a positive multiple of 8"),
    ([*RECORD, "--size", "-8x64"], "--size -8x64 is not WIDTHxHEIGHT"),
    ([*RECORD, "--size", "9" * 5000 + "x64"], "is not WIDTHxHEIGHT"),
    ([*RECORD, "--steps", "-1"], "--steps -1 is not a list of step numbers"),
    ([*RECORD, "--steps", "9" * 5000], "is not a list of step numbers"),
    ([*RECORD, "--device", "cuda:-1"], "'cuda:-1' is not a device"),
    (["record", "idle.toml", "--out", "new"], "idle.toml: 'rel_l2 >= 0' holds however wrong a pair is"),
    (["run", "idle.toml", "--out", "new"], "idle.toml: 'rel_l2 >= 0' holds however wrong a pair is"),
    (["record", "open.toml", "--out", "new"], "open.toml: 'unet.(' is not a regular expression"),
    ([*REPLAY, "--follow", "1:x"], "--follow '1:x' is not PARENT:CORE"),
    (["compare", "trace", "trace", "--jobs", "0"], "Invalid value for '--jobs'"),
    (["run", "case.toml", "--out", "new", "--jobs", "-1"], "Invalid value for '--jobs'"),
    (["calibrate", "trace", "trace", "--jobs", "0"], "Invalid value for '--jobs'"),
    (
        ["calibrate", "trace", "trace", "--headroom", "0"],
        "Invalid value for '--headroom'",
    ),
    (["calibrate", "trace", "trace", "--headroom", "inf"], "Invalid value for '--headroom'"),
    (["selftest", "--seed", "-1"], "Invalid value for '--seed'"),
    ([*RECORD, "--dtype", "float31"], "--dtype float31 is not a type, did you mean 'float32'?"),
    ([*RECORD, "--dtype", "float32", "--dtype", "float16"], "a trace has one working type beside float64"),
    ([*RECORD, "--store", "zip"], "Invalid value for '--store'"),
    ([*RECORD, "--steps", "3", "--estimate"], "--steps 3 is not in the case; its steps are 0 to 2"),
    ([*REPLAY, "--out", "trace"], "trace holds a trace already"),
    ([*REPLAY, "--only", "unet.("], "'unet.(' is not a regular expression"),
    ([*REPLAY, "--device", "Ascent"], "'Ascent' is not a device, did you mean 'Ascend'?; give CPU or Ascend"),
    ([*REPLAY, "--mode", "layer"], "--mode layer is not a mode, did you mean 'layers'?"),
    ([*REPLAY, "--dtype", "float31"], "--dtype float31 is not a type"),
    ([*REPLAY, "--store", "zip"], "Invalid value for '--store'"),
    (["compare", "x" * 300, "trace"], "cannot be used: File name too long; give another path"),
    ([*RECORD[:-1], ""], "there is an empty argument after --out; is a variable of the shell unset?"),
    (["replay", "trace", "--out="], "there is an empty argument after --out; is a variable of the shell unset?"),
    (["compare", "", "trace"], "there is an empty argument after compare; is a variable of the shell unset?"),
    (["compare", "trace"], "Missing argument 'candidates'; `parity compare --help` lists what there is"),
    (["run", "case.toml", "--out", "new", "--mode", "layer"], "--mode layer is not a mode, did you mean 'layers'?"),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What one process, beside a case whose weights are there and a trace of it, answers to each command."""
    folder = tmp_path_factory.mktemp("case")
    (folder / "weights").mkdir()
    (folder / "case.toml").write_text(CASE)
    (folder / "idle.toml").write_text(CASE + RULE)
    (folder / "open.toml").write_text(CASE + "[[exclude]]\naddress = 'unet.('\nreason = 'identity'\n")
    case = {"schema": 1, "model": {"folder": "weights"}, "precision": {"dtype": "float32"}}
    TraceWriter(folder / "trace", Manifest(side="reference", name="numpy", case=case, case_digest="")).finish()
    commands = json.dumps([arguments for arguments, _ in REFUSED])
    done = subprocess.run(
        [sys.executable, "-c", CHILD, commands],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not (folder / "new").exists()
    return json.loads(done.stdout)


@pytest.mark.parametrize("number", range(len(REFUSED)), ids=[" ".join(arguments) for arguments, _ in REFUSED])
def test_what_cannot_be_is_refused_in_one_error_before_a_framework_is_imported(answers, number):
    code, said, loaded = answers[number]
    (error,) = (
        line for line in said.splitlines() if line.lower().startswith(("error", "invalid")) or "Invalid" in line
    )
    assert code == 2
    assert REFUSED[number][1] in error
    assert loaded == []


def test_the_words_of_a_recording_say_what_is_not_its_default():
    asked = Recording(
        case=Path("case.toml"), reference="sgm", source=Path("here"), store="hdf5", dtype=["float16", "float64"],
        size="64x32", resume=True,
    )  # fmt: skip
    assert asked.words(Path("out")) == [
        "case.toml", "--out=out", "--reference=sgm", "--source=here", "--store=hdf5", "--dtype=float16",
        "--dtype=float64", "--size=64x32", "--resume",
    ]  # fmt: skip


def test_the_options_of_a_recording_are_its_words_read():
    asked = Recording(case=Path("case.toml"), reference="sgm", store="npy", dtype=["float16"], steps="0,2", taps="a")
    options = asked.options()
    assert (options.dtypes, options.store, options.steps, options.taps, options.twin) == (
        ("float16",), "npy", frozenset({0, 2}), "a", False,
    )  # fmt: skip


def test_the_words_of_a_replay_name_the_candidate_and_its_run(tmp_path):
    asked = Replaying(candidate="gm", weights=Path("w.ckpt"), plant="gelu-tanh", mode=["free"], dtype=["float32"])
    assert asked.words(Path("trace"), Path("out")) == [
        "trace", "--store=hdf5", "--candidate=gm", "--weights=w.ckpt", "--plant=gelu-tanh", "--out=out",
        "--dtype=float32", "--mode=free",
    ]  # fmt: skip


def test_the_options_of_a_replay_say_how_the_same_candidate_is_built_again(tmp_path):
    options = Replaying(candidate="gm", source=Path("here"), mode=["layers"], dtype=["float64"]).options(tmp_path)
    assert (options.modes, options.dtypes, options.source) == (("layers",), ("float64",), Path("here"))
    assert options.command == ("--candidate=gm", "--source=here", "--device=CPU")
    with pytest.raises(InputError, match="no fault is named 'gelu'"):
        Replaying(candidate="gm", plant="gelu").options(tmp_path)


def test_help_loads_neither_numpy_nor_the_readers_of_traces():
    code = (
        "import sys, parity.cli; print([name for name in ('numpy', 'msgspec', 'parity.trace') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
