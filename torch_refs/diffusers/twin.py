"""The twin: a pipeline computed in float64, and its parts applied one by one to recorded inputs.

`lift` copies a pipeline to the CPU in float64 and lifts its islands: the sinusoids, the whole scheduler, and
attention of the text encoders, whose eager form computes a softmax in float32. Weights are those that were
loaded, widened.

`Forced` applies single modules and named functions of the twin to what a working run recorded, so that the
result is the exact answer to exactly the inputs that a candidate's layer gets.

Limits: all of the twin is in memory at once, twice the size of the float32 weights.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.models.embeddings import Timesteps

from parity.address import Address
from parity.errors import ParityError
from parity.frameworks.torch_ import flatten, rebuild, wide_tensor
from parity.frameworks.torch_calls_ import call_module
from torch_refs.diffusers.functions import COMPONENTS, module_paths
from torch_refs.diffusers.schedule import (
    LiftedEulerAncestral,
    ancestral_step,
    initial_sigma,
    scaled_input,
    schedule,
    timestep_embedding,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from parity.case import Case
    from parity.trace import RunReader

__all__ = ["Forced", "lift"]


def lift(pipeline: Any) -> Any:
    """Return the float64 pipeline, with nothing left in a narrower type."""
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
        scheduler=LiftedEulerAncestral.from_config(pipeline.scheduler.config),
        force_zeros_for_empty_prompt=pipeline.config.force_zeros_for_empty_prompt,
        add_watermarker=False,
    )
    twin.set_progress_bar_config(disable=True)
    return twin


class Forced:
    """The twin's modules and named functions, each by itself."""

    def __init__(self, twin: Any, case: Case, recorded: RunReader) -> None:
        """Take inputs from the run `recorded`."""
        self._twin = twin
        self._case = case
        self._recorded = recorded
        self._modules = module_paths(twin)
        config = twin.scheduler.config
        self._timesteps, self._sigmas = schedule(config, case.sampling.steps)
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
        timesteps, sigmas = schedule(self._twin.scheduler.config, num_inference_steps)
        first = torch.tensor(initial_sigma(self._twin.scheduler.config, sigmas), dtype=torch.float64)
        return {"timesteps": torch.from_numpy(timesteps), "sigmas": torch.from_numpy(sigmas), "init_noise_sigma": first}

    def _prepare_latents(self, _call: Address, noise: torch.Tensor) -> torch.Tensor:
        """Return the initial latents."""
        return noise * initial_sigma(self._twin.scheduler.config, self._sigmas)

    def _scale_model_input(self, _call: Address, sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """Return the UNet's input."""
        return scaled_input(sample, float(self._sigmas[self._place(timestep)]))

    def _guidance(
        self, _call: Address, noise_pred_uncond: torch.Tensor, noise_pred_text: torch.Tensor, guidance_scale: float
    ) -> torch.Tensor:
        """Return the guided prediction."""
        return noise_pred_uncond + guidance_scale * (noise_pred_text - noise_pred_uncond)

    def _step(
        self,
        _call: Address,
        model_output: torch.Tensor,
        timestep: torch.Tensor,
        sample: torch.Tensor,
        noise: torch.Tensor,
    ) -> torch.Tensor:
        """Return the latents after the step."""
        place = self._place(timestep)
        sigma, following = float(self._sigmas[place]), float(self._sigmas[place + 1])
        prediction = self._twin.scheduler.config.prediction_type
        return ancestral_step(model_output, sample, noise, sigma=sigma, following=following, prediction=prediction)

    def _place(self, timestep: torch.Tensor) -> int:
        """Return where in the schedule a timestep is.

        Raises:
            ParityError: the schedule does not have it.
        """
        found = np.flatnonzero(self._timesteps == float(timestep))
        if found.size == 0:
            message = f"timestep {float(timestep)} is not in the float64 schedule {self._timesteps.tolist()}; record with one version"
            raise ParityError(message)
        return int(found[0])

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
