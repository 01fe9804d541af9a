"""Repair files."""

import pytest

from parity import repair
from parity.errors import RepairError
from parity.repair import AttributeEdit, NoiseEdit, Repairs, SubstituteEdit, WeightEdit

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
