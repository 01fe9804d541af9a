"""Parameters are rounded as the reference loaded them, and come back in the type that it recorded."""

from __future__ import annotations

import numpy as np
import pytest

from parity.adapters.parameters import address_of, in_recorded_type, rounded_as_loaded
from parity.trace import Manifest, WeightDigests

ADDRESS = "unet.a:weight"
THIRD = np.full(2, 1 / 3)


def manifest(dtype):
    """Return a reference's manifest with one parameter of a type."""
    weights = {ADDRESS: WeightDigests(shape=(2,), dtype=dtype, digests={})}
    return Manifest(side="reference", name="r", case={}, case_digest="c", weights=weights)


@pytest.mark.parametrize(
    ("recorded", "held", "coarser"),
    [
        ("float16", "float32", True),
        ("float32", "float64", True),
        ("float32", "float32", False),
        ("float64", "float32", False),
        ("int64", "float32", False),
    ],
)
def test_only_a_coarser_floating_type_of_the_reference_changes_anything(recorded, held, coarser):
    array = THIRD.astype(held)
    rounded = array.astype(recorded) if coarser else array
    found = in_recorded_type(array, manifest(recorded), ADDRESS)
    assert (found.dtype, found is array) == (rounded.dtype, not coarser)
    assert np.array_equal(found, rounded)
    loaded = rounded_as_loaded(array, manifest(recorded), ADDRESS)
    assert (loaded.dtype, loaded is array) == (array.dtype, not coarser)
    assert np.array_equal(loaded, rounded.astype(held))


@pytest.mark.parametrize(("held", "recorded"), [([0, 1, 2], True), ([0.0, 1.0, 2.0], True), ([0.5, 1.0, 2.0], False)])
def test_a_buffer_of_integers_comes_back_in_the_type_that_was_recorded(held, recorded):
    buffers = {ADDRESS: WeightDigests(shape=(3,), dtype="int64", digests={})}
    told = Manifest(side="reference", name="r", case={}, case_digest="c", buffers=buffers)
    array = np.array(held, np.float32 if isinstance(held[0], float) else np.int32)
    found = in_recorded_type(array, told, ADDRESS)
    assert (found.dtype == np.int64) is recorded
    assert np.array_equal(found, array)


def test_a_parameter_that_the_reference_does_not_have_stays():
    assert rounded_as_loaded(THIRD, manifest("float16"), "unet.b:weight") is THIRD
    assert in_recorded_type(THIRD, manifest("float16"), "unet.b:weight") is THIRD


def test_a_bfloat16_reference_s_rounding_is_kept_in_a_wider_array():
    found = rounded_as_loaded(THIRD.astype(np.float32), manifest("bfloat16"), ADDRESS)
    assert found.dtype == np.float32
    assert found[0] == 0.333984375


def test_the_last_part_of_a_name_is_the_parameter():
    assert address_of("text_encoder.embeddings.position") == "text_encoder.embeddings:position"
