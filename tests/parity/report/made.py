"""Results made from a seed, in the shape and with the numbers that a run of the tiny SDXL has.

`make(kind, folder)` returns one of `KINDS`; the pictures that belong to it are written under `folder`.
"""

from __future__ import annotations

from collections import Counter
from itertools import product

import msgspec
import numpy as np

from parity.address import path_of
from parity.compare import join
from parity.compare.summary import summarize
from parity.report import images
from parity.result import Cause, Coverage, FirstDivergence, Pair, Result, number

from .pairs import pairs

HOSTILE = 'unet.<script>alert("x")</script>\n</script><img src=x onerror=alert(1)>&amp;[red]\x1b[31m'
KINDS = ("match", "transposed", "small", "local", "incomplete", "huge", "hostile", "empty", "several", "program", "off")


def pictures(folder, error):
    rng = np.random.default_rng(3)
    row, column = np.mgrid[0:128, 0:96] / 128
    base = np.stack(
        [
            np.clip(np.stack([row, column, 1 - row]) * k + 0.12 * np.sin(20 * row * (k + 1) + 9 * column), 0, 1)
            for k in (0.7, 1.0)
        ]
    )
    noise = rng.normal(0, error, base.shape) * (1 + 4 * np.exp(-(((row - 0.5) ** 2 + (column - 0.35) ** 2) * 60)))
    return images.draw(base, np.clip(base + noise, 0, 1))


def side(framework, version, **more):
    return {
        "framework": framework,
        framework: version,
        "python": "3.11.9",
        "numpy": "1.26.4",
        "parity": "0.1.0",
        "machine": "x86_64",
        "cores": 2,
        "device": "cpu",
        **more,
    }


def cost(latents, image):
    """A price: relative differences of the latents and the image from the reference; float64 is exact to 1e-14."""
    found = {}
    for what, address, size in (
        ("final_latents", "scheduler.step@step=3:output", latents),
        ("image", "postprocess:output", image),
    ):
        exact = {"max_over_largest": 1.1e-14, "rel_l2": 1.0e-14, "max_abs": 9e-14} if size < 1e-3 else distance(size)
        working = {"candidate": distance(size), "reference": distance(2.6e-6), "between": distance(size * 1.1)}
        found[what] = {"float64": {"address": address, "candidate": exact}, "float32": {"address": address, **working}}
    return found


def distance(relative):
    return {"max_over_largest": relative, "rel_l2": relative * 0.8, "max_abs": relative * 8}


def base(made, **changes):
    """A result around `made`, MATCH unless `changes` says otherwise."""
    values = {
        "verdict": "MATCH",
        "counts": dict(Counter(pair.verdict for pair in made)),
        "first_divergence": None,
        "causes": [],
        "pairs": made,
        "coverage": Coverage(
            paths=412,
            compared=389,
            parameter_owners=231,
            parameter_owners_compared=231,
            pairs=len(made),
            not_compared={f"unet.down_blocks.{i}.resnets.{j}.dropout": "identity" for i in range(3) for j in range(3)}
            | {f"unet.down_blocks.{i}.attentions": "container" for i in range(12)}
            | {
                "vae.encoder.mid_block.attentions.0.group_norm": "never called",
                "unet.up_blocks.0.attentions.0.transformer_blocks.0.attn1.processor": "no counterpart",
            },
        ),
        "platform": {
            "diffusers": {
                kind: {"float32": {"rel_l2": rms, "rel_max": rms * 30}}
                for kind, rms in (("exp", 2.7e-8), ("softmax", 1.5e-7), ("silu", 4.3e-8), ("gelu", 7.1e-8))
            },
            "mindone_sdxl": {
                kind: {"float32": {"rel_l2": rms, "rel_max": rms * 30}}
                for kind, rms in (("exp", 6.8e-7), ("softmax", 7.4e-7), ("silu", 3.8e-7), ("gelu", 4e-8))
            },
        },
        "provenance": {
            "reference": side(
                "torch",
                "2.13.0+cpu",
                threads=2,
                allow_tf32={"convolution": False, "matmul": False},
                sdpa="math",
                diffusers="0.42.1",
                transformers="5.23.0",
            ),
            "candidate": side("mindspore", "2.8.0", mode="PyNative, synchronous", threads=1),
        },
        "case": {
            "model": {"folder": "fixtures/tiny"},
            "prompt": {
                "positive": [
                    "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k",
                    "a lighthouse keeper's kitchen at dusk",
                ],
                "negative": ["blurry", "text"],
            },
            "sampling": {"sampler": "EulerAncestral", "steps": 4, "guidance": 5.0, "seed": 7},
            "size": {"height": 128, "width": 96},
            "precision": {"dtype": "float32"},
        },
        "checks": {"neutral": True, "repeatable": True},
        "islands": [
            {
                "path": "unet.time_proj",
                "operator": "aten.exp",
                "dtype": "float32",
                "file": "embeddings.py",
                "function": "get_timestep_embedding",
                "count": 4,
            }
        ],
        "price": cost(3.6e-6, 5.5e-6),
        "commands": {
            "repeat": "parity run fixtures/cases/tiny.toml --out reports/tiny",
            "replay": "parity replay reports/tiny/reference --candidate mindone_sdxl --out reports/tiny/again",
        },
        "traces": {"reference": "reports/tiny/reference", "candidate": "reports/tiny/candidate"},
        "wall_s": {"record": 11.2, "replay": 19.4, "compare": 1.9},
    }
    return Result(**(values | changes))


