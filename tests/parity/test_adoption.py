"""What `parity.recording` refuses before anybody's pipeline runs."""

from __future__ import annotations

import pytest

import parity
from parity.errors import AddressError, InputError, TraceError
from parity.trace import Manifest, TraceWriter

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
