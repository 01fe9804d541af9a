"""Mode layers: one module or function of the original on its recorded inputs.

Where a module is one cell, the cell is called. Each function below is for what is not: it calls the original's own
function or cells, and returns arrays by the reference's port, in the layout that the row names.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from mindspore import Tensor, ops

from mindone_sdxl.candidate.rows import SIZES, TEXT, TEXT_2, UNET
from ms_candidates.gm.rows import EMBEDDER_2, POOLED, levels
from ms_candidates.gm.sampling import single_step
from parity.address import Address
from parity.align import transform
from parity.frameworks import mindspore_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ms_candidates.gm.system import GmSystem
    from parity.replay import Given
    from parity.trace.schema import Row

__all__ = ["replay", "with_text"]

Arrays = dict[str, np.ndarray]
_TOKENS: Final = 3  # axes of [batch, tokens, channels]


def replay(
    system: GmSystem, rows: Sequence[Row], inputs: Mapping[str, Any], given: Given, step: int | None
) -> Mapping[str, np.ndarray]:
    """Replay one call."""
    row = rows[0]
    name = row.path if row.function else row.replay
    tensors = {key: system.native(value) for key, value in inputs.items()}
    if name:
        return _REPLAYS[name](system, rows, tensors, given, step)
    arguments = [_laid_out(row, tensors[key]) for key in row.ports if tensors.get(key) is not None]
    arrays = mindspore_.arrays(system.cells[row.native](*arguments))
    return {each.port: arrays[each.take] for each in rows if each.take in arrays}


def _laid_out(row: Row, tensor: Tensor) -> Tensor:
    """Return an input in the layout of the row's cell."""
    if row.output == "sequence-first" and tensor.ndim == _TOKENS:
        return tensor.swapaxes(0, 1)
    if row.output == "nchw-to-tokens":
        return tensor.swapaxes(1, 2).expand_dims(-1)
    return tensor.expand_dims(-1) if row.output == "reshape" else tensor


@contextmanager
def with_text(system: GmSystem, context: Tensor, pooled: Tensor, first: Tensor | None = None) -> Iterator[None]:
    """Let the text encoders return these tensors, so that the conditioner can be run without them."""
    embedders = system.engine.conditioner.embedders
    constructs = (lambda *_: context if first is None else first), (lambda *_: (context, pooled))
    before = [embedder.construct for embedder in (embedders[0], embedders[1])]
    for embedder, construct in zip((embedders[0], embedders[1]), constructs, strict=True):
        embedder.construct = construct
    try:
        yield
    finally:
        for embedder, construct in zip((embedders[0], embedders[1]), before, strict=True):
            embedder.construct = construct


def _sinusoid(system: GmSystem, _rows: Any, inputs: Mapping[str, Any], *_: Any) -> Arrays:
    embed = system.module("modules.diffusionmodules.util").timestep_embedding
    steps = inputs["timesteps"].asnumpy()
    # The original's denoiser hands on the index of a step.
    index = Tensor(np.rint(steps).astype(np.int32))
    width = system.cells[UNET].model_channels
    return {"output": embed(index, width, repeat_only=False, dtype=system.type).asnumpy()}


def _size_embeddings(system: GmSystem, _rows: Any, inputs: Mapping[str, Any], *_: Any) -> Arrays:
    numbers = inputs["timesteps"].astype(system.type)
    return {"output": system.cells["conditioner.embedders.2.timestep"](numbers).asnumpy()}


def _masked(system: GmSystem, rows: Sequence[Row], inputs: Mapping[str, Any], *_: Any) -> Arrays:
    row, hidden = rows[0], inputs["hidden_states"]
    cell = system.cells[row.native]
    if row.path.startswith("text_encoder_2"):
        hidden, mask = hidden.swapaxes(0, 1), system.embedder_2.model.attn_mask.astype(system.type)
        output = cell(hidden, hidden, hidden, mask) if row.path.endswith("attn") else cell(hidden, attn_mask=mask)
    else:
        output = cell(hidden, _clip_mask(system, hidden))
    return {row.port: mindspore_.arrays(output)[row.take]}


def _clip_mask(system: GmSystem, hidden: Tensor) -> Tensor:
    make = system.module("modules.embedders.clip.modeling_clip")._make_causal_mask  # noqa: SLF001 - the original's own
    return make(hidden.shape[:2], hidden.dtype)


def _stack(system: GmSystem, rows: Sequence[Row], inputs: Mapping[str, Any], *_: Any) -> Arrays:
    hidden = inputs["inputs_embeds"]
    output = system.cells[rows[0].native](hidden, _clip_mask(system, hidden), True)  # noqa: FBT003 - hidden states, by position
    return {rows[0].port: mindspore_.arrays(output)[rows[0].take]}