def found(verdict, *flags, **changes):
    """One pair with a verdict and flags."""
    values = {
        "address": "unet@step=0:output",
        "stage": "unet",
        "question": "semantics",
        "mode": "free",
        "verdict": verdict,
        "flags": list(flags),
    }
    return Pair(**(values | changes))


def transposed(folder):
    made = pairs(steps=4, wrong="text_encoder_2.text_projection")
    made[0] = Pair(
        address="text_encoder_2.text_projection:weight",
        stage="weights",
        question="audit",
        mode="audit",
        verdict="MISMATCH",
        dtype="float32",
        basis="exact",
        limit="equal digests",
        native="conditioner.embedders.1.model.text_projection",
        shape=(64, 64),
        size=4096,
        detail="equals the reference's transpose, exactly",
    )
    cause = Cause(
        slug="transposed-weight",
        address="text_encoder_2.text_projection:weight",
        confirmed=True,
        confidence=1.0,
        evidence=[
            "weight [64, 64] equals the transpose of the reference's, bit for bit (xxh3-128 9f31c0de)",
            "the output of this module differs by rel_l2 4.0e-01 from right inputs, in float64 and in float32",
            "with the transposed weight the same replay differs by 9.1e-16",
        ],
        repair="transpose text_encoder_2.text_projection.weight when the checkpoint is converted: it computes x W^T",
        before=0.4,
        after=9.1e-16,
    )
    return base(
        made,
        verdict="MISMATCH",
        causes=[cause],
        images=pictures(folder, 0.03),
        first_divergence=FirstDivergence(
            address=cause.address, stage="weights", question="audit", mode="audit", dtype="float32"
        ),
        price=cost(0.19, 0.12),
    )


def local_fault(folder):
    """A module of the UNet that is wrong by itself, found in the layer replay."""
    made = pairs(steps=3, wrong="unet.down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0", error=2e-4)
    first = next(pair for pair in made if pair.verdict == "MISMATCH" and pair.mode == "layers")
    return base(
        made,
        verdict="MISMATCH",
        first_divergence=FirstDivergence(
            address=first.address, stage="unet", question="semantics", mode="layers", dtype="float64"
        ),
        images=pictures(folder, 1e-4),
    )


def incomplete():
    made = [pair for pair in pairs(steps=2) if pair.question == "precision" or pair.mode == "audit"]
    for place in (40, 41, 60):
        made[place].verdict, made[place].rel_l2, made[place].max_abs, made[place].worst = (
            ("MISSING" if place < 60 else "UNEXPECTED"),
            None,
            None,
            None,
        )
    coverage = Coverage(
        paths=412,
        compared=386,
        parameter_owners=231,
        parameter_owners_compared=229,
        pairs=len(made),
        unexplained=["unet.up_blocks.2.resnets.1.conv_shortcut", "vae.encoder.quant_conv"],
    )
    return base(
        made,
        verdict="INCOMPLETE",
        coverage=coverage,
        checks={"neutral": True},
        price={},
        stages={"vae": "not measured"},
    )


def hostile():
    made = pairs(steps=2)
    made.append(
        Pair(
            address=HOSTILE + "@step=0:output",
            stage="unet",
            question="semantics",
            mode="layers",
            verdict="MISMATCH",
            dtype="float64",
            rel_l2=number(float("nan")),
            max_abs=number(float("inf")),
            native=HOSTILE,
            detail=HOSTILE,
            limit=HOSTILE,
            basis="case: " + HOSTILE,
        )
    )
    cause = Cause(
        slug=HOSTILE,
        address=HOSTILE,
        confirmed=False,
        confidence=0.5,
        evidence=[HOSTILE],
        repair=HOSTILE,
        others=[HOSTILE],
    )
    return base(
        made,
        verdict="MISMATCH",
        causes=[cause],
        first_divergence=FirstDivergence(
            address=made[-1].address, stage="unet", question="semantics", mode="layers", dtype="float64"
        ),
        images={
            "reference_0": 'x" onerror="alert(1)',
            "candidate_0": "javascript:alert(1)",
            "difference_0": "http://example.org/x.png",
            "caption_0": HOSTILE,
        },
        commands={"repeat": HOSTILE, "replay": HOSTILE},
        provenance={
            "reference": {"framework": HOSTILE, HOSTILE: HOSTILE},
            "candidate": {"framework": "x"},
            HOSTILE: HOSTILE,
        },
        price={HOSTILE: {HOSTILE: HOSTILE}},
        case={HOSTILE: HOSTILE},
        platform={HOSTILE: 1},
        stages={HOSTILE: HOSTILE},
        coverage=Coverage(
            paths=1,
            compared=0,
            parameter_owners=0,
            parameter_owners_compared=0,
            not_compared={HOSTILE: HOSTILE},
            unexplained=[HOSTILE],
        ),
        traces={"x": HOSTILE},
    )


