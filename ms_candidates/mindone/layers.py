"""Mode layers: one module or function of mindone on its recorded inputs.

mindone's cells take what diffusers' modules take, under the same names, so a module is called with its recorded inputs
as they are; a text encoder's parts are given the causal mask that mindone itself makes. Where the pipeline computes in
its own loop (guidance, time ids), its loop is run with stand-ins for what comes before, and stopped behind it.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ms_candidates.mindone.run import EMBEDDINGS, arguments, encoded, shadowed, step_drawing
from parity.frameworks import mindspore_

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ms_candidates.mindone.system import MindoneSystem
    from parity.replay import Given
    from parity.trace.schema import Row

__all__ = ["replay"]

Arrays = dict[str, np.ndarray]


def replay(
    system: MindoneSystem, rows: Sequence[Row], inputs: Mapping[str, Any], given: Given, step: int | None
) -> Mapping[str, np.ndarray]:
    """Replay one call."""
    row = rows[0]
    tensors = {key: system.native(value, row.path, key) for key, value in inputs.items()}
    if row.function:
        return _FUNCTIONS[row.path](system, row, tensors, given, step or 0)
    cell = system.cells[row.native]
    output = cell(tensors["input"]) if "input" in tensors else cell(**_keywords(cell, tensors))
    arrays = mindspore_.arrays(output)
    return {each.port: arrays[each.take] for each in rows if each.take in arrays}


def _keywords(cell: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recorded inputs as the cell's keyword arguments; what it does not know has no effect on its numbers."""
    nested = _nested(tensors)
    accepted = inspect.signature(cell.construct).parameters
    found = {name: value for name, value in nested.items() if value is not None and name in accepted}
    if "causal_attention_mask" in accepted:
        found["causal_attention_mask"] = _mask(nested.get("hidden_states", nested.get("inputs_embeds")))
    required = (
        name
        for name, each in accepted.items()
        if each.kind is each.POSITIONAL_OR_KEYWORD and each.default is each.empty
    )
    return {**dict.fromkeys(name for name in required if name not in found), **found}


