"""The table of stages holds every pair under its question and replay."""

from parity.report.grouping import COLUMNS
from parity.report.stages import stages

from . import made
from .made import found as pair


def test_stages_stand_in_the_order_of_the_contract_with_every_question(tmp_path):
    rows = stages(made.make("transposed", tmp_path))
    assert [row.stage for row in rows] == [
        "weights",
        "attributes",
        "tokens",
        "conditioning",
        "schedule",
        "unet",
        "guidance",
        "sampler",
        "vae",
        "image",
    ]
    unet = rows[5].cells
    assert list(unet) == list(COLUMNS[1:])
    assert (unet["semantics", "layers"].failed, unet["semantics", "layers"].explained) == (0, 0)
    assert unet["semantics", "free"].explained == unet["semantics", "free"].total == 1212
    assert rows[5].verdict == "inherited"
    assert rows[3].verdict == "MISMATCH"


def test_the_word_of_the_result_for_a_stage_stands():
    rows = stages(made.base([pair("MISMATCH", "inherited")], stages={"unet": "INHERITED", "vae": "not measured"}))
    assert [(row.stage, row.verdict) for row in rows] == [("unet", "inherited"), ("vae", "not measured")]