def small(folder):
    """The transposed result with a dozen paths, for gold files that a person can read."""
    kept = {
        "text_encoder.text_model",
        "text_encoder_2.text_projection",
        "encode_prompt",
        "scheduler.set_timesteps",
        "unet.conv_in",
        "unet",
        "guidance",
        "scheduler.step",
        "vae.decode",
        "postprocess",
        "tokenizer",
    }
    result = transposed(folder)
    result.pairs = [pair for pair in result.pairs if path_of(pair.address) in kept]
    result.coverage.pairs = len(result.pairs)
    return result


def several(folder, name="port", wrong=None):
    """Three columns: a right candidate in two types, and a wrong one."""
    kept = ("text_encoder_2.text_projection", "unet.conv_in", "unet", "scheduler.step", "postprocess")
    right = base([pair for pair in pairs(steps=4) if path_of(pair.address) in kept], images=pictures(folder, 2e-6))
    half = msgspec.json.decode(msgspec.json.encode(right), type=Result)
    for pair in half.pairs:
        pair.dtype = "float16" if pair.question == "precision" else pair.dtype
    half.price = {what: {"float64": by["float64"], "float16": by["float32"]} for what, by in half.price.items()}
    views = {f"{name}, float32": right, f"{name}, float16": half, "other (plant x), float32": wrong or small(folder)}
    return join(views, before=base([]))


def program():
    """A program that is no diffusion model: its case holds the two keys that somebody has set."""
    made = []
    for question, mode in product(("semantics", "precision"), ("layers", "steps", "free")):
        for order, (path, stage) in enumerate(
            (("words", "conditioning"), ("denoiser.inner", "unet"), ("denoiser", "unet"))
        ):
            for step in range(1 if path == "words" else 3):
                place = path if path == "words" else f"{path}@step={step}"
                told = found("MATCH", address=f"{place}:output", stage=stage, question=question, mode=mode, order=order)
                told.dtype = "float64" if question == "semantics" else "float32"
                told.rel_l2, told.max_abs, told.scale, told.ratio_to_floor = 2e-16, 1e-15, 1.0, 0.7
                made.append(told)
    case = {
        "schema": 1, "model": {"folder": "weights", "file": None, "config": None}, "sampling": {"steps": 3, "seed": 7},
        "precision": {"dtype": "float32"}, "exclude": [], "tolerance": [],
    }  # fmt: skip
    coverage = Coverage(paths=3, compared=3, parameter_owners=2, parameter_owners_compared=2, pairs=len(made))
    return base(made, case=case, coverage=coverage, price={}, images={}, platform={}, islands=[], commands={})


def off():
    """A reference whose working run is off in one module of the UNet, and in what contains it."""
    made = [pair for pair in pairs(steps=2) if path_of(pair.address) in {"unet.conv_in", "unet", "postprocess"}]
    for pair in made:
        if pair.question == "precision" and pair.address.startswith("unet") and "@step=1" in pair.address:
            pair.verdict, pair.flags = "INCOMPARABLE", ["reference-error"]
            pair.detail = (
                "the reference's working run is off its own float64 run by 0.05 in rms; "
                "one operator in float32 may err by 4e-05 here"
            )
    result = base(made)
    summarize(result)
    return result


def make(kind, folder):
    """Return the result of one of `KINDS`; pictures are written under `folder`."""
    if kind == "match":
        return base(pairs(steps=4), images=pictures(folder, 2e-6))
    if kind == "huge":
        made = pairs(steps=6, wrong="unet.mid_block.attentions.0.transformer_blocks.0.norm1", error=3e-4)
        first = next(pair for pair in made if pair.verdict == "MISMATCH" and pair.mode == "layers")
        return base(
            made,
            verdict="MISMATCH",
            first_divergence=FirstDivergence(
                address=first.address, stage="unet", question="semantics", mode="layers", dtype="float64"
            ),
            images=pictures(folder, 1e-3),
        )
    if kind == "empty":
        return base(
            [],
            verdict="INCOMPLETE",
            provenance={},
            price={},
            commands={},
            platform={},
            case={},
            checks={},
            coverage=Coverage(paths=0, compared=0, parameter_owners=0, parameter_owners_compared=0),
        )
    return {
        "transposed": lambda: transposed(folder),
        "small": lambda: small(folder),
        "local": lambda: local_fault(folder),
        "incomplete": incomplete,
        "hostile": hostile,
        "several": lambda: several(folder),
        "program": program,
        "off": off,
        "hostile-several": lambda: several(folder, HOSTILE, hostile()),
    }[kind]()