def _nested(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted keys as dictionaries, numbered ones as tuples."""
    found: dict[str, Any] = {}
    for key, value in tensors.items():
        head, _, rest = key.partition(".")
        if rest:
            found.setdefault(head, {})[rest] = value
        else:
            found[head] = value
    return {
        head: tuple(value[str(place)] for place in range(len(value)))
        if isinstance(value, dict) and "0" in value
        else value
        for head, value in found.items()
    }


def _mask(hidden: Any) -> Any:
    from mindone.transformers.modeling_attn_mask_utils import _create_4d_causal_attention_mask

    return _create_4d_causal_attention_mask(hidden.shape[:2], hidden.dtype)


class _StoppedError(Exception):
    """Ends a call of the pipeline behind the place that was wanted."""


def _until(system: MindoneSystem, given: Given, *, unet: Callable[..., Any], step: Callable[..., Any]) -> None:
    """Call the pipeline on recorded embeddings with stand-ins for its UNet and its scheduler's step."""
    embeddings = {
        name: system.native(given.tensor(f"encode_prompt:output.{name}"))
        for name in EMBEDDINGS
        if f"encode_prompt:output.{name}" in given.run
    }
    pipeline = system.pipeline
    noise = system.native(given.tensor("prepare_latents:input.noise"))
    with shadowed(pipeline.unet, "construct", unet), shadowed(pipeline.scheduler, "step", step):
        try:
            pipeline(latents=noise, **embeddings, **arguments(system))
        except _StoppedError:
            return


def _add_time_ids(system: MindoneSystem, _row: Any, _inputs: Any, given: Given, _step: int) -> Arrays:
    found: Arrays = {}

    def unet(*_: Any, **kwargs: Any) -> None:
        found["output"] = kwargs["added_cond_kwargs"]["time_ids"].asnumpy()
        raise _StoppedError

    _until(system, given, unet=unet, step=unet)
    return found


def _guidance(system: MindoneSystem, _row: Any, inputs: Mapping[str, Any], given: Given, _step: int) -> Arrays:
    from mindspore import mint

    found: Arrays = {}
    both = mint.cat([inputs["noise_pred_uncond"], inputs["noise_pred_text"]])

    def step(_original: Any, model_output: Any, *_: Any, **__: Any) -> None:
        found["output"] = model_output.asnumpy()
        raise _StoppedError

    _until(system, given, unet=lambda *_, **__: (both,), step=step)
    return found


def _tokenizer(system: MindoneSystem, row: Row, inputs: Mapping[str, Any], *_: Any) -> Arrays:
    tokenizer = getattr(system.pipeline, row.path)
    options = {"padding": "max_length", "max_length": tokenizer.model_max_length, "truncation": True}
    return {"output.input_ids": tokenizer(inputs["text"], return_tensors="np", **options).input_ids}


def _encode_prompt(system: MindoneSystem, _row: Any, _inputs: Any, given: Given, _step: int) -> Arrays:
    """Let the pipeline put the recorded outputs of the text encoders together."""
    indexed = "text_encoder@call=1:output.last_hidden_state" in given.run
    calls: dict[str, int] = {}

    def recorded(name: str, first: str) -> Callable[..., Any]:
        def construct(*_: Any, **__: Any) -> Any:
            at = f"@call={calls.get(name, 0)}" if indexed else ""
            calls[name] = calls.get(name, 0) + 1
            states: list[Any] = []
            while (address := f"{name}{at}:output.hidden_states.{len(states)}") in given.run:
                states.append(system.native(given.tensor(address)))
            return system.native(given.tensor(f"{name}{at}:output.{first}")), None, tuple(states)

        return construct

    pipeline, prompt = system.pipeline, system.case["prompt"]
    with (
        shadowed(pipeline.text_encoder, "construct", recorded("text_encoder", "last_hidden_state")),
        shadowed(pipeline.text_encoder_2, "construct", recorded("text_encoder_2", "text_embeds")),
    ):
        result = pipeline.encode_prompt(
            prompt=list(prompt["positive"]),
            negative_prompt=list(prompt["negative"]) or None,
            do_classifier_free_guidance=system.guided,
        )
    return {f"output.{name}": each.asnumpy() for name, each in zip(EMBEDDINGS, result, strict=True) if each is not None}


def _scheduled(system: MindoneSystem) -> Any:
    """Return the scheduler at the beginning of its schedule."""
    scheduler = system.pipeline.scheduler
    scheduler.set_timesteps(system.case["sampling"]["steps"])
    scheduler.is_scale_input_called = True
    return scheduler


def _set_timesteps(system: MindoneSystem, *_: Any) -> Arrays:
    scheduler = _scheduled(system)
    return {
        f"output.{name}": getattr(scheduler, name).asnumpy() for name in ("timesteps", "sigmas", "init_noise_sigma")
    }


def _prepare_latents(system: MindoneSystem, _row: Any, inputs: Mapping[str, Any], *_: Any) -> Arrays:
    _scheduled(system)
    noise, size = inputs["noise"], system.case["size"]
    shape = (*noise.shape[:2], size["height"], size["width"])
    return {"output": system.pipeline.prepare_latents(*shape, system.type, None, noise).asnumpy()}


def _scale_model_input(system: MindoneSystem, _row: Any, inputs: Mapping[str, Any], _given: Any, step: int) -> Arrays:
    scheduler = _scheduled(system)
    return {"output": scheduler.scale_model_input(inputs["sample"], scheduler.timesteps[step]).asnumpy()}


def _scheduler_step(system: MindoneSystem, _row: Any, inputs: Mapping[str, Any], _given: Any, step: int) -> Arrays:
    scheduler = _scheduled(system)
    with step_drawing(lambda: inputs["noise"]):
        result = scheduler.step(inputs["model_output"], scheduler.timesteps[step], inputs["sample"])
    return {"output": result[0].asnumpy()}


def _vae_decode(system: MindoneSystem, _row: Any, inputs: Mapping[str, Any], *_: Any) -> Arrays:
    return {"output": system.pipeline.vae.decode(inputs["z"])[0].asnumpy()}


def _vae_encode(system: MindoneSystem, _row: Any, inputs: Mapping[str, Any], *_: Any) -> Arrays:
    return encoded(system, inputs["x"], inputs["noise"])


def _postprocess(system: MindoneSystem, _row: Any, inputs: Mapping[str, Any], *_: Any) -> Arrays:
    return {"output": system.pipeline.image_processor.postprocess(inputs["image"], output_type="ms").asnumpy()}


_FUNCTIONS: Final[dict[str, Callable[..., Arrays]]] = {
    "tokenizer": _tokenizer, "tokenizer_2": _tokenizer, "encode_prompt": _encode_prompt, "add_time_ids": _add_time_ids,
    "scheduler.set_timesteps": _set_timesteps, "prepare_latents": _prepare_latents,
    "scheduler.scale_model_input": _scale_model_input, "guidance": _guidance, "scheduler.step": _scheduler_step,
    "vae.decode": _vae_decode, "vae.encode": _vae_encode, "postprocess": _postprocess,
}  # fmt: skip
