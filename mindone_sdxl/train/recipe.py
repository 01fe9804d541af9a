"""Everything that decides the numbers of a training run, as plain frozen data; no framework is imported here.

>>> Recipe(total_steps=10).optimizer.eps
1e-08
>>> Optimizer.named("AdamWeightDecay").bias_correction
False
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from mindone_sdxl.errors import ConfigError

__all__ = ["Clip", "Ema", "LossScale", "Optimizer", "Rate", "Recipe", "TimestepBias", "WeightTypes"]

DecayFilter = Literal["all", "names", "matrices"]
WeightTypes = Literal["float32", "float16", "float16 with float32 norms"]


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Adam with decoupled weight decay.

    Args:
        bias_correction: whether moments are divided by what they lack in the first steps, as in torch; MindSpore's
            AdamWeightDecay does without.
        decay: the parameters that decay: all, as in torch; those without "norm" and "bias" in their names, as in the
            original; or those with two axes and more.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    bias_correction: bool = True
    decay: DecayFilter = "all"

    @classmethod
    def named(cls, target: str, **options: Any) -> Optimizer:
        """The optimizer of a name, as the original's configurations spell it, with its defaults.

        Raises:
            ConfigError: the name or an option is unknown.
        """
        name = target.rpartition(".")[2]
        defaults: dict[str, dict[str, Any]] = {
            "AdamW": {},
            "AdamWeightDecay": {"eps": 1e-6, "weight_decay": 0.0, "bias_correction": False, "decay": "names"},
        }
        if name not in defaults:
            message = f"optimizer {target} is not implemented, expected {' or '.join(defaults)}"
            raise ConfigError(message)
        unknown = sorted(options.keys() - {each.name for each in fields(cls)})
        if unknown:
            message = f"optimizer {target} has no option {', '.join(unknown)}"
            raise ConfigError(message)
        return cls(**defaults[name] | options)

    def decays(self, name: str, shape: tuple[int, ...]) -> bool:
        """Whether a parameter's weight decays."""
        if self.decay == "names":
            return "norm" not in name.lower() and "bias" not in name.lower()
        return self.decay == "all" or len(shape) > 1

    def __post_init__(self) -> None:
        """Refuse numbers with which it makes no step."""
        for name in ("beta1", "beta2"):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "0 to below 1")
        _require(self.eps >= 0 and math.isfinite(self.eps), "eps", self.eps, "0 or more")
        _require(0 <= self.weight_decay < math.inf, "weight_decay", self.weight_decay, "0 or more")


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How the learning rate goes over the updates; the first update is number 0.

    Args:
        base: the rate at its height.
        shape: after the warm-up: constant, or down to `last` times the base in a line or in half a cosine.
        warmup: updates over which the rate rises in a line from `first` times the base.
        total: the update at which the rate has come down.
    """

    base: float = 1e-5
    shape: Literal["constant", "linear", "cosine"] = "constant"
    warmup: int = 0
    total: int = 0
    first: float = 0.0
    last: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a rate that is none."""
        _require(0 <= self.base < math.inf, "learning rate", self.base, "0 or more")
        _require(self.warmup >= 0, "warm-up", self.warmup, "0 or more updates")
        falls = self.shape != "constant"
        _require(
            not falls or self.total > self.warmup, "the rate's end", self.total, f"above the warm-up's {self.warmup}"
        )

    def at(self, update: int) -> float:
        """The learning rate of an update."""
        if update < self.warmup:
            return self.base * (self.first + (1 - self.first) * update / self.warmup)
        if self.shape == "constant":
            return self.base
        gone = min(1.0, (update - self.warmup) / (self.total - self.warmup))
        left = 1 - gone if self.shape == "linear" else 0.5 * (1 + math.cos(math.pi * gone))
        return self.base * (self.last + (1 - self.last) * left)


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Gradients are scaled down to a norm: that of all together, or, as the original does, each to its own.

    Args:
        eps: added to the norm before the limit is divided by it, as torch does.
    """

    norm: float = 1.0
    each: bool = False
    eps: float = 1e-6

    def __post_init__(self) -> None:
        """Refuse a norm that leaves nothing."""
        _require(0 < self.norm < math.inf, "max_grad_norm", self.norm, "above 0")


@dataclass(frozen=True, kw_only=True)
class Ema:
    """A moving average of the weights.

    Args:
        decay: the most that is kept in an update.
        warmup: how the kept share rises: as (1 + n) / (10 + n) of update n, which is diffusers' `EMAModel`, or as
            1 - exp(-n / 2000), which is the original's.
    """

    decay: float = 0.9999
    warmup: Literal["ratio", "exponential", "none"] = "ratio"

    def __post_init__(self) -> None:
        """Refuse a share that is none."""
        _require(0 <= self.decay <= 1, "EMA decay", self.decay, "0 to 1")

    def kept(self, update: int) -> float:
        """The share of the average that update number `update` (from 0) keeps."""
        if self.warmup == "ratio":
            # The average starts as the weights after the first update.
            return min(self.decay, (1 + update) / (10 + update)) if update else 0.0
        if self.warmup == "exponential":
            return self.decay * (1 - math.exp(-(update + 1) / 2000))
        return self.decay


@dataclass(frozen=True, kw_only=True)
class LossScale:
    """The factor that keeps gradients of half precision from vanishing.

    Args:
        value: the factor at the start.
        dynamic: halved after an update whose gradients overflow, doubled after `interval` updates without one.
        update_anyway: whether an update is made although its gradients overflow, as the original does by default.
    """

    value: float = 1.0
    dynamic: bool = False
    interval: int = 2000
    update_anyway: bool = False

    def __post_init__(self) -> None:
        """Refuse a factor that leaves nothing."""
        _require(0 < self.value < math.inf, "loss scale", self.value, "above 0")
        _require(self.interval > 0, "loss scale's interval", self.interval, "above 0")


@dataclass(frozen=True, kw_only=True)
class TimestepBias:
    """Some timesteps are drawn more often than others: the earlier or later `portion`, or those of a range.

    Args:
        multiplier: how many times as often.
        begin: first timestep of the range.
        end: the one after its last.
    """

    strategy: Literal["earlier", "later", "range"]
    multiplier: float = 1.0
    portion: float = 0.25
    begin: int = 0
    end: int = 1000

    def __post_init__(self) -> None:
        """Refuse a bias that leaves nothing to draw."""
        _require(0 < self.multiplier < math.inf, "timestep_bias_multiplier", self.multiplier, "above 0")
        _require(0 <= self.portion <= 1, "timestep_bias_portion", self.portion, "0 to 1")
        if self.strategy == "range":
            _require(0 <= self.begin < self.end, "timestep_bias_begin", self.begin, f"0 to below the end, {self.end}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training run.

    Args:
        total_steps: updates of the weights.
        batch_size: images of a gradient.
        accumulation: gradients of an update, whose mean is taken.
        snr_gamma: largest signal-to-noise ratio that counts in the loss, None for a plain mean.
        offset_noise: share of noise that is the same for all places of a channel.
        loss: square or absolute difference.
        weights: the type in which weights, and with them the moments, are kept and used.
        narrow: whether the network computes in float16 from weights that are kept in float32.
        seed: of the order of the images and of all that is drawn.
    """

    total_steps: int
    batch_size: int = 1
    accumulation: int = 1
    optimizer: Optimizer = field(default_factory=Optimizer)
    rate: Rate = field(default_factory=Rate)
    clip: Clip | None = None
    ema: Ema | None = None
    loss_scale: LossScale = field(default_factory=LossScale)
    timestep_bias: TimestepBias | None = None
    snr_gamma: float | None = None
    offset_noise: float = 0.0
    loss: Literal["l2", "l1"] = "l2"
    weights: WeightTypes = "float32"
    narrow: bool = False
    seed: int = 42

    def __post_init__(self) -> None:
        """Refuse a run that makes no update."""
        for name in ("total_steps", "batch_size", "accumulation"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "1 or more")
        _require(self.snr_gamma is None or 0 < self.snr_gamma < math.inf, "snr_gamma", self.snr_gamma, "above 0")
        _require(0 <= self.offset_noise < math.inf, "offset_noise_level", self.offset_noise, "0 or more")
        _require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 4294967295")


def _require(holds: object, name: str, value: object, expected: str) -> None:
    """Raise for a number out of its range."""
    if not holds:
        message = f"{name} is {value}, expected {expected}"
        raise ConfigError(message)
