"""The alignment with a reference that has other modules than diffusers, or asks the network twice within a step."""

from __future__ import annotations

import pytest

pytest.importorskip("yaml", reason="needs the extra [mindspore]")

from mindone_sdxl.candidate.rows import FUNCTIONS, not_compared, rows
from mindone_sdxl.config import SDXLConfig
from mindone_sdxl.names import module_table
from parity.align import Alignment

CONFIG = SDXLConfig()
RESNET = "unet.mid_block.resnets.0"


def test_only_modules_that_the_reference_has_get_rows():
    known = {f"{RESNET}.conv1", "unet.input_blocks.3"}
    found = rows(CONFIG, known=known)
    assert {row.path for row in found if not row.function} == known
    assert {row.path for row in found if row.function} == set(FUNCTIONS)


def test_parameter_owners_that_the_reference_never_calls_are_named_with_their_reason():
    owners = [entry.diffusers for entry in module_table(CONFIG)]
    known = [path for path in owners if not path.endswith("q_proj")]
    reasons = not_compared(CONFIG, known)
    never = {path for path, reason in reasons.items() if reason == "never called"}
    assert never == {path for path in owners if path.endswith("q_proj")}
    assert set(not_compared(CONFIG).values()) == {"identity"}


@pytest.mark.parametrize(("native_call", "calls"), [(0, [0]), (1, [3])])
def test_the_second_evaluation_of_a_step_yields_the_reference_s_later_calls(native_call, calls):
    table = rows(CONFIG, evaluations=2)
    alignment = Alignment(table, {}, {row.path for row in table})
    native = "model.diffusion_model.middle_block.0.in_layers.1"
    assert [call for _, call in alignment.yields(native, native_call)] == calls
    assert [
        row.native.rpartition(".")[0].rpartition(".")[2] for row in alignment.for_path(f"{RESNET}.nonlinearity", 4)
    ] == ["emb_layers"]
