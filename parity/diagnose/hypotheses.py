"""Hypotheses about a module, fitted to its tensors.

Each function takes the evidence and a suspect and returns a `Cause`, or None when its hypothesis does not explain
every failing call. A hypothesis explains a call when what it predicts agrees with the candidate to `EXPLAINED` of the
tensor's norm while the reference does not. They use recorded tensors only; nothing says what was planted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from scipy import optimize, special

from parity.address import Address
from parity.diagnose.evidence import relative
from parity.repair import AttributeEdit, NoiseEdit
from parity.result import Cause

if TYPE_CHECKING:
    from collections.abc import Callable

    from parity.diagnose.evidence import Call, Evidence, Suspect

__all__ = ["EXPLAINED", "HYPOTHESES"]

EXPLAINED: Final = 1e-7
_IMAGE_AXES: Final = 4  # [batch, channels, height, width]
_WITH_CHANNELS: Final = 2
_WITH_AN_INSIDE: Final = 3
_MOST_CHANNELS: Final = 4096  # wider outputs do not occur in SDXL
_HALF_TYPES: Final = {"float16": 10, "bfloat16": 7}

_ACTIVATIONS: Final[dict[str, Callable[[np.ndarray], np.ndarray]]] = {
    "gelu (erf)": lambda x: x * special.ndtr(x),
    "gelu (tanh)": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x * special.expit(1.702 * x),
    "silu": lambda x: x * special.expit(x),
    "relu": lambda x: np.maximum(x, 0),
}


def noise_step(evidence: Evidence, suspect: Suspect) -> Cause | None:
    """The sampler's step uses the noise of another step."""
    if suspect.path != "scheduler.step":
        return None
    noises: dict[int, np.ndarray] = {}
    while (
        noise := evidence.recorded("scheduler.step", Address(path="", port="", step=len(noises)), "input.noise")
    ) is not None:
        noises[len(noises)] = noise
    facts, shifts = [], set()
    for call in evidence.calls(suspect):
        step = call.address.step or 0
        difference = call.candidate - call.reference
        fits = {other: _multiple(difference, noises[other] - noises[step]) for other in noises if other != step}
        best = min(fits, key=lambda other: fits[other][1], default=None)
        if best is None or fits[best][1] > EXPLAINED:
            return None
        shifts.add((step - best) % len(noises))
        factor, residual = fits[best]
        facts.append(
            f"step {step}: candidate - reference = {factor:.6g} x (noise of step {best} - noise of step {step}), "
            f"residual {residual:.1e} of the difference"
        )
    if len(shifts) != 1:
        return None
    shift = shifts.pop()
    late = f"{shift} step{'s' if shift > 1 else ''} late"
    return _cause(
        "noise-step-shifted", suspect, [f"the noise is taken {late}", *facts],
        "use noise[i] in step i of the sampler (i counts from 0)", [NoiseEdit(shift=shift)],
    )  # fmt: skip


def longer_step(evidence: Evidence, suspect: Suspect) -> Cause | None:
    """The sampler moves the latents by a multiple of what it should: its update is applied twice, or scaled."""
    if suspect.path != "scheduler.step":
        return None
    factors: list[tuple[float, float]] = []
    for call in evidence.calls(suspect):
        sample = call.inputs.get("sample")
        if sample is None or sample.shape != call.reference.shape:
            return None
        factors.append(_multiple(call.candidate - sample, call.reference - sample))
    if not factors or max(residual for _, residual in factors) > EXPLAINED:
        return None
    least, most = min(factor for factor, _ in factors), max(factor for factor, _ in factors)
    if most - least > EXPLAINED * abs(most):
        return None
    residual = max(residual for _, residual in factors)
    moved = f"the candidate moves the latents by {most:.9g} times the reference's move"
    facts = [f"in all {len(factors)} failing steps {moved}, residual at most {residual:.1e}"]
    times = round(most)
    if times > 1 and abs(most - times) < EXPLAINED:
        facts.append(f"{times} times exactly: the update is added {times} times")
    edit = AttributeEdit(path=suspect.path, name="step_factor", value=1.0 / most)
    return _cause("sampler-step-scaled", suspect, facts, "add the update to the latents once in every step", [edit])


