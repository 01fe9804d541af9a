"""A torch program's parts have the stages that its reference declares, or are refused before anything runs."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from parity.adapters.torch_ import ModuleReference  # noqa: E402
from parity.case import load  # noqa: E402
from parity.errors import AddressError  # noqa: E402
from parity.record import record  # noqa: E402

pytestmark = pytest.mark.torch

CASE = 'schema = 1\n[model]\nfolder = "."\n'


class Doubling(ModuleReference):
    """One linear layer; it fails if it is run."""

    name = "doubling"

    def pipeline(self, resolved):
        """Make the layer."""
        del resolved
        return torch.nn.Linear(2, 2)

    def parts(self, pipeline):
        """Return the layer as a part."""
        return {"net": pipeline}

    def inputs(self, case):
        """Return an input."""
        del case
        return {"x": torch.ones(1, 2)}

    def run(self, pipeline, **inputs):
        """Refuse to run."""
        pytest.fail(f"it ran: {pipeline} on {inputs}")


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({}, "'net' belongs to no component of the reference, which declares pipeline; declare its stage, one of"),
        ({"net": "nets"}, "the component 'net' has stage 'nets'"),
    ],
)
def test_a_part_without_a_stage_is_refused_before_any_run(tmp_path, stages, message):
    (tmp_path / "case.toml").write_text(CASE)
    reference = type("Reference", (Doubling,), {"stages": stages})()
    with pytest.raises(AddressError) as caught:
        record(load(tmp_path / "case.toml"), reference, tmp_path / "trace")
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(("stages", "expected"), [({}, "unet"), ({"unet": "vae"}, "vae")])
def test_a_part_named_as_one_of_sdxl_s_has_that_one_s_stage_unless_another_is_declared(tmp_path, stages, expected):
    (tmp_path / "case.toml").write_text(CASE)
    kind = {"stages": stages, "parts": lambda _self, pipeline: {"unet": pipeline}}
    reference = type("Reference", (Doubling,), kind)()
    system = reference.load(load(tmp_path / "case.toml"), device="cpu", dtype="float32")
    assert system.components.stage_of("unet.inner") == expected
    assert system.components.stage_of("pipeline") == "image"
