"""The float64 twin of an engine of Stability-AI's package, and its parts applied one by one to recorded inputs.

The package computes in float32 at six places whatever the type of the model; docs/references.md says how each was
found. `lift` and `wide` lift them from outside:

| where | what | lifted by |
|---|---|---|
| `LegacyDDPMDiscretization.get_sigmas` | the schedule is made a float32 tensor | the package's own code, with float64 in the place of `torch.float32` |
| `EDMDiscretization.get_sigmas` | a ramp in torch's default type | torch's default type |
| `DiscreteDenoiser.sigmas` | the table is a float32 buffer | made anew from the lifted schedule |
| `timestep_embedding` | frequencies and timesteps in float32 | the formula in float64 |
| `GroupNorm32` | `x.float()` | `GroupNorm`'s own forward |
| text attention of transformers | eager softmax in float32 | scaled dot product attention |

`ForcedEngine` answers one recorded call with the twin's module, or with the package's function in float64.
"""

from __future__ import annotations

import copy
import math
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch

from parity.address import Address
from parity.errors import ParityError
from parity.frameworks.torch_ import flatten, rebuild, wide_tensor
from torch_refs.sgm.run import replaced
from torch_refs.sgm.sampling import make_sampler
from torch_refs.sgm.text import pooled_before_projection
from torch_refs.sgm.views import UNET, to_native, views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from parity.case import Case
    from parity.frameworks.torch_ import View
    from parity.trace import RunReader
    from torch_refs.sgm.engine import Engine

__all__ = ["ForcedEngine", "lift", "timestep_embedding", "wide"]

_TABLE_AGREES: Final = 1e-5


def lift(engine: Engine) -> Engine:
    """Return the engine on the CPU in float64, with nothing left in a narrower type.

    Raises:
        ParityError: the denoiser's table is not the one of its discretization.
    """
    module = copy.deepcopy(engine.module).to(device="cpu", dtype=torch.float64)
    for each in module.modules():
        if isinstance(each, engine.package.util.GroupNorm32):
            each.forward = partial(_group_norm, each)
    for embedder in module.conditioner.embedders[:2]:
        embedder.device = "cpu"
    module.conditioner.embedders[0].transformer.set_attn_implementation("sdpa")
    twin = replace(engine, module=module)
    with wide(twin):
        table = module.denoiser.discretization(module.denoiser.num_idx, do_append_zero=False, flip=True)
    if not torch.allclose(table, module.denoiser.sigmas, rtol=_TABLE_AGREES):
        message = (
            "the denoiser's table of sigmas is not the one of its discretization; the twin cannot make it in float64"
        )
        raise ParityError(message)
    module.denoiser.sigmas = table
    return twin


def _group_norm(module: torch.nn.GroupNorm, x: torch.Tensor) -> torch.Tensor:
    """Return the norm of `x` in its own type."""
    return torch.nn.GroupNorm.forward(module, x)


@contextmanager
def wide(engine: Engine) -> Iterator[None]:
    """Let the package's functions compute in float64 while the block runs."""
    package, before = engine.package, torch.get_default_dtype()
    embedding = package.openaimodel.timestep_embedding
    torch.set_default_dtype(torch.float64)
    package.openaimodel.timestep_embedding = timestep_embedding
    try:
        with replaced(package.discretizer, float32=torch.float64):
            yield
    finally:
        package.openaimodel.timestep_embedding = embedding
        torch.set_default_dtype(before)


def timestep_embedding(
    timesteps: torch.Tensor, dim: int, max_period: float = 10000, *, repeat_only: bool = False
) -> torch.Tensor:
    """Return the sinusoids `[batch, dim]` in float64, cosines first; `repeat_only` is never asked for."""
    del repeat_only
    half = dim // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, dtype=torch.float64) / half)
    angles = timesteps.to(torch.float64)[:, None] * frequencies[None, :]
    return torch.nn.functional.pad(torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1), (0, dim % 2))