def guidance(evidence: Evidence, suspect: Suspect) -> Cause | None:
    """The two halves are swapped, or the scale is another."""
    if suspect.path != "guidance":
        return None
    scales, swapped = [], []
    for call in evidence.calls(suspect):
        text, uncond = call.inputs.get("noise_pred_text"), call.inputs.get("noise_pred_uncond")
        if text is None or uncond is None:
            return None
        given = _multiple(call.reference - uncond, text - uncond)[0]
        scale, residual = _multiple(call.candidate - uncond, text - uncond)
        scales.append((scale, residual))
        swapped.append(relative(call.candidate, text + given * (uncond - text)))
    if swapped and max(swapped) < EXPLAINED:
        facts = [f"the candidate equals the formula with both halves exchanged, residual {max(swapped):.1e}"]
        return _cause("guidance-halves-swapped", suspect, facts, "put the unconditional half first", [])
    if scales and max(residual for _, residual in scales) < EXPLAINED:
        facts = [f"the candidate's guidance scale is {scales[0][0]:.9g}, the reference's {given:.9g}"]
        return _cause("guidance-scale", suspect, facts, f"set the guidance scale to {given:.9g}", [])
    return None


def activation(evidence: Evidence, suspect: Suspect) -> Cause | None:
    """Another variant of the activation."""
    found: dict[str, float] = {}
    used = ""
    for call in evidence.calls(suspect):
        formula = _activation_of(evidence, call)
        if formula is None:
            return None
        errors = {name: relative(formula(function), call.candidate) for name, function in _ACTIVATIONS.items()}
        own = min(_ACTIVATIONS, key=lambda name: relative(formula(_ACTIVATIONS[name]), call.reference))
        best = min(errors, key=lambda name: errors[name])
        if errors[best] > EXPLAINED or best == own or (found and best not in found):
            return None
        used, found[best] = own, max(found.get(best, 0.0), errors[best])
    if not found:
        return None
    variant, residual = next(iter(found.items()))
    facts = [f"the candidate equals {variant} of the recorded input, residual {residual:.1e}; the reference is {used}"]
    value = {"gelu (erf)": "none", "gelu (tanh)": "tanh"}.get(used, used)
    name = "approximate" if used.startswith("gelu") else "activation"
    return _cause(
        "activation-variant", suspect, facts, f"use {used} here",
        [AttributeEdit(path=suspect.path, name=name, value=value)],
    )  # fmt: skip


def norm_epsilon(evidence: Evidence, suspect: Suspect) -> Cause | None:
    """A norm with another epsilon, fitted from its input and both outputs."""
    eps = evidence.attribute(suspect.path, "eps")
    groups = evidence.attribute(suspect.path, "num_groups")
    if not isinstance(eps, float):
        return None
    fitted, residuals = [], []
    for call in evidence.calls(suspect):
        x = next(iter(call.inputs.values()), None)
        if x is None or x.shape != call.reference.shape:
            return None
        value, residual = _fit_epsilon(x, call, eps, groups if isinstance(groups, int) else None)
        fitted.append(value)
        residuals.append(residual)
    if not fitted or max(residuals) > EXPLAINED or max(fitted) > 1.01 * min(fitted) + 1e-12:
        return None
    value = float(np.median(fitted))
    facts = [
        f"the candidate's outputs fit eps = {value:.3g}, the reference's is {eps:g}; residual {max(residuals):.1e}"
    ]
    return _cause(
        "norm-epsilon", suspect, facts, f"set eps to {eps:g}", [AttributeEdit(path=suspect.path, name="eps", value=eps)]
    )


def scaled(evidence: Evidence, suspect: Suspect) -> Cause | None:
    """A constant factor, or a constant added."""
    factors, offsets = [], []
    for call in evidence.calls(suspect):
        if call.candidate.shape != call.reference.shape:
            return None
        factors.append(_multiple(call.candidate, call.reference))
        difference = call.candidate - call.reference
        offsets.append((float(difference.mean()), float(np.ptp(difference))))
    if factors and max(residual for _, residual in factors) < EXPLAINED:
        facts = [f"the candidate is the reference times {factors[0][0]:.9g}, residual {factors[0][1]:.1e}"]
        return _cause("scaled-output", suspect, facts, f"divide the output by {factors[0][0]:.9g}", [])
    if offsets and all(spread < EXPLAINED * abs(mean) for mean, spread in offsets):
        facts = [f"the candidate is the reference plus {offsets[0][0]:.9g} everywhere"]
        return _cause("shifted-output", suspect, facts, f"subtract {offsets[0][0]:.9g} from the output", [])
    return None


