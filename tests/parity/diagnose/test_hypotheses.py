"""Every hypothesis names its own fault from the two traces, and stays silent on another's."""

from pathlib import Path

import numpy as np
import pytest
from scipy import special

from parity.compare import compare
from parity.diagnose import causes_of
from parity.diagnose.evidence import Evidence
from parity.diagnose.kinds import BY_SLUG
from parity.trace import Manifest, Trace, TraceWriter, WeightDigests

STEPS = 3
random = np.random.default_rng(5)


def gelu(x):
    return x * special.ndtr(x)


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def layer_norm(x, eps):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps) * GAIN + BIAS


def group_norm(x, eps):
    grouped = x.reshape(x.shape[0], 4, -1)
    centred = grouped - grouped.mean(axis=-1, keepdims=True)
    normal = (centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)).reshape(x.shape)
    return normal * GAIN[:8, None, None] + BIAS[:8, None, None]


GAIN, BIAS = random.standard_normal((2, 16)) + 1
TOKENS = 0.03 * random.standard_normal((2, 7, 16))
IMAGE = random.standard_normal((2, 8, 6, 5))
PROJECTED = random.standard_normal((2, 7, 32))
NOISE = random.standard_normal((STEPS, 1, 4, 6, 5))
UNCOND, TEXT = random.standard_normal((2, 1, 4, 6, 5))
HIDDEN, GATE = np.split(PROJECTED, 2, axis=-1)
BORDERED = IMAGE.copy()
BORDERED[:, :, -1] += 0.1
SCHEDULER = {f"scheduler.step@step={step}": {"input.noise": NOISE[step]} for step in range(STEPS)}


def steps(late):
    return {
        f"scheduler.step@step={step}:output": IMAGE[:1, :4] + 0.7 * NOISE[(step - late) % STEPS]
        for step in range(STEPS)
    }


# slug -> (module classes, attributes, inputs by call, reference outputs, candidate outputs, place)
FAULTS = {
    "activation-variant": (
        {"unet.ff": "GEGLU", "unet.ff.proj": "Linear"}, {}, {"unet.ff@step=0": {"input.hidden_states": TOKENS}},
        {"unet.ff.proj@step=0:output": PROJECTED, "unet.ff@step=0:output": HIDDEN * gelu(GATE)},
        {"unet.ff.proj@step=0:output": PROJECTED, "unet.ff@step=0:output": HIDDEN * gelu_tanh(GATE)}, "unet.ff",
    ),
    "norm-epsilon": (
        {"text_encoder_2.ln": "LayerNorm"}, {"text_encoder_2.ln": {"eps": 1e-5}}, {"text_encoder_2.ln": {"input.input": TOKENS}},
        {"text_encoder_2.ln:output": layer_norm(TOKENS, 1e-5)}, {"text_encoder_2.ln:output": layer_norm(TOKENS, 1e-7)},
        "text_encoder_2.ln",
    ),
    "norm-epsilon of groups": (
        {"unet.norm": "GroupNorm"}, {"unet.norm": {"eps": 1e-6, "num_groups": 4}}, {"unet.norm@step=0": {"input.input": 0.1 * IMAGE}},
        {"unet.norm@step=0:output": group_norm(0.1 * IMAGE, 1e-6)}, {"unet.norm@step=0:output": group_norm(0.1 * IMAGE, 1e-5)},
        "unet.norm",
    ),
    "noise-step-shifted": ({}, {}, SCHEDULER, steps(0), steps(1), "scheduler.step"),
    "guidance-halves-swapped": (
        {}, {}, {"guidance@step=0": {"input.noise_pred_uncond": UNCOND, "input.noise_pred_text": TEXT}},
        {"guidance@step=0:output": UNCOND + 5 * (TEXT - UNCOND)}, {"guidance@step=0:output": TEXT + 5 * (UNCOND - TEXT)}, "guidance",
    ),
    "guidance-scale": (
        {}, {}, {"guidance@step=0": {"input.noise_pred_uncond": UNCOND, "input.noise_pred_text": TEXT}},
        {"guidance@step=0:output": UNCOND + 5 * (TEXT - UNCOND)}, {"guidance@step=0:output": UNCOND + 5.01 * (TEXT - UNCOND)}, "guidance",
    ),
    "scaled-output": ({}, {}, {}, {"vae.decode:output": IMAGE}, {"vae.decode:output": 1.01 * IMAGE}, "vae.decode"),
    "shifted-output": ({}, {}, {}, {"vae.decode:output": IMAGE}, {"vae.decode:output": IMAGE + 1e-3}, "vae.decode"),
    "permuted-channels": (
        {}, {}, {}, {"vae.decode:output": IMAGE}, {"vae.decode:output": IMAGE[:, [1, 0, *range(2, 8)]]}, "vae.decode",
    ),
    "sampler-step-scaled": (
        {}, {}, {f"scheduler.step@step={step}": {"input.sample": NOISE[step]} for step in range(STEPS)},
        {f"scheduler.step@step={step}:output": NOISE[step] + UNCOND * (step + 1) for step in range(STEPS)},
        {f"scheduler.step@step={step}:output": NOISE[step] + 2 * UNCOND * (step + 1) for step in range(STEPS)},
        "scheduler.step",
    ),
    "padding": ({}, {}, {}, {"vae.encoder:output": IMAGE}, {"vae.encoder:output": BORDERED}, "vae.encoder"),
    "half-precision-grid": (
        {}, {}, {}, {"vae.decode:output": IMAGE}, {"vae.decode:output": IMAGE.astype(np.float16).astype(float)}, "vae.decode",
    ),
    "step-shifted": (
        {}, {}, {}, {f"unet.time@step={step}:output": NOISE[step] for step in range(STEPS)},
        {f"unet.time@step={step}:output": NOISE[max(step - 1, 0)] for step in range(STEPS)}, "unet.time",
    ),
    "unknown": (
        {}, {}, {}, {"vae.decode:output": IMAGE}, {"vae.decode:output": IMAGE + 0.1 * random.standard_normal(IMAGE.shape)}, "vae.decode",
    ),
}  # fmt: skip