def _stack_2(system: GmSystem, rows: Sequence[Row], inputs: Mapping[str, Any], *_: Any) -> Arrays:
    hidden = inputs["inputs_embeds"].swapaxes(0, 1)
    last, _ = system.embedder_2.text_transformer_forward(hidden, attn_mask=system.embedder_2.model.attn_mask)
    return {rows[0].port: last.swapaxes(0, 1).asnumpy()}


def _embeddings(system: GmSystem, rows: Sequence[Row], inputs: Mapping[str, Any], *_: Any) -> Arrays:
    found: Arrays = {}

    def note(_native: str, taken: Any, _output: Any) -> None:
        found["output"] = taken[0].asnumpy()

    with system.observe([rows[0].native], note):
        system.embedder_2.encode_with_transformer(inputs["input_ids"])
    return found


def _projection(system: GmSystem, _rows: Any, inputs: Mapping[str, Any], *_: Any) -> Arrays:
    pooled = inputs["input"]
    first = Tensor(np.zeros((pooled.shape[0], 1), np.int32))
    return {"output": system.embedder_2.pool(pooled.expand_dims(1), first).asnumpy()}


def _text_encoder(system: GmSystem, rows: Sequence[Row], inputs: Mapping[str, Any], *_: Any) -> Arrays:
    """Run a text encoder as a whole and take every row's part of what its cells return."""
    ids = inputs["input_ids"]
    seen: dict[tuple[str, str], np.ndarray] = {}

    def note(path: str, taken: Any, output: Any) -> None:
        seen.update({(path, key): array for key, array in mindspore_.arrays(output).items()})
        seen.update({(path, f"input.{key}"): array for key, array in mindspore_.arrays(taken).items()})

    natives = list(dict.fromkeys(row.native for row in rows if not row.function))
    with system.observe(natives, note):
        if rows[0].path == "text_encoder":
            system.cells[TEXT](input_ids=ids, output_hidden_states=True)
        else:
            system.cells[EMBEDDER_2](ids)
    found = {row.port: transform(row.output, seen[row.native, row.take], ()) for row in rows if not row.function}
    if any(row.native == POOLED for row in rows):
        last = seen[f"{TEXT_2}.ln_final", ""]
        found["output.pooler_output"] = system.pooled_state(system.native(last), ids)
    return found


def _unet(system: GmSystem, rows: Sequence[Row], inputs: Mapping[str, Any], *_: Any) -> Arrays:
    sample = inputs["sample"]
    timestep = inputs["timestep"]
    value = timestep.asnumpy() if isinstance(timestep, Tensor) else np.asarray(timestep)
    index = Tensor(np.broadcast_to(np.rint(value), (sample.shape[0],)).astype(np.int32))
    vector = inputs.get("vector")
    if vector is None:
        ids = inputs["added_cond_kwargs.time_ids"]
        sizes = {str(start): ids[:, start : start + 2] for start in (0, 2, 4)}
        vector = system.vector(inputs["added_cond_kwargs.text_embeds"], sizes)
    output = system.cells[UNET](sample, timesteps=index, context=inputs["encoder_hidden_states"], y=vector)
    return {rows[0].port: output.asnumpy()}


def _down_block(system: GmSystem, rows: Sequence[Row], inputs: Mapping[str, Any], *_: Any) -> Arrays:
    hidden = inputs["hidden_states"]
    found: Arrays = {}
    for row in rows:
        if row.port.startswith("output.1."):
            hidden = system.cells[row.native](hidden, inputs["temb"], inputs.get("encoder_hidden_states"))
            found[row.port] = hidden.asnumpy()
    return {"output.0": hidden.asnumpy(), **found}


def _up_block(system: GmSystem, rows: Sequence[Row], inputs: Mapping[str, Any], *_: Any) -> Arrays:
    hidden = inputs["hidden_states"]
    count = sum(key.startswith("res_hidden_states_tuple.") for key in inputs)
    stem, last = rows[0].native.rsplit(".", 1)
    for index in range(count):
        skip = inputs[f"res_hidden_states_tuple.{count - 1 - index}"]
        cell = system.cells[f"{stem}.{int(last) - count + 1 + index}"]
        hidden = cell(ops.concat([hidden, skip], axis=1), inputs["temb"], inputs.get("encoder_hidden_states"))
    return {rows[0].port: hidden.asnumpy()}


def _vae_activation(system: GmSystem, _rows: Any, inputs: Mapping[str, Any], *_: Any) -> Arrays:
    return {"output": system.module("modules.diffusionmodules.model").nonlinearity(inputs["input"]).asnumpy()}


def _vae_level(system: GmSystem, rows: Sequence[Row], inputs: Mapping[str, Any], *_: Any) -> Arrays:
    hidden = inputs["hidden_states"]
    for native in levels(system.config.vae)[rows[0].path]:
        hidden = system.cells[native](hidden)
    return {"output": hidden.asnumpy()}


