"""Mode layers: how paths that are no single cell are replayed from their recorded inputs.

Each function takes the system, the rows of the path, the inputs by the reference's keys, what is given, and the
step, and returns arrays by the reference's port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from mindspore import Tensor, ops
from parity.address import Address

from mindone_sdxl.candidate.loop import memory, noises
from mindone_sdxl.candidate.rows import SIZES, TEXT, TEXT_2, UNET
from mindone_sdxl.text_encoders import causal_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from parity.replay import Given
    from parity.trace.schema import Row

    from mindone_sdxl.candidate.system import PortSystem

__all__ = ["replay_function"]


def replay_function(
    system: PortSystem, rows: Sequence[Row], inputs: Mapping[str, Any], given: Given, step: int | None
) -> Mapping[str, np.ndarray]:
    """Replay one call of a block, a text encoder or a named function."""
    name = rows[0].native if rows[0].function else rows[0].replay
    tensors = {
        key: system.native(value, system.type_of(rows[0], key))
        for key, value in inputs.items()
        if isinstance(value, np.ndarray)
    }
    return _REPLAYS[name or ""](system, rows, {**inputs, **tensors}, given, step)


def _masked(system: PortSystem, rows: Sequence[Row], inputs: Mapping[str, Any], *_: Any) -> dict[str, np.ndarray]:
    return {rows[0].port: _with_mask(system, rows[0].native, inputs["hidden_states"]).asnumpy()}


def _with_mask(system: PortSystem, native: str, hidden: Tensor) -> Any:
    """Run a text attention, layer or stack with the causal mask that the port makes by itself."""
    states = system.native(hidden.asnumpy())
    return system.cells[native](states, causal_mask(states.shape[1], system.pipeline.dtype))


def _embeddings(system: PortSystem, _rows: Any, inputs: Mapping[str, Any], *_: Any) -> dict[str, np.ndarray]:
    encoder = system.cells[TEXT_2]
    ids = inputs["input_ids"]
    positions = Tensor(np.arange(ids.shape[1], dtype=np.int32).reshape(1, -1))
    return {"output": (encoder.token_embedding(ids) + encoder.positional_embedding(positions)).asnumpy()}


def _stack(system: PortSystem, rows: Sequence[Row], inputs: Mapping[str, Any], *_: Any) -> dict[str, np.ndarray]:
    outputs = system.numpy(_with_mask(system, rows[0].native, inputs["inputs_embeds"]))
    return {rows[0].port: outputs[rows[0].take]}


def _text_encoder(system: PortSystem, rows: Sequence[Row], inputs: Mapping[str, Any], *_: Any) -> dict[str, np.ndarray]:
    """Run a text encoder as a whole and take every row's part of what its cells return."""
    native = TEXT if rows[0].path == "text_encoder" else TEXT_2
    seen: dict[str, dict[str, np.ndarray]] = {}

    def note(path: str, taken: Any, output: Any) -> None:
        seen[path] = system.numpy(output)
        for key, array in system.numpy(taken).items():
            seen[path][f"input.{key}"] = array

    with system.observe(list(dict.fromkeys(row.native for row in rows)), note):
        output = system.cells[native](inputs["input_ids"])
    seen.setdefault(native, {}).update(system.numpy(output))
    return {row.port: seen[row.native][row.take] for row in rows}


def _unet(system: PortSystem, rows: Sequence[Row], inputs: Mapping[str, Any], *_: Any) -> dict[str, np.ndarray]:
    sample, timestep = inputs["sample"], inputs["timestep"]
    value = timestep.asnumpy() if isinstance(timestep, Tensor) else np.asarray(timestep)
    timesteps = Tensor(np.broadcast_to(value, (sample.shape[0],)).astype(system.numbers))
    vector = inputs.get("vector")
    if vector is None:
        ids = inputs["added_cond_kwargs.time_ids"].asnumpy()
        vector = system.pipeline.vector(inputs["added_cond_kwargs.text_embeds"], ids)
    output = system.cells[UNET](sample, timesteps, inputs["encoder_hidden_states"], vector)
    return {rows[0].port: output.asnumpy()}


def _down_block(system: PortSystem, rows: Sequence[Row], inputs: Mapping[str, Any], *_: Any) -> dict[str, np.ndarray]:
    hidden = inputs["hidden_states"]
    found: dict[str, np.ndarray] = {}
    skips = [row for row in rows if row.port.startswith("output.1.")]
    for row in skips:
        hidden = system.cells[row.native](hidden, inputs["temb"], inputs.get("encoder_hidden_states"))
        found[row.port] = hidden.asnumpy()
    return {"output.0": hidden.asnumpy(), **found}


def _up_block(system: PortSystem, rows: Sequence[Row], inputs: Mapping[str, Any], *_: Any) -> dict[str, np.ndarray]:
    hidden = inputs["hidden_states"]
    count = sum(key.startswith("res_hidden_states_tuple.") for key in inputs)
    stem, last = rows[0].native.rsplit(".", 1)
    for index in range(count):
        skip = inputs[f"res_hidden_states_tuple.{count - 1 - index}"]
        cell = system.cells[f"{stem}.{int(last) - count + 1 + index}"]
        hidden = cell(ops.cat((hidden, skip), axis=1), inputs["temb"], inputs.get("encoder_hidden_states"))
    return {rows[0].port: hidden.asnumpy()}


def _size_embeddings(system: PortSystem, _rows: Any, inputs: Mapping[str, Any], *_: Any) -> dict[str, np.ndarray]:
    return {"output": system.pipeline.model.conditioner.add_time_proj(inputs["timesteps"]).asnumpy()}


