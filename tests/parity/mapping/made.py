"""A small network of attention blocks, computed once and told by two sides under their own names and layouts.

The reference names blocks `unet.blocks.N` and shares one activation between two places; the candidate fuses query, key
and value, has an activation for each place, and computes its last layer as a convolution of images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from parity.digests import digests
from parity.mapping.native import native_trace
from parity.trace import Manifest, Trace, TraceWriter, WeightDigests
from parity.trace.digests import digest_of_case

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

BATCH, HEIGHT, WIDTH, CHANNELS = 2, 3, 4, 12
STEPS = 3
OWNERS = ("norm", "q", "k", "v", "out", "fc")
REFERENCE = {
    "norm": "norm", "q": "attn.to_q", "k": "attn.to_k", "v": "attn.to_v", "out": "attn.to_out", "attn": "attn",
    "act1": "act", "act2": "act", "fc": "ff.linear", "block": "",
}  # fmt: skip
CANDIDATE = {
    "norm": "ln", "qkv": "attn.in_proj", "out": "attn.out_proj", "attn": "attn", "act1": "act1", "act2": "act2",
    "fc": "ff.conv", "block": "",
}  # fmt: skip


class Call(NamedTuple):
    """One call: what was called, in which block and step, and its output."""

    role: str
    block: int
    step: int
    output: np.ndarray


class Network(NamedTuple):
    """What was computed: all calls in order of completion, and weights by (block, role)."""

    calls: list[Call]
    weights: dict[tuple[int, str], np.ndarray]


def compute(
    depth: int, seed: int, *, identical: bool = False, order: str = "qkv",
    change: Callable[[str, int, np.ndarray], np.ndarray] | None = None,
    without: int | None = None, exchanged: bool = False, transposed: str | None = None,
) -> Network:  # fmt: skip
    """Run the network in float64.

    `change` may alter an output, `without` leaves out one block, `order` is that of q, k and v, `exchanged` gives the
    projection q the weights of k and the other way round, `transposed` transposes the matrices of one role.
    """
    rng = np.random.default_rng(seed)
    weights: dict[tuple[int, str], np.ndarray] = {}
    for block in range(depth):
        for role in OWNERS:
            shape = (CHANNELS,) if role == "norm" else (CHANNELS, CHANNELS)
            made = (rng.standard_normal(shape) / (1 if role == "norm" else 3)).astype(np.float32)
            weights[block, role] = weights[0, role] if identical and block else made
        if exchanged:
            weights[block, "q"], weights[block, "k"] = weights[block, "k"], weights[block, "q"]
        if transposed is not None:
            weights[block, transposed] = np.ascontiguousarray(weights[block, transposed].T)
    inputs = [rng.standard_normal((BATCH, HEIGHT * WIDTH, CHANNELS)) for _ in range(STEPS)]
    calls: list[Call] = []
    for step, given in enumerate(inputs):
        hidden = given

        def tell(role: str, block: int, output: np.ndarray, step: int = step) -> np.ndarray:
            output = output if change is None else change(role, block, output)
            calls.append(Call(role, block, step, output))
            return output

        for block in range(depth):
            if block != without:
                hidden = _block(block, hidden, weights, tell, order)
    return Network(calls, weights)


def _block(block: int, hidden: np.ndarray, weights: Any, tell: Callable[..., np.ndarray], order: str) -> np.ndarray:
    """Compute one block."""
    norm = tell("norm", block, hidden / np.sqrt(np.mean(hidden**2, -1, keepdims=True)) * weights[block, "norm"])
    found = {role: tell(role, block, norm @ weights[block, role].T.astype(float)) for role in order}
    scores = np.exp(np.einsum("bqc,bkc->bqk", found["q"], found["k"]) / 10.0)
    mixed = np.einsum("bqk,bkc->bqc", scores / scores.sum(-1, keepdims=True), found["v"])
    out = tell("out", block, mixed @ weights[block, "out"].T.astype(float))
    attention = tell("attn", block, 2.0 * out)
    first = tell("act1", block, np.tanh(hidden + attention))
    linear = tell("fc", block, first @ weights[block, "fc"].T.astype(float))
    second = tell("act2", block, np.tanh(linear))
    return tell("block", block, hidden + second)


def reference_path(role: str, block: int) -> str:
    """The reference's path of a role."""
    return f"unet.blocks.{block}.{REFERENCE[role]}".rstrip(".")