def traces(folder: Path, modules, attributes, inputs, reference, candidate, weights=({}, {}), reported=None):
    case = {"schema": 1, "precision": {"dtype": "float32"}}
    first = Manifest(
        side="reference", name="r", case=case, case_digest="c", modules=modules, attributes=attributes,
        weights=weights[0],
    )  # fmt: skip
    writer = TraceWriter(folder / "reference", first)
    with writer.run("float64", mode="run", dtype="float64") as run:
        for call, ports in inputs.items():
            for port, array in ports.items():
                run.tensor(f"{call}:{port}", array)
        for address, array in reference.items():
            run.tensor(address, array)
    writer.finish()
    opened = Trace.open(folder / "reference")
    second = Manifest(
        side="candidate", name="c", case=case, case_digest="c", reference_digest=opened.digest, weights=weights[1],
        attributes=reported or {},
    )  # fmt: skip
    writer = TraceWriter(folder / "candidate", second)
    with writer.run("layers-float64", mode="layers", dtype="float64") as run:
        for address, array in candidate.items():
            run.tensor(address, array)
    writer.finish()
    return opened, Trace.open(folder / "candidate")


def causes(reference, candidate):
    return causes_of(Evidence(compare(reference, [candidate]), reference, [candidate]))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_and_located(tmp_path, name):
    modules, attributes, inputs, reference, candidate, place = FAULTS[name]
    (cause,) = causes(*traces(tmp_path, modules, attributes, inputs, reference, candidate))
    assert (cause.slug, cause.address) == (name.partition(" ")[0], place)
    assert cause.evidence
    assert not cause.confirmed


@pytest.mark.parametrize("name", FAULTS)
def test_without_a_fault_nothing_is_named(tmp_path, name):
    modules, attributes, inputs, reference, _, _ = FAULTS[name]
    assert causes(*traces(tmp_path, modules, attributes, inputs, reference, reference)) == []


def test_a_fitted_epsilon_is_the_candidate_s(tmp_path):
    (cause,) = causes(*traces(tmp_path, *FAULTS["norm-epsilon"][:5]))
    assert "eps = 1e-07" in cause.evidence[0]
    assert cause.edits == [{"kind": "attribute", "path": "text_encoder_2.ln", "name": "eps", "value": 1e-5}]


def test_noise_taken_one_step_late_is_repaired_by_a_shift_of_one(tmp_path):
    (cause,) = causes(*traces(tmp_path, *FAULTS["noise-step-shifted"][:5]))
    assert cause.edits == [{"kind": "noise", "shift": 1}]
    assert "1 step late" in cause.evidence[0]


def test_a_constant_border_is_told_from_an_uneven_one(tmp_path):
    even, uneven = "another constant is padded", IMAGE.copy()
    uneven[:, :, -1] += random.standard_normal(IMAGE[:, :, -1].shape)
    for name, candidate in {"even": BORDERED, "uneven": uneven}.items():
        given = {}, {}, {}, {"vae.encoder:output": IMAGE}, {"vae.encoder:output": candidate}
        (cause,) = causes(*traces(tmp_path / name, *given))
        assert (cause.slug, any(even in fact for fact in cause.evidence)) == ("padding", name == "even")


