"""Attributes of the port's cells by the reference's path: read, set where a repair names one, refused where there is none."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mindone_sdxl.config import SDXLConfig
from mindone_sdxl.names import module_table
from parity.errors import RepairError
from parity.repair import AttributeEdit

pytestmark = pytest.mark.mindspore
NORM = "unet.conv_norm_out"
KEY = "text_encoder_2.text_model.encoder.layers.0.self_attn.k_proj"


@pytest.fixture
def cells():
    """A stand-in for each cell that the table names; norms have an epsilon."""
    return {
        entry.native: SimpleNamespace(eps=1e-5) if "norm" in entry.kind else SimpleNamespace()
        for entry in module_table(SDXLConfig())
    }


def test_what_a_cell_has_is_reported_under_the_references_path(cells):
    from mindone_sdxl.candidate.attributes import attributes_of

    found = attributes_of(SDXLConfig(), cells)
    assert found[NORM] == {"eps": 1e-5}
    assert "unet.conv_in" not in found
    assert set(found["scheduler"]) >= {"num_train_timesteps", "beta_schedule", "prediction_type"}
    assert set(found["vae"]) == {"scaling_factor"}


def test_a_convolution_reports_both_axes():
    from mindspore import float32

    from mindone_sdxl.candidate.attributes import attributes_of
    from mindone_sdxl.layers import Conv2d

    convolution = Conv2d(4, 4, 3, dtype=float32, stride=2, padding=1)
    cells = {entry.native: SimpleNamespace() for entry in module_table(SDXLConfig())}
    (native,) = [entry.native for entry in module_table(SDXLConfig()) if entry.diffusers == "unet.conv_in"]
    found = attributes_of(SDXLConfig(), cells | {native: convolution})
    assert found["unet.conv_in"] == {"stride": [2, 2], "padding": [1, 1]}


def test_a_repair_sets_the_attribute_of_the_cell_at_its_path(cells):
    from mindone_sdxl.candidate.attributes import natives_of, set_attribute

    set_attribute(SDXLConfig(), cells, AttributeEdit(path=NORM, name="eps", value=1e-6))
    (native,) = natives_of(SDXLConfig(), NORM)
    changed = [name for name, cell in cells.items() if getattr(cell, "eps", 1e-5) != 1e-5]
    assert changed == [native]


@pytest.mark.parametrize(
    ("path", "name", "said"),
    [
        (NORM, "approximate", "has no attribute 'approximate' here; its cells are model.diffusion_model.out.0"),
        (KEY, "eps", "its cells are conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj"),
        ("unet.nothing", "eps", "unet.nothing has no attribute 'eps' here; its cells are none"),
    ],
)
def test_a_repair_of_an_attribute_that_is_not_there_is_refused(cells, path, name, said):
    from mindone_sdxl.candidate.attributes import set_attribute

    with pytest.raises(RepairError, match=said.replace(".", r"\.")):
        set_attribute(SDXLConfig(), cells, AttributeEdit(path=path, name=name, value=1.0))
