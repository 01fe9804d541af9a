"""Where steps lie, and the sinusoids of timesteps, in float64."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from diffusers.models.embeddings import Timesteps  # noqa: E402

from parity.errors import CaseError  # noqa: E402
from tests.torch_refs.support import relative  # noqa: E402
from torch_refs.diffusers.schedule import spaced, table  # noqa: E402
from torch_refs.diffusers.twin import timestep_embedding  # noqa: E402

pytestmark = pytest.mark.torch
SDXL = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "timestep_spacing": "leading",
    "steps_offset": 1, "prediction_type": "epsilon", "num_train_timesteps": 1000,
}  # fmt: skip


@pytest.mark.parametrize("flip", [True, False])
def test_the_sinusoids_are_the_original_ones_without_its_rounding(flip):
    module = Timesteps(32, flip_sin_to_cos=flip, downscale_freq_shift=0)
    timesteps = torch.tensor([1.0, 976.0], dtype=torch.float64)
    lifted = timestep_embedding(timesteps, module)
    assert lifted.dtype == torch.float64
    frequencies = np.exp(-np.log(10000.0) * np.arange(16) / 16)
    sines, cosines = (function(timesteps.numpy()[:, None] * frequencies) for function in (np.sin, np.cos))
    np.testing.assert_allclose(lifted, np.hstack([cosines, sines] if flip else [sines, cosines]), atol=1e-13)
    assert 1e-7 < relative(module(timesteps), lifted) < 1e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta_schedule": "squaredcos_cap_v2"}, "the float64 twin knows linear and scaled_linear"),
        ({"rescale_betas_zero_snr": True}, "rescaled to zero SNR"),
        ({"timestep_spacing": "karras"}, "the float64 twin knows linspace, leading and trailing"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_configuration_without_a_formula_is_refused(change, message):
    config = SDXL | change
    with pytest.raises(CaseError, match=message):
        _ = table(config), spaced(config, 4)