class ForcedEngine:
    """The twin's modules and named functions, each by itself."""

    def __init__(self, twin: Engine, case: Case, recorded: RunReader) -> None:
        """Take inputs from the run `recorded`; to be used inside `wide`."""
        self._twin, self._case, self._recorded = twin, case, recorded
        self._views: dict[str, list[View]] = {}
        for view in views(twin):
            self._views.setdefault(view.path, []).append(view)
        self._sampler = make_sampler(twin, case, "cpu")
        self._guider = self._sampler.guider
        self._sampler.guider = twin.package.guiders.IdentityGuider()
        self._sigmas = self._sampler.discretization(case.sampling.steps, device="cpu")
        self._functions: dict[str, Callable[..., Any]] = {
            "tokenizer": self._tokenize,
            "tokenizer_2": self._tokenize_2,
            "encode_prompt": self._encode_prompt,
            "add_time_ids": self._add_time_ids,
            "text_encoder_2": self._text_encoder_2,
            "text_encoder_2.text_projection": self._text_projection,
            "scheduler.set_timesteps": self._set_timesteps,
            "prepare_latents": self._prepare_latents,
            "scheduler.scale_model_input": self._scale_model_input,
            "unet.time_proj": self._time_proj,
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
        if call.path in self._views:
            same = self._views[call.path]
            view = same[(call.call or 0) % len(same)]
            positional, keywords = to_native(view, rebuild(inputs))
            leaves = view.outputs(view.module(*positional, **keywords))
        elif call.path in self._functions:
            leaves = flatten(self._functions[call.path](call, **rebuild(inputs)), "output")
        else:
            message = f"{call}: the twin has no {call.path!r}; record and force with one version"
            raise ParityError(message)
        for port, leaf in leaves:
            if isinstance(leaf, torch.Tensor):
                yield port, leaf

    def _wide(self, path: str, port: str, call: int | None) -> torch.Tensor:
        """Return a tensor of the recorded run, widened."""
        text = str(Address(path=path, call=call, port=port))
        return wide_tensor(self._recorded.tensor(text), self._recorded.record(text).dtype)

    def _tokenize(self, _call: Address, text: Any) -> dict[str, torch.Tensor]:
        embedder = self._twin.module.conditioner.embedders[0]
        encoded = embedder.tokenizer(
            list(text), truncation=True, max_length=embedder.max_length, padding="max_length", return_tensors="pt"
        )
        return {"input_ids": encoded["input_ids"]}

    def _tokenize_2(self, _call: Address, text: Any) -> dict[str, torch.Tensor]:
        return {"input_ids": self._twin.package.encoders.open_clip.tokenize(list(text))}

    def _encode_prompt(self, _call: Address) -> dict[str, torch.Tensor]:
        """Join the recorded states of both encoders; zeros where the case gives no negative prompt."""
        guided = "encode_prompt:output.negative_prompt_embeds" in self._recorded
        found = self._embeddings("", 0 if guided else None)
        if guided:
            negative = self._embeddings("negative_", 1)
            zero = not self._case.prompt.negative
            found |= {name: torch.zeros_like(value) if zero else value for name, value in negative.items()}
        return found

    def _embeddings(self, prefix: str, call: int | None) -> dict[str, torch.Tensor]:
        """Return prompt and pooled embeddings of one call of the encoders."""
        config = self._twin.config
        layers = {"text_encoder": config.text_encoder.layers, "text_encoder_2": config.text_encoder_2.layers}
        states = [self._wide(name, f"output.hidden_states.{count - 1}", call) for name, count in layers.items()]
        pooled = self._wide("text_encoder_2", "output.text_embeds", call)
        return {f"{prefix}prompt_embeds": torch.cat(states, dim=-1), f"{prefix}pooled_prompt_embeds": pooled}

    def _add_time_ids(self, _call: Address) -> torch.Tensor:
        size = self._case.size
        rows = self._recorded.record("add_time_ids:output").shape[0]
        return torch.tensor([[*size.original, *size.crop, *size.target]]).repeat(rows, 1)

    def _text_encoder_2(self, _call: Address, input_ids: torch.Tensor) -> dict[str, Any]:
        """Return the ports of the second text encoder, from the embeddings' sum to the pooled text."""
        embedder = self._twin.module.conditioner.embedders[1]
        model = embedder.model
        hidden = (model.token_embedding(input_ids) + model.positional_embedding).transpose(0, 1)
        states = [hidden]
        for block in model.transformer.resblocks:
            states.append(block(states[-1], attn_mask=model.attn_mask))
        last = model.ln_final(states[-1].transpose(0, 1))
        return {
            "last_hidden_state": last,
            "hidden_states": tuple(state.transpose(0, 1) for state in states),
            "text_embeds": pooled_before_projection(last, input_ids) @ model.text_projection,
        }

    def _text_projection(self, _call: Address, **inputs: torch.Tensor) -> torch.Tensor:
        matrix: torch.Tensor = self._twin.module.conditioner.embedders[1].model.text_projection
        return inputs["input"] @ matrix

    def _set_timesteps(self, _call: Address, num_inference_steps: int) -> dict[str, torch.Tensor]:
        sigmas = self._sampler.discretization(num_inference_steps, device="cpu")
        timesteps = self._twin.module.denoiser.sigma_to_idx(sigmas[:-1])
        return {"timesteps": timesteps, "sigmas": sigmas, "init_noise_sigma": torch.sqrt(1.0 + sigmas[0] ** 2.0)}

    def _prepare_latents(
        self, _call: Address, noise: torch.Tensor, init_latents: torch.Tensor | None = None
    ) -> torch.Tensor:
        first = self._sigmas[0]
        return noise * torch.sqrt(1.0 + first**2.0) if init_latents is None else init_latents + noise * first

    def _scale_model_input(self, _call: Address, sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        denoiser = self._twin.module.denoiser
        level = denoiser.idx_to_sigma(timestep.long()).reshape(-1, 1, 1, 1)
        scaled: torch.Tensor = sample * denoiser.scaling(level)[2]
        return scaled

    def _time_proj(self, _call: Address, timesteps: torch.Tensor) -> torch.Tensor:
        return timestep_embedding(timesteps, self._twin.module.get_submodule(UNET).model_channels)

    def _guidance(
        self, _call: Address, noise_pred_uncond: torch.Tensor, noise_pred_text: torch.Tensor, guidance_scale: float
    ) -> torch.Tensor:
        del guidance_scale  # the guider is the case's own
        guided: torch.Tensor = self._guider(torch.cat([noise_pred_uncond, noise_pred_text]), self._sigmas[:1])
        return guided

    def _step(self, call: Address, sample: torch.Tensor, model_output: torch.Tensor, **inputs: Any) -> torch.Tensor:
        """Return the latents after the step: the package's step, asking for predictions that were recorded."""
        index = call.step or 0
        sigma, following = (self._sigmas[place].expand(sample.shape[0]) for place in (index, index + 1))
        if "history" in inputs or not hasattr(self._sampler, "sampler_step"):
            return self._multistep(index, sample, (model_output, *inputs.get("history", ())))
        predictions = iter([model_output, *([inputs["model_output_2"]] if "model_output_2" in inputs else [])])

        def denoiser(x: torch.Tensor, level: torch.Tensor, _cond: Any) -> torch.Tensor:
            return x - level.reshape(-1, 1, 1, 1) * next(predictions)

        sampler = copy.copy(self._sampler)
        sampler.noise_sampler = lambda _x: inputs["noise"]
        if "old_denoised" in inputs:
            previous = None if index == 0 else self._sigmas[index - 1].expand(sample.shape[0])
            found: torch.Tensor
            found, _ = sampler.sampler_step(
                inputs["old_denoised"], previous, sigma, following, denoiser, sample, {}, uc={}
            )
            return found
        found = sampler.sampler_step(sigma, following, denoiser, sample, {}, {})
        return found

    def _multistep(self, index: int, sample: torch.Tensor, directions: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Return the linear multistep method's step; its sum stands in the package's loop and not in a function."""
        levels = self._sigmas.numpy()
        coefficient = self._twin.package.sampling_utils.linear_multistep_coeff
        order = len(directions)
        terms = (coefficient(order, levels, index, place) * each for place, each in enumerate(directions))
        return sample + sum(terms, torch.zeros_like(sample))

    def _decode(self, _call: Address, z: torch.Tensor) -> torch.Tensor:
        image: torch.Tensor = self._twin.module.first_stage_model.decode(z)
        return image

    def _encode(self, _call: Address, x: torch.Tensor, noise: torch.Tensor) -> dict[str, torch.Tensor]:
        coder = self._twin.module.first_stage_model
        posterior = self._twin.package.distributions.DiagonalGaussianDistribution(coder.quant_conv(coder.encoder(x)))
        sample = posterior.mean + posterior.std * noise
        return {"mean": posterior.mean, "logvar": posterior.logvar, "sample": sample}

    def _postprocess(self, _call: Address, image: torch.Tensor) -> torch.Tensor:
        return torch.clamp((image + 1.0) / 2.0, min=0.0, max=1.0)
