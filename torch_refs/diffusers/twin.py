"""The twin: a pipeline computed in float64, and its parts applied one by one to recorded inputs.

`lift` copies a pipeline to the CPU in float64 and lifts its islands: the sinusoids, the whole scheduler, and
attention of the text encoders, whose eager form computes a softmax in float32. Weights are those that were
loaded, widened.

`ForcedPipeline` applies single modules and named functions of the twin to what a working run recorded, so that the
result is the exact answer to exactly the inputs that a candidate's layer gets.

Limits: all of the twin is in memory at once, twice the size of the float32 weights.
"""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.models.embeddings import Timesteps

from parity.address import Address
from parity.errors import ParityError
from parity.frameworks.torch_ import flatten, rebuild, wide_tensor
from parity.frameworks.torch_calls_ import call_module
from torch_refs.diffusers.functions import COMPONENTS, module_paths
from torch_refs.diffusers.samplers import Lifted, schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from parity.case import Case
    from parity.trace import RunReader

__all__ = ["ForcedPipeline", "lift", "timestep_embedding"]


def lift(pipeline: Any, eta: float | None) -> Any:
    """Return the float64 pipeline, with nothing left in a narrower type; `eta` is told to its sampler."""
    parts = {name: copy.deepcopy(getattr(pipeline, name)).to(device="cpu", dtype=torch.float64) for name in COMPONENTS}
    for module in parts["unet"].modules():
        if isinstance(module, Timesteps):
            module.forward = partial(timestep_embedding, module=module)
    for name in ("text_encoder", "text_encoder_2"):
        parts[name].set_attn_implementation("sdpa")
    twin = StableDiffusionXLPipeline(
        **parts,
        tokenizer=pipeline.tokenizer,
        tokenizer_2=pipeline.tokenizer_2,
        scheduler=Lifted(pipeline.scheduler, eta or 0.0),
        force_zeros_for_empty_prompt=pipeline.config.force_zeros_for_empty_prompt,
        add_watermarker=False,
    )
    twin.set_progress_bar_config(disable=True)
    return twin


def timestep_embedding(timesteps: torch.Tensor, module: Any) -> torch.Tensor:
    """Return the sinusoids `[batch, channels]` of a diffusers `Timesteps` module, in float64."""
    half = module.num_channels // 2
    positions = torch.arange(half, dtype=torch.float64, device=timesteps.device)
    frequencies = torch.exp(-math.log(10000.0) * positions / (half - module.downscale_freq_shift))
    angles = module.scale * timesteps.to(torch.float64)[:, None] * frequencies[None, :]
    parts = (torch.cos(angles), torch.sin(angles)) if module.flip_sin_to_cos else (torch.sin(angles), torch.cos(angles))
    embedding = torch.cat(parts, dim=-1)
    return torch.nn.functional.pad(embedding, (0, module.num_channels % 2))


