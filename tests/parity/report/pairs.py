"""Pairs made from a seed: audits, and every module in every question and replay, healthy or with one fault."""

from functools import lru_cache
from itertools import product

import msgspec
import numpy as np

from parity.components import UNDECLARED
from parity.result import Pair, Worst

from .paths import places


def audits():
    for path in (
        "text_encoder_2.text_projection",
        "unet.conv_in",
        "unet.mid_block.resnets.0.conv1",
        "vae.decoder.conv_in",
    ):
        yield Pair(
            address=f"{path}:weight",
            stage="weights",
            question="audit",
            mode="audit",
            verdict="MATCH",
            basis="exact",
            limit="equal digests",
        )
    for path, name in (
        ("unet.mid_block.resnets.0.norm1", "eps"),
        ("text_encoder.text_model.encoder.layers.0", "activation"),
    ):
        yield Pair(
            address=f"{path}:attribute.{name}",
            stage="attributes",
            question="audit",
            mode="audit",
            verdict="MATCH",
            basis="exact",
            limit="equal",
        )
    yield Pair(
        address="tokenizer:output",
        stage="tokens",
        question="audit",
        mode="audit",
        verdict="MATCH",
        dtype="int64",
        basis="exact",
        limit="equal",
        shape=(2, 77),
        size=154,
        max_abs=0.0,
    )


def pair(place, run, rng, local=0.0):
    """One pair of (path, step, order) and (question, mode): healthy, or with the relative error `local`."""
    (path, step, order), (question, mode) = place, run
    scale = float(np.exp(rng.normal(0, 0.6)))
    growth = {"layers": 1.0, "steps": 4.0, "free": 6.0 * (1 + (step or 0))}[mode]
    unit = 8e-16 if question == "semantics" else 1.2e-7
    healthy = unit * growth * min(2.7, float(np.exp(rng.normal(0, 0.4))))
    error = max(healthy, local)
    index = tuple(int(i) for i in rng.integers(0, (2, 32, 16, 12)))
    value = float(rng.normal(0, scale))
    made = Pair(
        address=f"{path}{'' if step is None else f'@step={step}'}:output",
        stage=UNDECLARED.stage_of(path),
        question=question,
        mode=mode,
        verdict="MATCH",
        dtype="float64" if question == "semantics" else "float32",
        native="sgm." + path.replace("down_blocks", "input_blocks").replace("text_model.", ""),
        order=order,
        shape=(2, 32, 16, 12),
        size=12288,
        scale=scale,
        rel_l2=error,
        max_abs=error * scale * 4,
        cosine=1 - error**2,
        worst=Worst(index=index, reference=value, candidate=value + error * scale * 4),
    )
    if question == "semantics":
        made.basis, made.limit = "float64", "rel_l2 and max/rms 1e-09"
        return made
    floor = unit * growth * scale
    made.basis, made.limit = "floor", "E <= 3 F and M <= 8 Fmax"
    made.error_rms, made.error_max, made.floor_rms, made.floor_max = error * scale, error * scale * 4, floor, floor * 4
    made.reference_rms, made.reference_max, made.ratio_to_floor = floor * 0.9, floor * 3, error / (unit * growth)
    return made


@lru_cache
def _encoded(**options):
    return msgspec.msgpack.encode(make_pairs(**options))


def pairs(**options):
    """All pairs of a run, made once for each choice and handed out as fresh copies."""
    return msgspec.msgpack.decode(_encoded(**options), type=list[Pair])


def make_pairs(steps=3, wrong=None, error=0.4, seed=5):
    """All pairs of a run; the module `wrong` fails by itself and everything after it inherits."""
    rng, made = np.random.default_rng(seed), list(audits())
    for run in product(("semantics", "precision"), ("layers", "steps", "free")):
        broken, before = False, None
        for order, (path, step) in enumerate(places(steps)):
            if run[1] == "steps" and step is None:
                continue
            if run[1] == "steps" and step != before:
                broken, before = False, step
            own, inherits = path == wrong, broken and run[1] != "layers"
            local = error if own else error * float(rng.uniform(0.02, 0.3)) if inherits else 0.0
            found = pair((path, step, order), run, rng, local)
            if own or inherits:
                found.verdict, found.outside = "MISMATCH", int(rng.integers(2000, 12288))
                found.flags = ["inherited"] if inherits else []
                found.detail = "everywhere" if own else ""
            broken = broken or own
            made.append(found)
    return made
