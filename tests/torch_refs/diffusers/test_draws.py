"""Random numbers are caught or given by what they are for, and diffusers' own helper comes back."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from diffusers.models.autoencoders import vae  # noqa: E402
from diffusers.pipelines.stable_diffusion_xl import pipeline_stable_diffusion_xl as pipeline  # noqa: E402
from diffusers.schedulers import scheduling_euler_ancestral_discrete as scheduling  # noqa: E402

from parity.errors import ParityError  # noqa: E402
from torch_refs.diffusers.draws import Draw, Draws  # noqa: E402

pytestmark = pytest.mark.torch


def test_draws_are_caught_and_are_those_of_the_generator():
    wanted = torch.randn(2, 3, generator=torch.Generator().manual_seed(1))
    with Draws() as draws:
        drawn = scheduling.randn_tensor((2, 3), generator=torch.Generator().manual_seed(1), dtype=torch.float32)
    assert torch.equal(drawn, wanted)
    assert draws.noise(0) is drawn


def test_each_draw_is_known_by_its_module_and_its_step():
    with Draws() as draws:
        first = pipeline.randn_tensor((2,))
        draws.next_step()
        noise = scheduling.randn_tensor((2,))
        sample = vae.randn_tensor((2,))
    assert draws.seen == {Draw("initial"): first, Draw("step", 1): noise, Draw("posterior"): sample}
    assert (draws.initial, draws.noise(0), draws.noise(1), draws.posterior) == (first, None, noise, sample)


def test_given_numbers_come_by_what_they_are_for_in_the_wanted_type():
    given = {Draw("posterior"): torch.full((3,), 2.0), Draw("step", 0): torch.full((2,), 1.0)}
    with Draws(given) as draws:
        first = scheduling.randn_tensor((2,), dtype=torch.float64)
        second = vae.randn_tensor((3,), dtype=torch.float16)
    assert (first.dtype, second.dtype) == (torch.float64, torch.float16)
    assert torch.cat([each.double() for each in draws.seen.values()]).tolist() == [1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (scheduling, (3,), r"the draw of step 0 wants shape \[3\] and the working run drew \[2\]"),
        (vae, (2,), r"the draw of posterior wants shape \[2\] and the working run drew nothing"),
    ],
    ids=["another shape", "another role"],
)
def test_what_was_not_given_is_not_made_up(module, shape, message):
    with Draws({Draw("step", 0): torch.zeros(2)}), pytest.raises(ParityError, match=message):
        module.randn_tensor(shape)


def test_a_step_does_not_get_the_noise_of_another():
    with Draws({Draw("step", 0): torch.zeros(2)}) as draws, pytest.raises(ParityError, match="the draw of step 1"):  # noqa: PT012
        draws.next_step()
        scheduling.randn_tensor((2,))


def test_the_initial_noise_alone_can_be_given():
    with Draws(initial=torch.ones(2)) as draws:
        pipeline.randn_tensor((2,), dtype=torch.float64)
        scheduling.randn_tensor((2,))
    assert draws.initial.tolist() == [1, 1]
    assert draws.noise(0) is not None


def test_the_helper_is_put_back_after_an_exception():
    before = (scheduling.randn_tensor, vae.randn_tensor)
    with pytest.raises(KeyError), Draws():
        raise KeyError
    assert (scheduling.randn_tensor, vae.randn_tensor) == before