def _tokenizer(system: PortSystem, rows: Sequence[Row], inputs: Mapping[str, Any], *_: Any) -> dict[str, np.ndarray]:
    index = 1 if rows[0].path == "tokenizer_2" else 0
    return {"output.input_ids": system.pipeline.tokenize(inputs["text"])[index]}


def _encode_prompt(system: PortSystem, _rows: Any, _inputs: Any, given: Given, _step: Any) -> dict[str, np.ndarray]:
    """Put the recorded outputs of the text encoders together."""
    found: dict[str, np.ndarray] = {}
    twice = "text_encoder@call=1:output.hidden_states.0" in given.run
    for call, half in enumerate(("", "negative_")):
        embeds, pooled = f"output.{half}prompt_embeds", f"output.{half}pooled_prompt_embeds"
        if f"encode_prompt:{embeds}" not in given.run:
            continue
        negated = not call or (twice and system.case["prompt"]["negative"])
        place = Address(path="text_encoder", call=call if twice else None, port="output.hidden_states.0")
        if negated and str(place) in given.run:
            found[embeds], found[pooled] = _joined(system, given, place.call)
        else:  # no text was encoded, or what was is not used: the reference puts zeros there
            found[embeds], found[pooled] = (_zeros(given, f"encode_prompt:{port}") for port in (embeds, pooled))
    return found


def _joined(system: PortSystem, given: Given, call: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the states of both text encoders side by side, and the pooled state of the second, of one call."""

    def recorded(path: str, port: str) -> np.ndarray:
        return given.tensor(str(Address(path=path, call=call, port=f"output.{port}")))

    config = system.pipeline.config
    first = recorded("text_encoder", f"hidden_states.{config.text_encoder.layers - 1}")
    second = recorded("text_encoder_2", f"hidden_states.{config.text_encoder_2.layers - 1}")
    joined: np.ndarray = ops.cat((system.native(first), system.native(second)), axis=-1).asnumpy()
    return joined, recorded("text_encoder_2", "text_embeds")


def _zeros(given: Given, address: str) -> np.ndarray:
    """Return zeros of the shape that was recorded at an address, in the type of the embeddings."""
    kind = given.tensor("encode_prompt:output.prompt_embeds").dtype
    return np.zeros(given.run.record(address).shape, kind)


def _add_time_ids(system: PortSystem, *_: Any) -> dict[str, np.ndarray]:
    return {"output": system.guided_time_ids()}


def _set_timesteps(system: PortSystem, *_: Any) -> dict[str, np.ndarray]:
    return system.schedule_outputs()


def _prepare_latents(system: PortSystem, _rows: Any, inputs: Mapping[str, Any], *_: Any) -> dict[str, np.ndarray]:
    noise = inputs["noise"].asnumpy()
    if "init_latents" in inputs:
        return {"output": system.pipeline.noised_latents(inputs["init_latents"], noise, system.schedule).asnumpy()}
    return {"output": system.pipeline.initial_latents(noise, system.schedule).asnumpy()}


def _scale_model_input(
    system: PortSystem, _rows: Any, inputs: Mapping[str, Any], _given: Given, step: int | None
) -> dict[str, np.ndarray]:
    sigma = system.schedule.sigmas[step or 0]
    if system.stability:  # the network may be asked at another level than the step's
        sigma = system.schedule.table[int(inputs["timestep"].asnumpy().flat[0])]
    return {"output": system.denoiser.network_input(inputs["sample"], sigma).asnumpy()}


def _guidance(system: PortSystem, _rows: Any, inputs: Mapping[str, Any], *_: Any) -> dict[str, np.ndarray]:
    both = ops.cat((inputs["noise_pred_uncond"], inputs["noise_pred_text"]))
    return {"output": system.guider(both).asnumpy()}


def _scheduler_step(
    system: PortSystem, _rows: Any, inputs: Mapping[str, Any], given: Given, step: int | None
) -> dict[str, np.ndarray]:
    index, sample, predicted = step or 0, inputs["sample"], inputs["model_output"]
    if not system.stability:  # diffusers hands on what the network gives, which need not be noise
        predicted = system.denoiser.noise_pred(predicted, sample, system.schedule.sigmas[index])
    system.sampler.recall(index, memory(system, inputs))
    arguments = sample, predicted, noises(system, given), lambda *_: inputs["model_output_2"]
    return {"output": system.sampler.step(index, *arguments).asnumpy()}


def _vae_decode(system: PortSystem, _rows: Any, inputs: Mapping[str, Any], *_: Any) -> dict[str, np.ndarray]:
    return {"output": system.pipeline.model.vae.decode(inputs["z"]).asnumpy()}


def _vae_encode(system: PortSystem, _rows: Any, inputs: Mapping[str, Any], *_: Any) -> dict[str, np.ndarray]:
    return system.encoded(inputs["x"], inputs["noise"])


def _postprocess(system: PortSystem, _rows: Any, inputs: Mapping[str, Any], *_: Any) -> dict[str, np.ndarray]:
    return {"output": system.pipeline.unit_range(inputs["image"])}


_REPLAYS: dict[str, Callable[..., dict[str, np.ndarray]]] = {
    "masked": _masked, "embeddings": _embeddings, "stack": _stack, "text_encoder": _text_encoder, "unet": _unet,
    "down_block": _down_block, "up_block": _up_block, "tokenizer": _tokenizer, "tokenizer_2": _tokenizer,
    "encode_prompt": _encode_prompt, "add_time_ids": _add_time_ids, "scheduler.set_timesteps": _set_timesteps,
    "prepare_latents": _prepare_latents, "scheduler.scale_model_input": _scale_model_input, "guidance": _guidance,
    "scheduler.step": _scheduler_step, "vae.decode": _vae_decode, "vae.encode": _vae_encode,
    "postprocess": _postprocess, SIZES: _size_embeddings,
}  # fmt: skip
