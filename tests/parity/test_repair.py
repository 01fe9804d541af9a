"""Repair files."""

from typing import get_args

import numpy as np
import pytest

from parity import repair
from parity.digests import layouts
from parity.errors import RepairError
from parity.repair import AttributeEdit, Change, NoiseEdit, Repairs, SubstituteEdit, WeightEdit, relaid

EDITS = (
    WeightEdit(address="text_encoder_2.text_projection:weight", change="transpose"),
    AttributeEdit(path="unet.conv_norm_out", name="eps", value=1e-5),
    NoiseEdit(shift=1),
    SubstituteEdit(path="unet.conv_in"),
)


def test_edits_survive_their_file(tmp_path):
    repairs = Repairs(edits=EDITS, strict=False)
    repair.write(repairs, tmp_path / "repair.json")
    assert repair.read(tmp_path / "repair.json") == repairs


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"edits": [{"kind": "paint"}]}',
        b'{"edits": [{"kind": "noise", "shift": "a"}]}',
        b'{"edits": [], "x": 1}',
    ],
)
def test_what_is_no_repair_file_is_refused(text):
    with pytest.raises(RepairError, match="not a repair file"):
        repair.decode(text)


def test_a_missing_repair_file_is_one_error(tmp_path):
    with pytest.raises(RepairError, match="cannot be read"):
        repair.read(tmp_path / "none.json")


@pytest.mark.parametrize("axes", [1, 2, 3, 4])
def test_every_layout_whose_digest_is_recorded_can_be_undone_by_an_edit(axes):
    array = np.arange(2**axes).reshape((2,) * axes)
    for change in layouts(array).keys() - {"identity"}:
        edited = relaid(array, WeightEdit(address="unet.a:weight", change=change))
        assert not np.array_equal(edited, array)
        assert np.array_equal(relaid(edited, WeightEdit(address="unet.a:weight", change=change)), array)
        assert change in get_args(Change)


@pytest.mark.parametrize(("shape", "change"), [((4,), "transpose"), ((4, 4), "flip2"), ((4, 4), "transpose23")])
def test_a_layout_that_a_tensor_cannot_have_is_refused(shape, change):
    with pytest.raises(RepairError, match=f"has no layout '{change}'; it has identity"):
        relaid(np.zeros(shape), WeightEdit(address="unet.a:weight", change=change))
