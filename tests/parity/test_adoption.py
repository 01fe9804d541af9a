"""What `parity.recording` refuses before anybody's pipeline runs."""

from __future__ import annotations

import pytest

import parity
from parity.case import load
from parity.errors import AddressError, InputError, OutputError, TraceError
from parity.trace import Manifest, Trace, TraceWriter, is_unfinished
from tests.parity import numpy_program
from tests.parity.numpy_reference import Reference

NUMPY = "tests.parity.numpy_reference:reference"


def refusal(out, **options):
    """Return what a recording says whose block is never reached."""
    with pytest.raises(InputError) as caught, parity.recording(None, out, reference=NUMPY, **options):
        pytest.fail("the block ran")
    return caught.value


def test_a_reference_that_adopts_no_pipeline_says_so(tmp_path):
    assert "records no pipeline in memory; use parity record" in str(refusal(tmp_path / "trace"))


def test_a_pattern_that_is_none_is_refused_before_the_call(tmp_path):
    assert isinstance(refusal(tmp_path / "trace", taps="unet.("), AddressError)


def test_a_trace_that_is_there_is_refused_before_the_call(tmp_path):
    TraceWriter(tmp_path / "trace", Manifest(side="reference", name="a", case={}, case_digest="")).finish()
    assert isinstance(refusal(tmp_path / "trace"), TraceError)


class Adopting(Reference):
    """Adopts a pipeline in memory: whatever is called in the block is the case that it was made for."""

    def adopt(self, pipeline, model):
        """Watch a pipeline, here the folder of a case."""
        del model
        self.resolved = load(pipeline / "case.toml")
        return self

    def __enter__(self):
        """Begin to watch."""
        return self

    def __exit__(self, *_):
        """Stop watching."""


adopting = Adopting()


def test_an_interrupted_recording_of_a_call_is_resumed_when_it_is_asked_for(tmp_path, monkeypatch):
    case = numpy_program.write(tmp_path / "case").parent
    given = {"reference": f"{__name__}:adopting", "dtypes": ("float32",)}

    def called(**options):
        with parity.recording(case, tmp_path / "trace", **given, **options):
            pass

    with monkeypatch.context() as patch:
        patch.setattr(TraceWriter, "replayable", interrupted)
        with pytest.raises(KeyboardInterrupt):
            called()
    assert is_unfinished(tmp_path / "trace")
    with pytest.raises(TraceError, match="holds a trace already"):
        called()
    called(resume=True)
    assert Trace.open(tmp_path / "trace", verify=True).runs == ("float32",)


def interrupted(*_):
    raise KeyboardInterrupt


def test_a_place_that_takes_no_trace_is_refused_before_the_call(tmp_path):
    (tmp_path / "file").touch()
    assert isinstance(refusal(tmp_path / "file" / "trace"), OutputError)
