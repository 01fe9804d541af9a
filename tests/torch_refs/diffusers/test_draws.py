"""Random numbers are caught or given, and diffusers' own helper comes back."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from diffusers.models.autoencoders import vae  # noqa: E402
from diffusers.schedulers import scheduling_euler_ancestral_discrete as scheduling  # noqa: E402

from parity.errors import ParityError  # noqa: E402
from torch_refs.diffusers.draws import Draws  # noqa: E402

pytestmark = pytest.mark.torch


def test_draws_are_caught_and_are_those_of_the_generator():
    wanted = torch.randn(2, 3, generator=torch.Generator().manual_seed(1))
    with Draws() as draws:
        drawn = scheduling.randn_tensor((2, 3), generator=torch.Generator().manual_seed(1), dtype=torch.float32)
    assert torch.equal(drawn, wanted)
    assert draws.seen == [drawn]


def test_given_numbers_come_in_order_in_the_wanted_type_whichever_module_asks():
    given = [torch.full((2,), 1.0), torch.full((3,), 2.0)]
    with Draws(given) as draws:
        first = scheduling.randn_tensor((2,), dtype=torch.float64)
        second = vae.randn_tensor((3,), dtype=torch.float16)
    assert (first.dtype, second.dtype) == (torch.float64, torch.float16)
    assert torch.cat([each.double() for each in draws.seen]).tolist() == [1, 1, 2, 2, 2]


@pytest.mark.parametrize("shapes", [[(3,)], [(2,), (2,)]], ids=["another shape", "one too many"])
def test_what_was_not_given_is_not_made_up(shapes):
    with Draws([torch.zeros(2)]), pytest.raises(ParityError, match="wants shape"):  # noqa: PT012
        for shape in shapes:
            scheduling.randn_tensor(shape)


def test_the_helper_is_put_back_after_an_exception():
    before = (scheduling.randn_tensor, vae.randn_tensor)
    with pytest.raises(KeyError), Draws():
        raise KeyError
    assert (scheduling.randn_tensor, vae.randn_tensor) == before