def permuted(evidence: Evidence, suspect: Suspect) -> Cause | None:
    """The channels (axis 1 of an image, the last axis of tokens) are in another order."""
    orders = [_order_of_channels(call) for call in evidence.calls(suspect)]
    if not orders or None in orders or any(order != orders[0] for order in orders):
        return None
    moved = [(index, source) for index, source in enumerate(orders[0] or ()) if index != source]
    facts = [
        (
            f"{len(moved)} of {len(orders[0] or ())} channels are in another order: "
            f"channel {moved[0][0]} holds the reference's {moved[0][1]}"
        )
    ]
    return _cause("permuted-channels", suspect, facts, "restore the order of the channels", [])


def step_late(evidence: Evidence, suspect: Suspect) -> Cause | None:
    """The output of another step."""
    shifts = set()
    for call in evidence.calls(suspect):
        if call.address.step is None:
            return None
        others = range(max(0, call.address.step - 3), call.address.step + 4)
        matching = [other for other in others if other != call.address.step and _equals_step(evidence, call, other)]
        if not matching:
            return None
        shifts.add(call.address.step - matching[0])
    if len(shifts) != 1:
        return None
    shift = shifts.pop()
    facts = [
        f"in every failing step the candidate has the reference's value of {abs(shift)} step(s) {'earlier' if shift > 0 else 'later'}"
    ]
    return _cause("step-shifted", suspect, facts, "use the values of the current step", [])


def half_precision(evidence: Evidence, suspect: Suspect) -> Cause | None:
    """Every value lies on the grid of a half type."""
    for name, kept in _HALF_TYPES.items():
        calls = list(evidence.calls(suspect))
        if calls and all(_on_grid(call.candidate, kept) and not _on_grid(call.reference, kept) for call in calls):
            facts = [f"every value of the candidate is a {name} number; the reference's are not"]
            return _cause(
                "half-precision-grid", suspect, facts, "compute this module in the type that was asked for", []
            )
    return None


def border(evidence: Evidence, suspect: Suspect) -> Cause | None:
    """Only the border of the image differs: padding."""
    wrong: dict[str, float] = {}
    most_inside, constant = 0.0, True
    for call in evidence.calls(suspect):
        image = call.reference.ndim == _IMAGE_AXES and min(call.reference.shape[2:]) >= _WITH_AN_INSIDE
        if not image or call.candidate.shape != call.reference.shape:
            return None
        error = np.abs(call.candidate - call.reference).max(axis=(0, 1))
        inside, limit = float(error[1:-1, 1:-1].max()), EXPLAINED * float(np.abs(call.reference).max())
        sides = {"top": error[0], "bottom": error[-1], "left": error[:, 0], "right": error[:, -1]}
        here = {name: float(values.max()) for name, values in sides.items() if np.median(values) > limit}
        if inside > limit or not here:
            return None
        wrong = {name: max(most, wrong.get(name, 0.0)) for name, most in here.items()}
        most_inside = max(most_inside, inside)
        constant = constant and all(_even(call, name, limit) for name in here)
    if not wrong:
        return None
    facts = [
        (
            f"only the border differs ({', '.join(wrong)}): by at most {max(wrong.values()):.3g} there, "
            f"{most_inside:.1e} inside"
        )
    ]
    if constant:
        facts.append("along each side a channel is off by one number: another constant is padded there")
    return _cause("padding", suspect, facts, "pad with zeros, on the sides where the reference pads", [])


HYPOTHESES: Final = (
    noise_step, longer_step, guidance, activation, norm_epsilon, half_precision, scaled, border, step_late, permuted,
)  # fmt: skip


def _even(call: Call, side: str, limit: float) -> bool:
    """Tell whether every channel is off by one and the same number along a side, its corners left out."""
    difference = call.candidate - call.reference
    edge = {"top": difference[..., 0, :], "bottom": difference[..., -1, :], "left": difference[..., 0]}
    along = edge.get(side, difference[..., -1])[..., 1:-1]
    return bool(np.ptp(along, axis=-1).max() <= limit)


def _order_of_channels(call: Call) -> tuple[int, ...] | None:
    """Return which channel of the reference each channel of the candidate holds; None unless all are there."""
    if call.candidate.shape != call.reference.shape or call.reference.ndim < _WITH_CHANNELS:
        return None
    axis = 1 if call.reference.ndim == _IMAGE_AXES else -1
    ours, theirs = (np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1) for x in (call.candidate, call.reference))
    if len(ours) > _MOST_CHANNELS:
        return None
    nearest = tuple(int(np.argmin(np.abs(theirs - row).max(axis=1))) for row in ours)
    complete = sorted(nearest) == list(range(len(ours)))
    return nearest if complete and relative(theirs[list(nearest)], ours) <= EXPLAINED else None