def test_a_reported_pad_value_is_a_cause_with_its_repair_and_what_the_tensors_say(tmp_path):
    outputs = {"vae.down:output": IMAGE}, {"vae.down:output": BORDERED}
    attributes = {"vae.down": {"pad_value": 0.0}}
    opened = traces(tmp_path, {}, attributes, {}, *outputs, reported={"vae.down": {"pad_value": 1.0}})
    (cause,) = causes(*opened)
    assert (cause.slug, cause.address) == ("padding", "vae.down")
    assert cause.edits == [{"kind": "attribute", "path": "vae.down", "name": "pad_value", "value": 0.0}]
    assert "pad_value is 0.0 in the reference and 1.0 in the candidate" in cause.evidence[0]
    assert any("only the border differs" in fact for fact in cause.evidence)


def test_an_update_that_is_added_twice_is_told_so(tmp_path):
    (cause,) = causes(*traces(tmp_path, *FAULTS["sampler-step-scaled"][:5]))
    assert "2 times exactly: the update is added 2 times" in cause.evidence
    (edit,) = cause.edits
    assert (edit["path"], edit["name"], round(edit["value"], 12)) == ("scheduler.step", "step_factor", 0.5)


def test_a_module_that_contains_the_fault_is_no_suspect(tmp_path):
    reference = {
        "vae.decoder.conv@call=0:output": IMAGE,
        "vae.decoder:output": 2 * IMAGE,
        "vae.decode:output": 2 * IMAGE,
    }
    wrong = 2.02 * IMAGE
    candidate = {
        "vae.decoder.conv@call=0:output": 1.01 * IMAGE,
        "vae.decoder:output": wrong,
        "vae.decode:output": wrong,
    }
    (cause,) = causes(*traces(tmp_path, {}, {}, {}, reference, candidate))
    assert cause.address == "vae.decoder.conv"


DIGESTS = {"identity/own": "a", "transpose/own": "b", "flip1/own": "c", "identity/float16": "d"}


@pytest.mark.parametrize(
    ("digest", "initial", "slug"),
    [
        ("b", False, "transposed-weight"),
        ("c", False, "flipped-weight"),
        ("d", False, "half-precision-weight"),
        ("e", False, "swapped-weight"),
        ("z", False, "different-weight"),
        ("z", True, "weight-not-loaded"),
    ],
)
def test_a_weight_s_digest_says_what_became_of_it(tmp_path, digest, initial, slug):
    def digests(found, **options):
        return WeightDigests(shape=(4, 4), dtype="float32", digests=found, **options)

    reference = {"unet.a:weight": digests(DIGESTS), "unet.b:weight": digests({"identity/own": "e"})}
    candidate = {
        "unet.a:weight": digests({"identity/own": digest}, native="net.a", initial=initial),
        "unet.b:weight": digests({"identity/own": "e"}, native="net.b"),
    }
    outputs = {"unet.a@step=0:output": IMAGE}
    (cause,) = causes(*traces(tmp_path, {}, {}, {}, outputs, outputs, (reference, candidate)))
    assert (cause.slug, cause.address) == (slug, "unet.a")


def test_parameters_that_nothing_filled_are_one_cause_with_the_share_of_their_component(tmp_path):
    def digests(name, **options):
        return WeightDigests(shape=(4, 4), dtype="float32", digests={"identity/own": name}, **options)

    names = ["unet.a:weight", "unet.a:bias", "unet.b:weight", "vae.c:weight"]
    reference = {name: digests(name) for name in names}
    candidate = {name: digests(name, native=f"n.{name}", initial=name != "unet.b:weight") for name in names}
    outputs = {"unet.a@step=0:output": IMAGE}
    (cause,) = causes(*traces(tmp_path, {}, {}, {}, outputs, outputs, (reference, candidate)))
    assert (cause.slug, cause.address, cause.others) == ("weight-not-loaded", "unet.a", ["vae.c"])
    assert cause.evidence[0] == "parameters never loaded: 2 of 3 of unet, all 1 of vae"


def test_every_cause_has_a_page_and_every_page_a_cause():
    pages = {path.stem for path in (Path(__file__).parents[3] / "docs" / "causes").glob("*.md")}
    assert pages == set(BY_SLUG)
    assert {name.partition(" ")[0] for name in FAULTS} <= set(BY_SLUG)
