"""Parameters between a model's cells and the reference's names, layouts and shapes."""

from __future__ import annotations

import numpy as np
import pytest

from mindone_sdxl.config import SDXLConfig
from mindone_sdxl.names import parameter_table
from parity.errors import RepairError
from parity.repair import WeightEdit
from parity.trace import Manifest

pytestmark = pytest.mark.mindspore
PROJECTION = "conditioner.embedders.1.model.text_projection"
FUSED = "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight"


class Few(dict):
    """The parameters that a test looks at, and a small one for every other name."""

    def __missing__(self, name):
        """Make one."""
        from mindspore import Parameter, Tensor

        shape = (3, 2) if "in_proj" in name else (2, 2)
        self[name] = Parameter(Tensor(np.zeros(shape[: 1 if name.endswith("bias") else 2], np.float32)), name=name)
        return self[name]


def pulled(parameters, unfilled=()):
    from mindone_sdxl.candidate.parameters import pulled_back

    manifest = Manifest(side="reference", name="r", case={}, case_digest="c")
    found = pulled_back(SDXLConfig(), parameters, lambda entry: entry.checkpoint, manifest, unfilled)
    return {parameter.address: parameter for parameter in found}


def parameters(**values):
    from mindspore import Parameter, Tensor

    return Few({name: Parameter(Tensor(value), name=name) for name, value in values.items()})


def test_a_transposed_matrix_and_a_part_of_a_fused_one_come_back_in_the_reference_s_layout():
    matrix, fused = np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(18, dtype=np.float32).reshape(9, 2)
    found = pulled(parameters(**{PROJECTION: matrix, FUSED: fused}))
    assert np.array_equal(found["text_encoder_2.text_projection:weight"].array, matrix.T)
    key = found["text_encoder_2.text_model.encoder.layers.0.self_attn.k_proj:weight"]
    assert np.array_equal(key.array, fused[3:6])
    assert (key.native, key.loaded) == (FUSED, True)
    assert len(found) == len(parameter_table(SDXLConfig()))


def test_a_parameter_that_nothing_filled_says_so():
    found = pulled(parameters(), unfilled={FUSED})
    lost = {address for address, parameter in found.items() if not parameter.loaded}
    assert lost == {f"text_encoder_2.text_model.encoder.layers.0.self_attn.{name}_proj:weight" for name in "qkv"}


def test_a_weight_is_edited_in_the_reference_s_layout_and_in_its_part_alone():
    from mindone_sdxl.candidate.parameters import change_weight

    fused = np.arange(12, dtype=np.float32).reshape(6, 2)
    held = parameters(**{FUSED: fused.copy()})
    edit = WeightEdit(address="text_encoder_2.text_model.encoder.layers.0.self_attn.k_proj:weight", change="transpose")
    change_weight(SDXLConfig(), held, lambda entry: entry.checkpoint, edit)
    want = fused.copy()
    want[2:4] = fused[2:4].T
    assert np.array_equal(held[FUSED].asnumpy(), want)


def test_an_edit_of_what_is_no_parameter_is_refused():
    from mindone_sdxl.candidate.parameters import change_weight

    with pytest.raises(RepairError, match=r"unet\.nothing:weight is no parameter"):
        change_weight(
            SDXLConfig(), {}, lambda entry: entry.checkpoint, WeightEdit(address="unet.nothing:weight", change="flip0")
        )
