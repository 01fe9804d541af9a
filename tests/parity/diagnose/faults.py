"""Faults as they show in tensors: traces of a few modules, written with the real writer, that differ in one way each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special

from parity.compare import compare
from parity.diagnose import causes_of
from parity.diagnose.evidence import Evidence
from parity.trace import Manifest, Trace, TraceWriter

if TYPE_CHECKING:
    from pathlib import Path

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


class Fault(NamedTuple):
    """One fault: what the reference says of its modules, inputs by call, and what each side gives."""

    modules: dict
    attributes: dict
    inputs: dict
    reference: dict
    candidate: dict
    place: str


# slug -> fault
FAULTS = {
    "activation-variant": Fault(
        {"unet.ff": "GEGLU", "unet.ff.proj": "Linear"}, {}, {"unet.ff@step=0": {"input.hidden_states": TOKENS}},
        {"unet.ff.proj@step=0:output": PROJECTED, "unet.ff@step=0:output": HIDDEN * gelu(GATE)},
        {"unet.ff.proj@step=0:output": PROJECTED, "unet.ff@step=0:output": HIDDEN * gelu_tanh(GATE)}, "unet.ff",
    ),
    "norm-epsilon": Fault(
        {"text_encoder_2.ln": "LayerNorm"}, {"text_encoder_2.ln": {"eps": 1e-5}}, {"text_encoder_2.ln": {"input.input": TOKENS}},
        {"text_encoder_2.ln:output": layer_norm(TOKENS, 1e-5)}, {"text_encoder_2.ln:output": layer_norm(TOKENS, 1e-7)},
        "text_encoder_2.ln",
    ),
    "norm-epsilon of groups": Fault(
        {"unet.norm": "GroupNorm"}, {"unet.norm": {"eps": 1e-6, "num_groups": 4}}, {"unet.norm@step=0": {"input.input": 0.1 * IMAGE}},
        {"unet.norm@step=0:output": group_norm(0.1 * IMAGE, 1e-6)}, {"unet.norm@step=0:output": group_norm(0.1 * IMAGE, 1e-5)},
        "unet.norm",
    ),
    "noise-step-shifted": Fault({}, {}, SCHEDULER, steps(0), steps(1), "scheduler.step"),
    "guidance-halves-swapped": Fault(
        {}, {}, {"guidance@step=0": {"input.noise_pred_uncond": UNCOND, "input.noise_pred_text": TEXT}},
        {"guidance@step=0:output": UNCOND + 5 * (TEXT - UNCOND)}, {"guidance@step=0:output": TEXT + 5 * (UNCOND - TEXT)}, "guidance",
    ),
    "guidance-scale": Fault(
        {}, {}, {"guidance@step=0": {"input.noise_pred_uncond": UNCOND, "input.noise_pred_text": TEXT}},
        {"guidance@step=0:output": UNCOND + 5 * (TEXT - UNCOND)}, {"guidance@step=0:output": UNCOND + 5.01 * (TEXT - UNCOND)}, "guidance",
    ),
    "scaled-output": Fault({}, {}, {}, {"vae.decode:output": IMAGE}, {"vae.decode:output": 1.01 * IMAGE}, "vae.decode"),
    "shifted-output": Fault({}, {}, {}, {"vae.decode:output": IMAGE}, {"vae.decode:output": IMAGE + 1e-3}, "vae.decode"),
    "permuted-channels": Fault(
        {}, {}, {}, {"vae.decode:output": IMAGE}, {"vae.decode:output": IMAGE[:, [1, 0, *range(2, 8)]]}, "vae.decode",
    ),
    "sampler-step-scaled": Fault(
        {}, {}, {f"scheduler.step@step={step}": {"input.sample": NOISE[step]} for step in range(STEPS)},
        {f"scheduler.step@step={step}:output": NOISE[step] + UNCOND * (step + 1) for step in range(STEPS)},
        {f"scheduler.step@step={step}:output": NOISE[step] + 2 * UNCOND * (step + 1) for step in range(STEPS)},
        "scheduler.step",
    ),
    "padding": Fault({}, {}, {}, {"vae.encoder:output": IMAGE}, {"vae.encoder:output": BORDERED}, "vae.encoder"),
    "half-precision-grid": Fault(
        {}, {}, {}, {"vae.decode:output": IMAGE}, {"vae.decode:output": IMAGE.astype(np.float16).astype(float)}, "vae.decode",
    ),
    "step-shifted": Fault(
        {}, {}, {}, {f"unet.time@step={step}:output": NOISE[step] for step in range(STEPS)},
        {f"unet.time@step={step}:output": NOISE[max(step - 1, 0)] for step in range(STEPS)}, "unet.time",
    ),
    "unknown": Fault(
        {}, {}, {}, {"vae.decode:output": IMAGE}, {"vae.decode:output": IMAGE + 0.1 * random.standard_normal(IMAGE.shape)}, "vae.decode",
    ),
}  # fmt: skip


def traces(folder: Path, modules, attributes, inputs, reference, candidate, weights=({}, {}), reported=None):
    case = {"schema": 1, "precision": {"dtype": "float32"}}
    first = Manifest(
        side="reference", name="r", case=case, case_digest="", modules=modules, attributes=attributes,
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
        side="candidate", name="c", case=case, case_digest="", reference_digest=opened.digest, weights=weights[1],
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
