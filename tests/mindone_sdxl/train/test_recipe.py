"""What decides the numbers of a run: rates, averages, filters, ranges."""

from __future__ import annotations

import math

import pytest

from mindone_sdxl.errors import ConfigError
from mindone_sdxl.train.recipe import Clip, Ema, LossScale, Optimizer, Rate, Recipe, TimestepBias
from mindone_sdxl.train.scaling import Scale


@pytest.mark.parametrize(
    ("shape", "name"),
    [("constant", "constant_with_warmup"), ("linear", "linear"), ("cosine", "cosine")],
)
@pytest.mark.torch
def test_rates_are_those_of_diffusers(shape, name):
    torch = pytest.importorskip("torch")
    from diffusers.optimization import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    theirs = get_scheduler(name, optimizer, num_warmup_steps=3, num_training_steps=10)
    rate = Rate(base=2.0, shape=shape, warmup=3, total=10)
    for update in range(12):
        if not (shape == "cosine" and update > 10):  # theirs rises again after the end
            assert rate.at(update) == pytest.approx(theirs.get_last_lr()[0], abs=1e-15)
        optimizer.step()
        theirs.step()


@pytest.mark.torch
def test_the_average_keeps_what_diffusers_keeps():
    pytest.importorskip("torch")
    from diffusers.training_utils import EMAModel

    theirs = EMAModel([], decay=0.9)
    ours = Ema(decay=0.9, warmup="ratio")
    assert [ours.kept(update) for update in range(200)] == [theirs.get_decay(update + 1) for update in range(200)]


def test_the_originals_average_rises_over_two_thousand_updates():
    ours = Ema(decay=0.9999, warmup="exponential")
    assert ours.kept(1999) == pytest.approx(0.9999 * (1 - math.exp(-1)))
    assert Ema(decay=0.5, warmup="none").kept(0) == 0.5


def test_optimizers_have_their_frameworks_defaults():
    assert Optimizer.named("torch.optim.AdamW") == Optimizer()
    original = Optimizer.named("mindspore.nn.AdamWeightDecay", beta2=0.98)
    assert (original.eps, original.beta2, original.weight_decay, original.bias_correction) == (1e-6, 0.98, 0.0, False)
    with pytest.raises(ConfigError, match="SGD is not implemented, expected AdamW or AdamWeightDecay"):
        Optimizer.named("mindspore.nn.SGD")
    with pytest.raises(ConfigError, match="has no option momentum"):
        Optimizer.named("AdamW", momentum=0.9)


@pytest.mark.parametrize(
    ("kind", "decaying"),
    [
        ("all", ["norm1.gamma", "in_layers.0.gamma", "proj.bias", "proj.weight"]),
        (
            "names",
            ["in_layers.0.gamma", "proj.weight"],
        ),  # the original's norms in residual blocks have no norm in their names
        ("matrices", ["proj.weight"]),
    ],
)
def test_weights_decay_by_the_filter(kind, decaying):
    shapes = {"norm1.gamma": (4,), "in_layers.0.gamma": (4,), "proj.bias": (4,), "proj.weight": (4, 4)}
    options = Optimizer(decay=kind)
    assert [name for name, shape in shapes.items() if options.decays(name, shape)] == decaying


@pytest.mark.parametrize(
    "make",
    [
        lambda: Optimizer(beta1=1.0),
        lambda: Optimizer(eps=-1e-8),
        lambda: Optimizer(weight_decay=math.inf),
        lambda: Rate(base=math.nan),
        lambda: Rate(warmup=-1),
        lambda: Rate(shape="cosine", warmup=5, total=5),
        lambda: Clip(norm=0.0),
        lambda: Ema(decay=1.5),
        lambda: LossScale(value=0.0),
        lambda: LossScale(interval=0),
        lambda: TimestepBias(strategy="later", portion=2.0),
        lambda: TimestepBias(strategy="range", begin=9, end=9),
        lambda: TimestepBias(strategy="earlier", multiplier=math.inf),
        lambda: Recipe(total_steps=0),
        lambda: Recipe(total_steps=1, accumulation=0),
        lambda: Recipe(total_steps=1, snr_gamma=0.0),
        lambda: Recipe(total_steps=1, offset_noise=math.nan),
        lambda: Recipe(total_steps=1, seed=-1),
    ],
)
def test_numbers_out_of_range_are_refused(make):
    with pytest.raises(ConfigError, match=r"is .*, expected "):
        make()


def test_the_loss_scale_falls_with_overflows_and_rises_after_a_time_without():
    scale = Scale(LossScale(value=8.0, dynamic=True, interval=3))
    seen = []
    for overflows in (False, True, True, False, False, False, False):
        scale.note(overflows=overflows)
        seen.append(scale.value)
    assert seen == [8.0, 4.0, 2.0, 2.0, 2.0, 4.0, 4.0]
    assert scale.overflows == 2
    static = Scale(LossScale(value=8.0))
    static.note(overflows=True)
    assert (static.value, static.overflows) == (8.0, 1)
