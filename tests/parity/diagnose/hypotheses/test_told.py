"""What is told of each fault: the facts with their numbers, the repair in words, and the edits that a replay can try."""

from __future__ import annotations

import re
from itertools import permutations

import numpy as np
import pytest
from scipy import special

from parity.diagnose.hypothesis import FITTED, PROVEN, UNEXPLAINED
from parity.trace import WeightDigests
from tests.parity.diagnose.faults import (
    FAULTS,
    IMAGE,
    NOISE,
    STEPS,
    TEXT,
    TOKENS,
    UNCOND,
    causes,
    gelu,
    gelu_tanh,
    group_norm,
    layer_norm,
    traces,
)

random = np.random.default_rng(8)
VARIANTS = {
    "gelu (erf)": (gelu, "approximate", "none"),
    "gelu (tanh)": (gelu_tanh, "approximate", "tanh"),
    "quick_gelu": (lambda x: x * special.expit(1.702 * x), "activation", "quick_gelu"),
    "silu": (lambda x: x * special.expit(x), "activation", "silu"),
    "relu": (lambda x: np.maximum(x, 0), "activation", "relu"),
}
LATE = "step {}: candidate - reference = 0.7 x (noise of step {} - noise of step {}), residual R of the difference"


def attribute(path, name, value):
    """Return the edit of an attribute as a result holds it."""
    return {"kind": "attribute", "path": path, "name": name, "value": value}


