"""Each sampler under each discretization against independent float64 formulas, with an analytic denoiser."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate

from mindone_sdxl.config import ScheduleConfig
from mindone_sdxl.discretization import EDM, LCM, DiffusersDDPM, LegacyDDPM
from mindone_sdxl.schedule import make_schedule
from support import distance, widened

pytestmark = pytest.mark.mindspore
STEPS = 8


def denoise(x, sigma):
    """The best guess of clean data of variance 1/4 that is bent a little, so that no method is exact."""
    return x * 0.25 / (0.25 + sigma**2) + 0.1 * np.sin(x / (1 + sigma))


def slope(x, sigma):
    return (x - denoise(x, sigma)) / sigma


def levels(sigma, following, eta=1.0):
    up = min(following, eta * math.sqrt(following**2 * (sigma**2 - following**2) / sigma**2))
    return math.sqrt(following**2 - up**2), up


def euler(x, sigmas, noises):
    for sigma, following in zip(sigmas, sigmas[1:], strict=False):
        x = x + slope(x, sigma) * (following - sigma)
    return x


def heun(x, sigmas, noises):
    for sigma, following in zip(sigmas, sigmas[1:], strict=False):
        first = slope(x, sigma)
        moved = x + first * (following - sigma)
        x = moved if following == 0 else x + (first + slope(moved, following)) / 2 * (following - sigma)
    return x


def euler_ancestral(x, sigmas, noises, eta=1.0, s_noise=1.0):
    for index, (sigma, following) in enumerate(zip(sigmas, sigmas[1:], strict=False)):
        down, up = levels(sigma, following, eta)
        x = x + slope(x, sigma) * (down - sigma) + noises[index] * s_noise * up
    return x


def lcm(x, sigmas, noises):
    for index, (sigma, following) in enumerate(zip(sigmas, sigmas[1:], strict=False)):
        x = denoise(x, sigma) + noises[index] * following
    return x


def dpmpp_2s_ancestral(x, sigmas, noises, eta=1.0, s_noise=1.0):
    for index, (sigma, following) in enumerate(zip(sigmas, sigmas[1:], strict=False)):
        down, up = levels(sigma, following, eta)
        if down == 0:
            x = x + slope(x, sigma) * (down - sigma) + noises[index] * s_noise * up
            continue
        t, t_next = -math.log(sigma), -math.log(down)
        h = t_next - t
        s = t + h / 2
        half = math.exp(-s) / math.exp(-t) * x - math.expm1(-h / 2) * denoise(x, sigma)
        x = (
            math.exp(-t_next) / math.exp(-t) * x
            - math.expm1(-h) * denoise(half, math.exp(-s))
            + noises[index] * s_noise * up
        )
    return x


def dpmpp_2m(x, sigmas, noises):
    old = None
    for index, (sigma, following) in enumerate(zip(sigmas, sigmas[1:], strict=False)):
        new = denoise(x, sigma)
        if following == 0:
            return new
        h = math.log(sigma) - math.log(following)
        estimate = new
        if old is not None:
            r = (math.log(sigmas[index - 1]) - math.log(sigma)) / h
            estimate = (1 + 1 / (2 * r)) * new - old / (2 * r)
        x, old = following / sigma * x - math.expm1(-h) * estimate, new
    return x


def multistep(x, sigmas, noises):
    slopes = []
    for index in range(len(sigmas) - 1):
        slopes.append(slope(x, sigmas[index]))
        order = min(index + 1, 4)
        nodes = [sigmas[index - j] for j in range(order)]

        def lagrange(tau, j, nodes=nodes):
            return math.prod((tau - other) / (nodes[j] - other) for k, other in enumerate(nodes) if k != j)

        ends = sigmas[index], sigmas[index + 1]
        weights = [integrate.quad(lagrange, *ends, args=(j,), epsabs=1e-14, epsrel=1e-12)[0] for j in range(order)]
        x = x + sum(weight * slopes[-1 - j] for j, weight in enumerate(weights))
    return x


FORMULAS = {
    "EulerEDM": euler,
    "HeunEDM": heun,
    "EulerAncestral": euler_ancestral,
    "DPMPP2SAncestral": dpmpp_2s_ancestral,
    "DPMPP2M": dpmpp_2m,
    "LinearMultistep": multistep,
    "LCM": lcm,
}
CONFIG = ScheduleConfig()
DISCRETIZATIONS = [LegacyDDPM(CONFIG), DiffusersDDPM(CONFIG), EDM(CONFIG), LCM(CONFIG)]


def run(name, schedule, noise, noises, mindspore, **options):
    from mindone_sdxl.registry import SAMPLERS

    def predict(latents, sigma):
        return mindspore.Tensor(slope(latents.asnumpy(), np.float64(sigma)).astype(latents.asnumpy().dtype))

    latents = mindspore.Tensor((noise * schedule.sigmas[0]).astype(schedule.sigmas.dtype))
    return SAMPLERS[name].kind(schedule, **options).sample(predict, latents, noises)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("discretization", DISCRETIZATIONS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", FORMULAS)
def test_a_sampler_follows_its_formula(name, discretization, dtype, mindspore):
    rng = np.random.default_rng(10)
    noise, noises = widened(rng, 2, 4, 4, 3), widened(rng, STEPS, 2, 4, 4, 3)
    schedule = make_schedule(discretization, STEPS, dtype)
    sigmas = [float(sigma) for sigma in schedule.sigmas]
    expected = FORMULAS[name](noise * sigmas[0], sigmas, noises)
    limit = 1e-12 if dtype == np.float64 else 1e-5
    assert distance(run(name, schedule, noise, noises, mindspore), expected) <= limit


def churned(x, sigmas, noises, *, second, churn, low, high, factor):
    """Algorithm 2 of Karras et al. 2022, with or without its correction."""
    for index, (sigma, following) in enumerate(zip(sigmas, sigmas[1:], strict=False)):
        gamma = min(churn / (len(sigmas) - 1), 2**0.5 - 1) if low <= sigma <= high else 0.0
        raised = sigma + gamma * sigma
        x = x + math.sqrt(raised**2 - sigma**2) * factor * noises[index]
        first = slope(x, raised)
        moved = x + (following - raised) * first
        if second and following != 0:
            moved = x + (following - raised) * (first + slope(moved, following)) / 2
        x = moved
    return x


@pytest.mark.parametrize("churn", [1.5, 40.0])
@pytest.mark.parametrize("name", ["EulerEDM", "HeunEDM"])
def test_churn_follows_its_formula_with_the_noise_that_is_given(name, churn, mindspore):
    from mindone_sdxl.errors import InputError

    rng = np.random.default_rng(12)
    noise, noises = widened(rng, 2, 4, 4, 3), widened(rng, STEPS, 2, 4, 4, 3)
    schedule = make_schedule(LegacyDDPM(CONFIG), STEPS, np.float64)
    sigmas = [float(sigma) for sigma in schedule.sigmas]
    limits = {"low": 0.3, "high": 6.0, "factor": 1.007}
    expected = churned(noise * sigmas[0], sigmas, noises, second=name == "HeunEDM", churn=churn, **limits)
    options = {"s_churn": churn, "s_tmin": 0.3, "s_tmax": 6.0, "s_noise": 1.007}
    assert distance(run(name, schedule, noise, noises, mindspore, **options), expected) <= 1e-12
    assert distance(run(name, schedule, noise, noises, mindspore), expected) > 1e-3
    with pytest.raises(InputError, match=r"7 entries for 8 steps"):
        run(name, schedule, noise, noises[:-1], mindspore, **options)
    with pytest.raises(InputError, match=r"give noises"):
        run(name, schedule, noise, None, mindspore, **options)


@pytest.mark.parametrize("options", [{"eta": 0.7}, {"eta": 0.0}, {"eta": 1.2, "s_noise": 1.1}], ids=str)
@pytest.mark.parametrize("name", ["EulerAncestral", "DPMPP2SAncestral"])
def test_eta_and_s_noise_of_the_ancestral_samplers_follow_their_formulas(name, options, mindspore):
    rng = np.random.default_rng(14)
    noise, noises = widened(rng, 2, 4, 4, 3), widened(rng, STEPS, 2, 4, 4, 3)
    schedule = make_schedule(DiffusersDDPM(CONFIG), STEPS, np.float64)
    sigmas = [float(sigma) for sigma in schedule.sigmas]
    expected = FORMULAS[name](noise * sigmas[0], sigmas, noises, **options)
    assert distance(run(name, schedule, noise, noises, mindspore, **options), expected) <= 1e-12
    assert distance(run(name, schedule, noise, noises, mindspore), expected) > 1e-3


def test_an_eta_that_no_step_can_have_is_refused(mindspore):
    from mindone_sdxl.errors import InputError
    from mindone_sdxl.samplers import DDIM, EulerAncestral

    schedule = make_schedule(DiffusersDDPM(CONFIG), 4, np.float64)
    with pytest.raises(InputError, match=r"eta is -0\.1, it must not be negative"):
        EulerAncestral(schedule, eta=-0.1)
    with pytest.raises(InputError, match=r"eta is 1\.1, expected 0 to 1"):
        DDIM(schedule, eta=1.1)


def test_every_row_is_tested_and_its_options_are_arguments_of_its_class():
    import inspect

    from mindone_sdxl.samplers import SAMPLERS

    tested_against_diffusers = {name for name, row in SAMPLERS.items() if row.placed is not None}
    assert set(FORMULAS) | tested_against_diffusers == set(SAMPLERS)
    for name, row in SAMPLERS.items():
        assert set(row.options) <= set(inspect.signature(row.kind.__init__).parameters), name
        assert row.noise in {"never", "always", *row.options}, name


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("name", FORMULAS)
def test_few_steps_work_too(name, steps, mindspore):
    rng = np.random.default_rng(11)
    noise, noises = widened(rng, 1, 4, 2, 2), widened(rng, steps, 1, 4, 2, 2)
    schedule = make_schedule(LegacyDDPM(CONFIG), steps, np.float64)
    sigmas = [float(sigma) for sigma in schedule.sigmas]
    expected = FORMULAS[name](noise * sigmas[0], sigmas, noises)
    assert distance(run(name, schedule, noise, noises, mindspore), expected) <= 1e-12


def test_schedules_equal_independent_formulas():
    betas = np.array([(0.00085**0.5 + i * (0.012**0.5 - 0.00085**0.5) / 999) ** 2 for i in range(1000)])
    kept = np.exp(np.cumsum(np.log1p(-betas)))
    table = np.sqrt(1 / kept - 1)
    legacy, diffusers, edm, lcm = (make_schedule(value, 40, np.float64) for value in DISCRETIZATIONS)
    assert legacy.timesteps[:2].tolist() == [999, 974]
    assert legacy.timesteps[-1] == 24
    assert diffusers.timesteps[:2].tolist() == [976, 951]
    assert diffusers.timesteps[-1] == 1
    assert lcm.timesteps[[0, 1, -1]].tolist() == [999, 979, 39]
    for schedule in (legacy, diffusers, lcm):
        np.testing.assert_allclose(schedule.sigmas[:-1], table[schedule.timesteps.astype(int)], rtol=1e-12)
        assert schedule.sigmas[-1] == 0
    roots = [80 ** (1 / 7) + i / 39 * (0.002 ** (1 / 7) - 80 ** (1 / 7)) for i in range(40)]
    np.testing.assert_allclose(edm.sigmas[:-1], np.array(roots) ** 7, rtol=1e-14)


def test_samplers_that_remember_need_their_steps_in_order(mindspore):
    from mindone_sdxl.errors import InputError
    from mindone_sdxl.samplers import DPMPP2M, EulerEDM, HeunEDM

    schedule = make_schedule(LegacyDDPM(CONFIG), 4, np.float64)
    x = mindspore.Tensor(np.ones((1, 4, 2, 2)))
    sampler = DPMPP2M(schedule)
    with pytest.raises(InputError, match="in order"):
        sampler.step(2, x, x)
    sampler.step(0, x, x)
    sampler.step(1, x, x)
    EulerEDM(schedule).step(2, x, x)
    with pytest.raises(InputError, match="step 4 of a schedule of 4"):
        EulerEDM(schedule).step(4, x, x)
    with pytest.raises(InputError, match="give predict"):
        HeunEDM(schedule).step(0, x, x)


@pytest.mark.parametrize("discretization", DISCRETIZATIONS, ids=lambda value: type(value).__name__)
def test_a_number_of_steps_that_cannot_be_placed_is_refused(discretization):
    from mindone_sdxl.errors import InputError

    for steps in (0, 1001):
        with pytest.raises(InputError, match=f"{steps} steps"):
            make_schedule(discretization, steps, np.float64)