def native_path(role: str, block: int) -> str:
    """The candidate's path of a role."""
    return f"net.stages.{block}.{CANDIDATE['qkv' if role in {'q', 'k', 'v'} else role]}".rstrip(".")


def reference_trace(folder: Path, network: Network, names: Mapping[str, str] | None = None) -> Trace:
    """Write the reference's trace in float64; `names` renames its paths."""
    renamed = names or {}
    manifest = Manifest(side="reference", name="made", case={"schema": 1}, case_digest=digest_of_case({"schema": 1}))
    for (block, role), weight in network.weights.items():
        path = reference_path(role, block)
        manifest.weights[f"{renamed.get(path, path)}:weight"] = WeightDigests(
            shape=weight.shape, dtype="float32", digests=digests(weight, "float32")
        )
    manifest.modules = {renamed.get(path, path): "Module" for path in map(_first, network.calls)}
    writer = TraceWriter(folder, manifest)
    with writer.run("float64", mode="run", dtype="float64") as run:
        for call in network.calls:
            path = reference_path(call.role, call.block)
            number = f",call={call.role[-1] == '2':d}" if REFERENCE[call.role] == "act" else ""
            run.tensor(f"{renamed.get(path, path)}@step={call.step}{number}:output", call.output, stage="unet")
    writer.finish()
    return Trace.open(folder)


def _first(call: Call) -> str:
    """The reference's path of a call."""
    return reference_path(call.role, call.block)


def candidate_trace(
    folder: Path, network: Network, reference: Trace, *, seed: int = 1, noise: float = 1e-14, weights: bool = True,
    steps: bool = True,
) -> Trace:  # fmt: skip
    """Write the candidate's trace under its own names, with a rounding error of this size; `steps` tells its steps."""
    rng = np.random.default_rng(seed)
    held = list(_native_weights(network)) if weights else []
    with native_trace(
        folder, reference, held, name="native", dtype="float64", modules={}, provenance={}
    ) as run:  # fmt: skip
        fused: list[np.ndarray] = []
        for call in network.calls:
            run.step(call.step if steps else None)
            output = call.output * (1.0 + noise * rng.standard_normal(call.output.shape))
            if call.role in {"q", "k", "v"}:
                fused.append(output)
                output = np.concatenate(fused, -1)
                if len(fused) < 3:
                    continue
                fused.clear()
            if call.role == "fc":
                output = np.moveaxis(output, -1, 1).reshape(BATCH, CHANNELS, HEIGHT, WIDTH)
            run.cell(native_path(call.role, call.block), {"": output})
    return Trace.open(folder)


def _native_weights(network: Network):
    """The candidate's parameters: one fused matrix, a transposed projection, a 1x1 convolution."""
    blocks = dict.fromkeys(block for block, _ in network.weights)
    for block in blocks:
        own = {role: network.weights[block, role] for role in OWNERS}
        yield f"{native_path('norm', block)}:gamma", own["norm"], "float32"
        yield f"{native_path('q', block)}:weight", np.concatenate([own[role] for role in "qkv"]), "float32"
        yield f"{native_path('out', block)}:weight", np.ascontiguousarray(own["out"].T), "float32"
        yield f"{native_path('fc', block)}:weight", own["fc"][:, :, None, None], "float32"


def truth(depth: int) -> dict[tuple[str, int | None], tuple[str, str | None]]:
    """(path, call) of the reference -> the candidate's path and transform."""
    found: dict[tuple[str, int | None], tuple[str, str | None]] = {}
    for block in range(depth):
        for role in REFERENCE:
            call = {"act1": 0, "act2": 1}.get(role)
            change = f"slice:{'qkv'.index(role)}/3" if role in {"q", "k", "v"} else None
            change = "nchw-to-tokens" if role == "fc" else change
            found[reference_path(role, block), call] = native_path(role, block), change
    return found


def shuffled(seed: int, depth: int) -> dict[str, str]:
    """A meaningless name for each path of the reference."""
    paths = sorted({path for path, _ in truth(depth)})
    numbers = np.random.default_rng(seed).permutation(len(paths))
    return {path: f"m{number:03d}" for path, number in zip(paths, numbers, strict=True)}