# fault -> facts with R for a residual, repair, edits
TOLD = {
    "activation-variant": (
        ["the candidate equals gelu (tanh) of the recorded input, residual R; the reference is gelu (erf)"],
        "use gelu (erf) here", [attribute("unet.ff", "approximate", "none")],
    ),
    "norm-epsilon": (
        ["the candidate's outputs fit eps = 1e-07, the reference's is 1e-05; residual R"],
        "set eps to 1e-05", [attribute("text_encoder_2.ln", "eps", 1e-5)],
    ),
    "norm-epsilon of groups": (
        ["the candidate's outputs fit eps = 1e-05, the reference's is 1e-06; residual R"],
        "set eps to 1e-06", [attribute("unet.norm", "eps", 1e-6)],
    ),
    "noise-step-shifted": (
        ["the noise is taken 1 step late", *(LATE.format(step, (step - 1) % STEPS, step) for step in range(STEPS))],
        "use noise[i] in step i of the sampler (i counts from 0)", [{"kind": "noise", "shift": 1}],
    ),
    "guidance-halves-swapped": (
        ["the candidate equals the formula with both halves exchanged, residual R"], "put the unconditional half first", [],
    ),
    "guidance-scale": (
        ["the candidate's guidance scale is 5.01, the reference's 5"], "set the guidance scale to 5", [],
    ),
    "scaled-output": (["the candidate is the reference times 1.01, residual R"], "divide the output by 1.01", []),
    "shifted-output": (["the candidate is the reference plus 0.001 everywhere"], "subtract 0.001 from the output", []),
    "permuted-channels": (
        ["2 of 8 channels are in another order: channel 0 holds the reference's 1"], "restore the order of the channels", [],
    ),
    "sampler-step-scaled": (
        ["in all 3 failing steps the candidate moves the latents by 2 times the reference's move, residual at most R",
         "2 times exactly: the update is added 2 times"],
        "add the update to the latents once in every step", [attribute("scheduler.step", "step_factor", 0.5)],
    ),
    "padding": (
        ["only the border differs (bottom): by at most 0.1 there, 0.0e+00 inside",
         "along each side a channel is off by one number: another constant is padded there"],
        "pad with zeros, on the sides where the reference pads", [],
    ),
    "half-precision-grid": (
        ["every value of the candidate is a float16 number; the reference's are not"],
        "compute this module in the type that was asked for", [],
    ),
    "step-shifted": (
        ["in every failing step the candidate has the reference's value of 1 step(s) earlier"],
        "use the values of the current step", [],
    ),
    "unknown": (
        ["1 outputs differ with identical inputs; the largest relative difference is 1.0e-01", "480 of 480 outside"],
        "compare how both sides compute vae.decode; its inputs match", [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_cause_is_told_with_its_numbers_and_its_repair(tmp_path, name):
    (cause,) = causes(*traces(tmp_path, *FAULTS[name][:5]))
    residuals = [
        float(found) for fact in cause.evidence for found in re.findall(r"residual (?:at most )?(\d\.\de[+-]\d+)", fact)
    ]
    facts = [re.sub(r"(residual (?:at most )?)\d\.\de[+-]\d+", r"\1R", fact) for fact in cause.evidence]
    assert (facts, cause.repair, cause.edits) == TOLD[name]
    assert cause.confidence == (UNEXPLAINED if name == "unknown" else FITTED)
    assert max(residuals, default=0) < 1e-7


def one(folder, reference, candidate, inputs=None, attributes=None, modules=None):
    """Return the only cause of two sides that differ in these outputs."""
    (cause,) = causes(*traces(folder, modules or {}, attributes or {}, inputs or {}, reference, candidate))
    return cause


@pytest.mark.parametrize(("right", "wrong"), list(permutations(VARIANTS, 2)))
def test_each_activation_is_told_from_each_other(tmp_path, right, wrong):
    place = "unet.act@step=0"
    cause = one(
        tmp_path,
        {f"{place}:output": VARIANTS[right][0](TOKENS)},
        {f"{place}:output": VARIANTS[wrong][0](TOKENS)},
        {place: {"input.x": TOKENS}},
    )
    assert cause.slug == "activation-variant"
    assert cause.evidence[0].startswith(f"the candidate equals {wrong} of the recorded input")
    assert cause.edits == [attribute("unet.act", *VARIANTS[right][1:])]


@pytest.mark.parametrize("inputs", [{}, {"input.x": TOKENS, "input.y": TOKENS}, {"input.x": TOKENS[:, :3]}])
def test_an_activation_is_one_of_the_only_input(tmp_path, inputs):
    place = "unet.act@step=0"
    sides = ({f"{place}:output": function(TOKENS)} for function in (gelu, gelu_tanh))
    assert one(tmp_path, *sides, {place: inputs}).slug == "unknown"


def test_an_activation_that_is_another_in_each_call_is_not_one(tmp_path):
    given = {f"unet.act@step={step}": {"input.x": TOKENS + step} for step in range(2)}
    reference = {f"unet.act@step={step}:output": gelu(TOKENS + step) for step in range(2)}
    wrong = [gelu_tanh(TOKENS), VARIANTS["silu"][0](TOKENS + 1)]
    candidate = {f"unet.act@step={step}:output": wrong[step] for step in range(2)}
    assert one(tmp_path, reference, candidate, given).slug == "unknown"


@pytest.mark.parametrize(("right", "wrong"), [(1e-5, 1e-3), (1e-6, 1e-12), (1e-12, 1e-5), (1e-5, 2e-5), (1e-3, 0.05)])
@pytest.mark.parametrize("groups", [None, 4])
def test_an_epsilon_is_fitted_over_many_magnitudes(tmp_path, right, wrong, groups):
    norm, x = (layer_norm, 0.01 * TOKENS) if groups is None else (group_norm, 0.003 * IMAGE)
    settings = {"eps": right} if groups is None else {"eps": right, "num_groups": groups}
    place = "unet.norm@step=0"
    sides = ({f"{place}:output": norm(x, eps)} for eps in (right, wrong))
    cause = one(tmp_path, *sides, {place: {"input.x": x}}, {"unet.norm": settings})
    assert (cause.slug, cause.repair) == ("norm-epsilon", f"set eps to {right:g}")
    assert f"fit eps = {wrong:.3g}, the reference's is {right:g}" in cause.evidence[0]
    assert cause.edits == [attribute("unet.norm", "eps", right)]


@pytest.mark.parametrize("settings", [{}, {"eps": None}, {"eps": 1}])
def test_without_a_number_of_the_reference_no_epsilon_is_fitted(tmp_path, settings):
    place = "unet.norm@step=0"
    sides = ({f"{place}:output": layer_norm(TOKENS, eps)} for eps in (1e-5, 1e-3))
    assert one(tmp_path, *sides, {place: {"input.x": TOKENS}}, {"unet.norm": settings}).slug == "unknown"


def test_two_epsilons_are_none(tmp_path):
    given = {f"unet.norm@step={step}": {"input.x": TOKENS} for step in range(2)}
    reference = {f"unet.norm@step={step}:output": layer_norm(TOKENS, 1e-5) for step in range(2)}
    candidate = {f"unet.norm@step={step}:output": layer_norm(TOKENS, (1e-3, 1.1e-3)[step]) for step in range(2)}
    assert one(tmp_path, reference, candidate, given, {"unet.norm": {"eps": 1e-5}}).slug == "unknown"


@pytest.mark.parametrize(("shift", "words"), [(1, "1 step late"), (2, "2 steps late")])
def test_noise_of_any_other_step_is_told_by_how_late_it_is(tmp_path, shift, words):
    given = {f"scheduler.step@step={step}": {"input.noise": NOISE[step]} for step in range(STEPS)}

    def outputs(late):
        return {
            f"scheduler.step@step={step}:output": IMAGE[:1, :4] + 0.3 * NOISE[(step - late) % STEPS]
            for step in range(STEPS)
        }

    cause = one(tmp_path, outputs(0), outputs(shift), given)
    assert (cause.slug, cause.evidence[0]) == ("noise-step-shifted", f"the noise is taken {words}")
    assert cause.edits == [{"kind": "noise", "shift": shift}]


def test_noise_of_one_step_in_all_is_no_shift(tmp_path):
    given = {f"scheduler.step@step={step}": {"input.noise": NOISE[step]} for step in range(STEPS)}
    reference = {f"scheduler.step@step={step}:output": IMAGE[:1, :4] + NOISE[step] for step in range(STEPS)}
    candidate = {f"scheduler.step@step={step}:output": IMAGE[:1, :4] + NOISE[0] for step in range(STEPS)}
    assert one(tmp_path, reference, candidate, given).slug == "unknown"


@pytest.mark.parametrize(
    ("factor", "exact"), [(2.0, True), (3.0, True), (0.5, False), (1.0001, False), (-1.0, False), (2.001, False)]
)
def test_a_step_that_goes_too_far_or_not_far_enough_is_told_by_its_factor(tmp_path, factor, exact):
    given = {f"scheduler.step@step={step}": {"input.sample": NOISE[step]} for step in range(STEPS)}

    def outputs(times):
        return {
            f"scheduler.step@step={step}:output": NOISE[step] + times * (step + 1) * UNCOND for step in range(STEPS)
        }

    cause = one(tmp_path, outputs(1), outputs(factor), given)
    assert cause.slug == "sampler-step-scaled"
    assert f"by {factor:.9g} times the reference's move" in cause.evidence[0]
    assert cause.edits[0]["value"] == pytest.approx(1 / factor)
    assert any("times exactly" in fact for fact in cause.evidence) is exact


def test_steps_that_go_too_far_by_different_factors_are_none(tmp_path):
    given = {f"scheduler.step@step={step}": {"input.sample": NOISE[step]} for step in range(STEPS)}
    reference = {f"scheduler.step@step={step}:output": NOISE[step] + UNCOND for step in range(STEPS)}
    candidate = {f"scheduler.step@step={step}:output": NOISE[step] + (2 + step) * UNCOND for step in range(STEPS)}
    assert one(tmp_path, reference, candidate, given).slug == "unknown"


@pytest.mark.parametrize(
    ("shift", "words"),
    [(1, "1 step(s) earlier"), (3, "3 step(s) earlier"), (-1, "1 step(s) later"), (-3, "3 step(s) later")],
)
def test_the_output_of_a_near_step_is_told_by_how_far_it_is(tmp_path, shift, words):
    values = random.standard_normal((10, 2, 5))
    steps = range(max(0, shift), 10 + min(0, shift))
    reference = {f"unet.time@step={step}:output": values[step] for step in range(10)}
    candidate = reference | {f"unet.time@step={step}:output": values[step - shift] for step in steps}
    cause = one(tmp_path, reference, candidate)
    assert cause.slug == "step-shifted"
    assert cause.evidence == [f"in every failing step the candidate has the reference's value of {words}"]


@pytest.mark.parametrize("shift", [4, -4])
def test_the_output_of_a_far_step_is_not_looked_for(tmp_path, shift):
    values = random.standard_normal((10, 2, 5))
    steps = range(max(0, shift), 10 + min(0, shift))
    reference = {f"unet.time@step={step}:output": values[step] for step in range(10)}
    candidate = reference | {f"unet.time@step={step}:output": values[step - shift] for step in steps}
    assert one(tmp_path, reference, candidate).slug == "unknown"


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_a_grid_is_told_by_its_type_and_only_where_the_reference_is_off_it(tmp_path, name):
    kept = {"float16": 10, "bfloat16": 7}[name]
    mantissa, exponent = np.frexp(IMAGE)
    rounded = np.ldexp(np.rint(mantissa * 2.0 ** (kept + 1)) / 2.0 ** (kept + 1), exponent)
    cause = one(tmp_path / "off", {"vae.decode:output": IMAGE}, {"vae.decode:output": rounded})
    assert cause.slug == "half-precision-grid"
    assert cause.evidence == [f"every value of the candidate is a {name} number; the reference's are not"]
    moved = rounded.copy()
    moved[0, 0, 2, 2] *= 2
    assert one(tmp_path / "on", {"vae.decode:output": rounded}, {"vae.decode:output": moved}).slug == "unknown"


@pytest.mark.parametrize("axis", [1, -1])
def test_channels_are_the_second_axis_of_images_and_the_last_of_tokens(tmp_path, axis):
    array = IMAGE if axis == 1 else TOKENS
    order = np.roll(np.arange(array.shape[axis]), 1)
    cause = one(tmp_path, {"unet.x@step=0:output": array}, {"unet.x@step=0:output": np.take(array, order, axis=axis)})
    assert cause.slug == "permuted-channels"
    count = array.shape[axis]
    assert cause.evidence == [
        f"{count} of {count} channels are in another order: channel 0 holds the reference's {count - 1}"
    ]


@pytest.mark.parametrize("error", [1e-5, 1e-6])
@pytest.mark.parametrize(
    "almost", [lambda x: 1.01 * x, lambda x: x + 0.1, lambda x: x[:, ::-1], lambda x: x + 0.01 * (TEXT - UNCOND)],
    ids=["scaled", "shifted", "permuted", "guided"],
)  # fmt: skip
def test_what_a_formula_does_not_explain_to_rounding_is_unknown(tmp_path, error, almost):
    base = UNCOND + 5 * (TEXT - UNCOND)
    wrong = almost(base)
    given = {"guidance@step=0": {"input.noise_pred_uncond": UNCOND, "input.noise_pred_text": TEXT}}
    candidate = {"guidance@step=0:output": wrong + error * random.standard_normal(wrong.shape)}
    assert one(tmp_path, {"guidance@step=0:output": base}, candidate, given).slug == "unknown"


FORMS = {
    "transpose/own": ("transposed-weight", "transpose", "equals the reference's transpose, exactly"),
    "transpose01/own": ("transposed-weight", "transpose01", "equals the reference's with axes 0 and 1 exchanged"),
    "transpose23/own": ("transposed-weight", "transpose23", "equals the reference's with axes 2 and 3 exchanged"),
    "flip0/own": ("flipped-weight", "flip0", "equals the reference's flipped along axis 0, exactly"),
    "flip1/own": ("flipped-weight", "flip1", "equals the reference's flipped along axis 1, exactly"),
    "flip2/own": ("flipped-weight", "flip2", "equals the reference's flipped along axis 2, exactly"),
    "flip3/own": ("flipped-weight", "flip3", "equals the reference's flipped along axis 3, exactly"),
    "identity/float16": ("half-precision-weight", "", "equals the reference's rounded to float16, exactly"),
    "identity/bfloat16": ("half-precision-weight", "", "equals the reference's rounded to bfloat16, exactly"),
    "transpose/float16": ("different-weight", "", "in value: equals the reference's transpose, rounded to float16"),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_a_weight_is_told_with_the_edit_that_undoes_it(tmp_path, form):
    slug, change, words = FORMS[form]

    def weight(digests, **options):
        return {"unet.a:weight": WeightDigests(shape=(4, 4), dtype="float32", digests=digests, **options)}

    forms = {"identity/own": "itself"} | {each: each for each in FORMS}
    outputs = {"unet.a@step=0:output": IMAGE}
    weights = weight(forms), weight({"identity/own": form}, native="net.a")
    (cause,) = causes(*traces(tmp_path, {}, {}, {}, outputs, outputs, weights))
    assert (cause.slug, cause.address, cause.confidence) == (slug, "unet.a", PROVEN)
    assert "the candidate's weight (native net.a)" in cause.evidence[0]
    assert words in cause.evidence[0]
    edit = {"kind": "weight", "address": "unet.a:weight", "change": change}
    assert cause.edits == ([edit] if change else [])