def _tokenizer(system: GmSystem, rows: Sequence[Row], inputs: Mapping[str, Any], *_: Any) -> Arrays:
    embedder = system.engine.conditioner.embedders[1 if rows[0].path == "tokenizer_2" else 0]
    return {"output.input_ids": embedder.tokenize(inputs["text"])[0]}


def _encode_prompt(system: GmSystem, _rows: Any, _inputs: Any, given: Given, _step: Any) -> Arrays:
    """Let the conditioner put the recorded outputs of the text encoders together."""
    sizes = [value for name, value in system.batch(system.case["prompt"]["positive"]).items() if name != "txt"]
    halves = []
    for call, half in enumerate(("", "negative_")):
        if f"encode_prompt:output.{half}prompt_embeds" not in given.run:
            continue
        zeros = ["txt"] if call and not system.case["prompt"]["negative"] else None
        with with_text(system, *_recorded_states(system, given, call)):
            vector, context, _ = system.engine.conditioner.embedding(None, None, *sizes, force_zero_embeddings=zeros)
        halves.append({"vector": vector, "crossattn": context})
    return system.prompt_outputs(halves[0], halves[1] if len(halves) > 1 else {})


def _recorded_states(system: GmSystem, given: Given, call: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the second encoder's states and pooled state, and the first one's states, of a call or of the only one."""

    def recorded(path: str, port: str) -> Tensor:
        places = [Address(path=path, call=number, port=f"output.{port}") for number in (call, None)]
        known = next(str(place) for place in places if str(place) in given.run)
        return system.native(given.tensor(known))

    config = system.config
    second = recorded("text_encoder_2", f"hidden_states.{config.text_encoder_2.layers - 1}")
    pooled = recorded("text_encoder_2", "text_embeds")
    return second, pooled, recorded("text_encoder", f"hidden_states.{config.text_encoder.layers - 1}")


def _add_time_ids(system: GmSystem, *_: Any) -> Arrays:
    batch = system.batch(system.case["prompt"]["positive"])
    ids = np.concatenate([value.asnumpy() for name, value in batch.items() if name != "txt"], axis=1)
    return {"output": np.concatenate([ids] * (2 if system.guided else 1))}


def _set_timesteps(system: GmSystem, *_: Any) -> Arrays:
    return system.schedule_outputs()


def _prepare_latents(system: GmSystem, _rows: Any, inputs: Mapping[str, Any], *_: Any) -> Arrays:
    return {"output": system.initial_latents(inputs["noise"], inputs.get("init_latents")).asnumpy()}


def _scale_model_input(
    system: GmSystem, _rows: Any, inputs: Mapping[str, Any], _given: Given, step: int | None
) -> Arrays:
    sample = inputs["sample"]
    _, _, c_in, _ = system.engine.denoiser(system.levels(sample, step or 0), sample.ndim)
    return {"output": (sample * c_in).asnumpy()}


def _guidance(system: GmSystem, _rows: Any, inputs: Mapping[str, Any], *_: Any) -> Arrays:
    both = ops.concat((inputs["noise_pred_uncond"], inputs["noise_pred_text"]))
    return {"output": system.sampler.guider(both, None).asnumpy()}


def _scheduler_step(system: GmSystem, _rows: Any, inputs: Mapping[str, Any], given: Given, step: int | None) -> Arrays:
    return {"output": single_step(system, given, step or 0, inputs["sample"], inputs["model_output"]).asnumpy()}


def _vae_decode(system: GmSystem, _rows: Any, inputs: Mapping[str, Any], *_: Any) -> Arrays:
    return {"output": system.engine.first_stage_model.decode(inputs["z"]).asnumpy()}


def _vae_encode(system: GmSystem, _rows: Any, inputs: Mapping[str, Any], *_: Any) -> Arrays:
    return system.encoded(inputs["x"], inputs["noise"])


def _postprocess(system: GmSystem, _rows: Any, inputs: Mapping[str, Any], *_: Any) -> Arrays:
    return {"output": system.postprocessed(inputs["image"].asnumpy())}


_REPLAYS: Final[dict[str, Callable[..., Arrays]]] = {
    "masked": _masked, "embeddings": _embeddings, "stack": _stack, "stack_2": _stack_2, "text_encoder": _text_encoder,
    "unet": _unet, "down_block": _down_block, "up_block": _up_block, "sinusoid": _sinusoid, "projection": _projection,
    "vae_activation": _vae_activation, "vae_level": _vae_level, "tokenizer": _tokenizer, "tokenizer_2": _tokenizer,
    "encode_prompt": _encode_prompt, "add_time_ids": _add_time_ids, "scheduler.set_timesteps": _set_timesteps,
    "prepare_latents": _prepare_latents, "scheduler.scale_model_input": _scale_model_input, "guidance": _guidance,
    "scheduler.step": _scheduler_step, "vae.decode": _vae_decode, "vae.encode": _vae_encode,
    "postprocess": _postprocess, SIZES: _size_embeddings,
}  # fmt: skip