class ForcedPipeline:
    """The twin's modules and named functions, each by itself."""

    def __init__(self, twin: Any, case: Case, recorded: RunReader) -> None:
        """Take inputs from the run `recorded`."""
        self._twin = twin
        self._case = case
        self._recorded = recorded
        self._modules = module_paths(twin)
        twin.scheduler.set_timesteps(case.sampling.steps)
        self._form = twin.scheduler.form
        self._functions: dict[str, Callable[..., Any]] = {
            "tokenizer": partial(self._tokenize, twin.tokenizer),
            "tokenizer_2": partial(self._tokenize, twin.tokenizer_2),
            "encode_prompt": self._encode_prompt,
            "add_time_ids": self._add_time_ids,
            "scheduler.set_timesteps": self._set_timesteps,
            "prepare_latents": self._prepare_latents,
            "scheduler.scale_model_input": self._scale_model_input,
            "guidance": self._guidance,
            "scheduler.step": self._step,
            "vae.decode": self._decode,
            "vae.encode": self._encode,
            "postprocess": self._postprocess,
        }

    def outputs(self, call: Address, inputs: Mapping[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield (port, tensor) of one call, from inputs by key: wide tensors and plain values.

        Raises:
            ParityError: the twin has neither a module nor a function of that path.
        """
        if call.path in self._modules:
            result = call_module(self._modules[call.path], rebuild(inputs))
        elif call.path in self._functions:
            result = self._functions[call.path](call, **inputs)
        else:
            message = f"{call}: the twin has no {call.path!r}; record and force with one version"
            raise ParityError(message)
        for port, leaf in flatten(result, "output"):
            if isinstance(leaf, torch.Tensor):
                yield port, leaf

    def _wide(self, path: str, port: str, call: int | None) -> torch.Tensor:
        """Return a tensor of the recorded run, widened."""
        text = str(Address(path=path, call=call, port=port))
        return wide_tensor(self._recorded.tensor(text), self._recorded.record(text).dtype)

    def _tokenize(self, tokenizer: Any, _call: Address, text: Any) -> dict[str, torch.Tensor]:
        """Return token ids."""
        length = tokenizer.model_max_length
        encoded = tokenizer(list(text), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return {"input_ids": encoded.input_ids}

    def _encode_prompt(self, _call: Address) -> dict[str, torch.Tensor]:
        """Join the recorded states of both encoders: the last but one of each, and the second's pooled text."""
        guided = "encode_prompt:output.negative_prompt_embeds" in self._recorded
        encoded = "text_encoder@call=1:input.input_ids" in self._recorded
        found = self._embeddings("", 0 if encoded else None)
        if guided:
            zeros = {f"negative_{name}": torch.zeros_like(tensor) for name, tensor in found.items()}
            found |= self._embeddings("negative_", 1) if encoded else zeros
        return found

    def _embeddings(self, prefix: str, call: int | None) -> dict[str, torch.Tensor]:
        """Return prompt and pooled embeddings of one call of the encoders."""
        states = []
        for name in ("text_encoder", "text_encoder_2"):
            last = getattr(self._twin, name).config.num_hidden_layers
            states.append(self._wide(name, f"output.hidden_states.{last - 1}", call))
        pooled = self._wide("text_encoder_2", "output.text_embeds", call)
        return {f"{prefix}prompt_embeds": torch.cat(states, dim=-1), f"{prefix}pooled_prompt_embeds": pooled}

    def _add_time_ids(self, _call: Address) -> torch.Tensor:
        """Return the size conditioning of every image, both halves."""
        size = self._case.size
        row = torch.tensor([[*size.original, *size.crop, *size.target]], dtype=torch.float64)
        rows = self._recorded.record("add_time_ids:output").shape[0]
        return row.repeat(rows, 1)

    def _set_timesteps(self, _call: Address, num_inference_steps: int) -> dict[str, torch.Tensor]:
        """Return the schedule."""
        del num_inference_steps  # the case's
        return schedule(self._twin.scheduler)

    def _prepare_latents(self, _call: Address, noise: torch.Tensor) -> torch.Tensor:
        """Return the initial latents."""
        return noise * self._form.initial

    def _scale_model_input(self, call: Address, sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """Return the UNet's input."""
        del timestep
        return self._form.scaled(sample, call.step or 0)

    def _guidance(
        self, _call: Address, noise_pred_uncond: torch.Tensor, noise_pred_text: torch.Tensor, guidance_scale: float
    ) -> torch.Tensor:
        """Return the guided prediction."""
        return noise_pred_uncond + guidance_scale * (noise_pred_text - noise_pred_uncond)

    def _step(
        self,
        call: Address,
        model_output: torch.Tensor,
        timestep: torch.Tensor,
        sample: torch.Tensor,
        noise: torch.Tensor | None = None,
        **memory: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return the latents after the step."""
        del timestep
        return self._form.step(call.step or 0, model_output, sample, noise, memory)

    def _decode(self, _call: Address, z: torch.Tensor) -> torch.Tensor:
        """Return the decoder's image in [-1, 1]."""
        return self._twin.vae.decode(z, return_dict=False)[0]

    def _encode(self, _call: Address, x: torch.Tensor, noise: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the posterior and the sample that `noise` picks from it."""
        posterior = self._twin.vae.encode(x).latent_dist
        mean, logvar = posterior.mean, posterior.logvar
        return {"mean": mean, "logvar": logvar, "sample": mean + torch.exp(0.5 * logvar) * noise}

    def _postprocess(self, _call: Address, image: torch.Tensor) -> torch.Tensor:
        """Return the image in [0, 1]."""
        return (image / 2 + 0.5).clamp(0, 1)