def _multiple(y: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    """Return the least-squares factor of y on x, and the residual relative to y."""
    square = float(np.vdot(x, x))
    if square == 0 or y.shape != x.shape:
        return 0.0, float("inf")
    factor = float(np.vdot(x, y)) / square
    return factor, relative(factor * x, y)


def _activation_of(evidence: Evidence, call: Call) -> Callable[[Callable[[np.ndarray], np.ndarray]], np.ndarray] | None:
    """Return a formula from an activation to the module's output, for a plain activation or a gated one."""
    projected = evidence.recorded(f"{call.address.path}.proj", call.address)
    if projected is not None and projected.shape[-1] == 2 * call.reference.shape[-1]:
        hidden, gate = np.split(projected, 2, axis=-1)
        return lambda function: hidden * function(gate)
    x = next(iter(call.inputs.values()), None)
    if x is None or x.shape != call.reference.shape or len(call.inputs) != 1:
        return None
    return lambda function: function(x)


def _fit_epsilon(x: np.ndarray, call: Call, eps: float, groups: int | None) -> tuple[float, float]:
    """Return the epsilon that explains the candidate's output best, and the residual relative to the difference.

    With z the centred input and v its variance, the reference is g z / sqrt(v + eps) + b. Per channel g and b follow
    from the reference's own output, so one number is left to fit.
    """
    if groups is None:
        rows, reference, candidate = (a.reshape(-1, a.shape[-1]) for a in (x, call.reference, call.candidate))
        centred = rows - rows.mean(axis=1, keepdims=True)
        variance = (centred**2).mean(axis=1, keepdims=True)
    else:
        shaped = x.reshape(x.shape[0], groups, -1)
        centred = shaped - shaped.mean(axis=2, keepdims=True)
        variance = np.broadcast_to((centred**2).mean(axis=2, keepdims=True), shaped.shape).reshape(x.shape)
        centred = centred.reshape(x.shape)
        centred, variance, reference, candidate = (
            np.moveaxis(a, 1, -1).reshape(-1, x.shape[1]) for a in (centred, variance, call.reference, call.candidate)
        )
    normal = centred / np.sqrt(variance + eps)
    mean = normal.mean(axis=0)
    gain = ((normal - mean) * (reference - reference.mean(axis=0))).sum(axis=0) / ((normal - mean) ** 2).sum(axis=0)
    bias = reference.mean(axis=0) - gain * mean

    def residual(logarithm: float) -> float:
        return relative(gain * centred / np.sqrt(variance + 10**logarithm) + bias, candidate)

    grid = np.arange(-14.0, 0.0, 0.25)
    start = grid[int(np.argmin([residual(value) for value in grid]))]
    found = optimize.minimize_scalar(
        residual, bounds=(start - 0.3, start + 0.3), method="bounded", options={"xatol": 1e-9}
    )
    return float(10**found.x), float(found.fun)


def _equals_step(evidence: Evidence, call: Call, step: int) -> bool:
    """Tell whether the candidate's output is the reference's of another step."""
    other = evidence.recorded(call.address.path, _at_step(call.address, step), call.address.port)
    return other is not None and relative(other, call.candidate) < EXPLAINED


def _at_step(address: Address, step: int) -> Address:
    """Return the same address in another step."""
    return Address(path=address.path, port=address.port, step=step, call=address.call)


def _on_grid(array: np.ndarray, kept: int) -> bool:
    """Tell whether every value has at most `kept` mantissa bits."""
    mantissa, _ = np.frexp(array[np.isfinite(array)])
    scaled_up = mantissa * 2.0 ** (kept + 1)
    return bool(array.size) and bool(np.all(scaled_up == np.rint(scaled_up)))


def _cause(slug: str, suspect: Suspect, facts: list[str], repair: str, edits: list[AttributeEdit | NoiseEdit]) -> Cause:
    """Return a fitted cause at a suspect."""
    return Cause(
        slug=slug, address=suspect.path, confirmed=False, confidence=0.95, evidence=facts, repair=repair,
        edits=[msgspec.to_builtins(edit) for edit in edits],
    )  # fmt: skip
