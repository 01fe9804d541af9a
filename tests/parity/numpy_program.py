"""A text-to-image program in numpy, small but whole, recorded as any other reference; `numpy_candidate` is its port.

Token embeddings and a norm, a denoiser of linear layers, attention and an activation that is called twice, guidance, an
ancestral sampler, a decoder. Every part is a function of its inputs and of the weights at its path, and computes in their
type: the float64 twin is the same program with wider weights, and any part can be run again on recorded inputs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special

from parity.adapters.parameters import address_of
from parity.address import Address
from parity.align import Calls
from parity.case import DIFFUSION
from parity.components import Components
from parity.dtypes import is_float
from parity.frameworks.floors import measure
from parity.record import Outcome
from parity.taps import Call
from parity.trace import digest
from tests.parity.trace.dumps.made import write_safetensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = [
    "CASE",
    "HEADS",
    "TOKENS",
    "Reference",
    "System",
    "levels",
    "read_weights",
    "reference",
    "token_ids",
    "write",
]

TOKENS, VOCABULARY, WIDTH, HEADS, CHANNELS = 5, 16, 12, 3, 4
TEXT_EPS, EPS = 1e-5, 1e-6
CASE = """
schema = 1
[model]
folder = "weights"
[prompt]
positive = ["a red fox", "two grey geese over a lake"]
negative = ["blurry", ""]
[sampling]
steps = 3
guidance = 4.0
seed = 5
[size]
height = 24
width = 40
"""
SHAPES = {
    "text_encoder.embeddings.position": (TOKENS, WIDTH), "text_encoder.embeddings.token.weight": (VOCABULARY, WIDTH),
    "text_encoder.norm.weight": (WIDTH,), "text_encoder.norm.bias": (WIDTH,),
    "unet.conv_in.weight": (WIDTH, CHANNELS), "unet.conv_in.bias": (WIDTH,), "unet.context.weight": (WIDTH, WIDTH),
    "unet.norm.weight": (WIDTH,), "unet.norm.bias": (WIDTH,),
    "unet.attn.to_q.weight": (WIDTH, WIDTH), "unet.attn.to_k.weight": (WIDTH, WIDTH), "unet.attn.to_v.weight": (WIDTH, WIDTH),
    "unet.attn.to_out.weight": (WIDTH, WIDTH), "unet.attn.to_out.bias": (WIDTH,),
    "unet.ff.weight": (WIDTH, WIDTH), "unet.ff.bias": (WIDTH,),
    "unet.conv_out.weight": (CHANNELS, WIDTH), "unet.conv_out.bias": (CHANNELS,),
    "vae.decoder.weight": (3, CHANNELS), "vae.decoder.bias": (3,),
}  # fmt: skip


def write(folder: Path) -> Path:
    """Write a case and its weights into a folder; return the case's file."""
    generator = np.random.default_rng(1)
    state = {}
    for name, shape in SHAPES.items():
        gain = 1.0 if "norm.weight" in name else 0.0
        state[name] = (gain + 0.3 * generator.standard_normal(shape)).astype(np.float32)
    (folder / "weights").mkdir(parents=True)
    write_safetensors(folder / "weights" / "model.safetensors", {name: (x, "float32") for name, x in state.items()})
    (folder / "case.toml").write_text(CASE, encoding="utf-8")
    return folder / "case.toml"


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """Read all tensors of the folder's only file."""
    data = (folder / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    found = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            begin, end = (start + offset for offset in entry["data_offsets"])
            found[name] = np.frombuffer(data[begin:end], np.float32).reshape(entry["shape"])
    return found


def token_ids(texts: list[str]) -> np.ndarray:
    """Return a number for each of the first words of each text, and 0 behind the last."""
    ids = np.zeros((len(texts), TOKENS), np.int64)
    for row, text in zip(ids, texts, strict=True):
        codes = [sum(map(ord, word)) % VOCABULARY for word in text.split()[:TOKENS]]
        row[: len(codes)] = codes
    return ids


def levels(steps: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the timestep of each step, and the noise level at the start of each and at the end."""
    timesteps = np.linspace(900, 100, steps).astype(dtype)
    sigmas = np.append(np.geomspace(8.0, 0.4, steps), 0.0).astype(dtype)
    return timesteps, sigmas


COMPONENTS = Components(
    stages={
        "tokenizer": "tokens", "text_encoder": "conditioning", "scheduler": "sampler",
        "scheduler.set_timesteps": "schedule", "prepare_latents": "schedule", "unet": "unet", "guidance": "guidance",
        "vae": "vae", "postprocess": "image",
    },
    functions={"vae.decode": ("vae.decoder",)},
)  # fmt: skip


# The parts: each takes the program, its own path, and its inputs by name.


def tokenizer(_program, _path, text):
    return {"input_ids": token_ids(text)}


def embedding(program, path, input_ids):
    return program.weights[f"{path}.weight"][input_ids]


def embeddings(program, path, input_ids):
    return program.call(f"{path}.token", input_ids=input_ids) + program.weights[f"{path}.position"]


def norm(program, path, hidden_states):
    eps = hidden_states.dtype.type(program.attributes[path]["eps"])
    centred = hidden_states - hidden_states.mean(axis=-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
    return normal * program.weights[f"{path}.weight"] + program.weights[f"{path}.bias"]


def text_encoder(program, path, input_ids):
    hidden = program.call(f"{path}.embeddings", input_ids=input_ids)
    return {"last_hidden_state": program.call(f"{path}.norm", hidden_states=hidden)}


def linear(program, path, hidden_states):
    product = hidden_states @ program.weights[f"{path}.weight"].T
    return product + program.weights.get(f"{path}.bias", hidden_states.dtype.type(0))


def sinusoid(_program, _path, timestep):
    angles = timestep * np.exp(-np.arange(WIDTH // 2, dtype=timestep.dtype))
    return np.concatenate([np.sin(angles), np.cos(angles)])


def gelu(_program, _path, hidden_states):
    return hidden_states * special.ndtr(hidden_states)


def identity(_program, _path, hidden_states):
    return hidden_states


def attention(program, path, hidden_states):
    parts = [program.call(f"{path}.{name}", hidden_states=hidden_states) for name in ("to_q", "to_k", "to_v")]
    batch, tokens, width = hidden_states.shape
    query, key, value = (part.reshape(batch, tokens, HEADS, -1).swapaxes(1, 2) for part in parts)
    scale = query.dtype.type(program.attributes[path]["scale"])
    mixed = special.softmax(query @ key.swapaxes(2, 3) * scale, axis=-1) @ value
    return program.call(f"{path}.to_out", hidden_states=mixed.swapaxes(1, 2).reshape(batch, tokens, width))


def unet(program, path, sample, timestep, encoder_hidden_states):
    batch, channels, height, width = sample.shape
    tokens = sample.reshape(batch, channels, -1).swapaxes(1, 2)
    hidden = program.call(f"{path}.conv_in", hidden_states=tokens)
    told = program.call(f"{path}.context", hidden_states=encoder_hidden_states.mean(axis=1))
    hidden = hidden + told[:, None] + program.call(f"{path}.time_proj", timestep=timestep)
    hidden = program.call(f"{path}.act", hidden_states=hidden)
    normed = program.call(f"{path}.norm", hidden_states=hidden)
    hidden = hidden + program.call(f"{path}.attn", hidden_states=normed)
    hidden = hidden + program.call(f"{path}.act", hidden_states=program.call(f"{path}.ff", hidden_states=hidden))
    hidden = program.call(f"{path}.drop", hidden_states=hidden)
    output = program.call(f"{path}.conv_out", hidden_states=hidden)
    return output.swapaxes(1, 2).reshape(batch, channels, height, width)


def set_timesteps(program, _path):
    timesteps, sigmas = levels(program.steps, program.dtype)
    return {"timesteps": timesteps, "sigmas": sigmas}


def prepare_latents(program, _path, noise):
    return noise * levels(program.steps, program.dtype)[1][0]


def scale_model_input(program, _path, sample, timestep):
    sigma, _ = program.levels(timestep)
    return sample / np.sqrt(sigma**2 + 1)


def guidance(program, _path, noise_pred_uncond, noise_pred_text):
    scale = noise_pred_text.dtype.type(program.attributes["guidance"]["guidance_scale"])
    return noise_pred_uncond + scale * (noise_pred_text - noise_pred_uncond)


def step(program, _path, sample, model_output, noise, timestep):
    sigma, following = program.levels(timestep)
    up = np.sqrt(following**2 * (sigma**2 - following**2) / sigma**2)
    down = np.sqrt(following**2 - up**2)
    return sample + model_output * (down - sigma) + noise * up


def decode(program, _path, z):
    batch, channels, height, width = z.shape
    tokens = z.reshape(batch, channels, -1).swapaxes(1, 2)
    return program.call("vae.decoder", hidden_states=tokens).swapaxes(1, 2).reshape(batch, 3, height, width)


def postprocess(_program, _path, image):
    return np.clip(image / 2 + image.dtype.type(0.5), 0, 1)


class Part(NamedTuple):
    """What computes at a path; `kind` is the class of a module, None for a named function."""

    compute: Callable
    kind: str | None = None


PARTS = {
    "tokenizer": Part(tokenizer), "text_encoder": Part(text_encoder, "TextEncoder"),
    "text_encoder.embeddings": Part(embeddings, "Embeddings"), "text_encoder.embeddings.token": Part(embedding, "Embedding"),
    "text_encoder.norm": Part(norm, "LayerNorm"),
    "scheduler.set_timesteps": Part(set_timesteps), "prepare_latents": Part(prepare_latents),
    "scheduler.scale_model_input": Part(scale_model_input), "unet": Part(unet, "Denoiser"),
    "unet.conv_in": Part(linear, "Linear"), "unet.context": Part(linear, "Linear"), "unet.time_proj": Part(sinusoid, "Sinusoid"),
    "unet.act": Part(gelu, "GELU"), "unet.norm": Part(norm, "LayerNorm"), "unet.attn": Part(attention, "Attention"),
    "unet.attn.to_q": Part(linear, "Linear"), "unet.attn.to_k": Part(linear, "Linear"), "unet.attn.to_v": Part(linear, "Linear"),
    "unet.attn.to_out": Part(linear, "Linear"), "unet.ff": Part(linear, "Linear"), "unet.drop": Part(identity, "Identity"),
    "unet.conv_out": Part(linear, "Linear"), "guidance": Part(guidance), "scheduler.step": Part(step),
    "vae.decode": Part(decode), "vae.decoder": Part(linear, "Linear"), "postprocess": Part(postprocess),
}  # fmt: skip


@dataclass
class Drawn:
    """What a run drew, and what it computed at the start of each stage and step."""

    start: np.ndarray
    noise: np.ndarray
    contexts: np.ndarray | None = None
    latents: tuple[np.ndarray, ...] = ()


class Program:
    """The program with weights of one type; `watch` sees each call of a part and runs it."""

    def __init__(self, state, dtype, case, attributes):
        self.weights = {name: array.astype(dtype) for name, array in state.items()}
        self.dtype, self.steps, self.prompt = dtype, case.sampling.steps, case.prompt
        self.attributes = attributes
        self.watch, self.at_step = None, lambda _step: None

    def call(self, path, **inputs):
        """Run the part at a path."""
        part = partial(PARTS[path].compute, self, path)
        return part(**inputs) if self.watch is None else self.watch(path, part, inputs)

    def levels(self, timestep):
        """Return the noise level of a timestep, and the next."""
        timesteps, sigmas = levels(self.steps, self.dtype)
        index = int(np.argmin(np.abs(timesteps - timestep)))
        return sigmas[index], sigmas[index + 1]

    def run(self, drawn, restart=None):
        """Run the case on what was drawn; with `restart` every stage and step starts from what another run had there."""
        encoded = []
        for texts in (self.prompt.positive, self.prompt.negative):
            ids = self.call("tokenizer", text=texts)["input_ids"]
            encoded.append(self.call("text_encoder", input_ids=ids)["last_hidden_state"])
        context = np.concatenate(encoded[::-1]) if restart is None else restart.contexts.astype(self.dtype)
        timesteps = self.call("scheduler.set_timesteps")["timesteps"]
        latents = self.call("prepare_latents", noise=drawn.start.astype(self.dtype))
        begun = []
        for index, timestep in enumerate(timesteps):
            self.at_step(index)
            latents = latents if restart is None else restart.latents[index].astype(self.dtype)
            begun.append(latents)
            latents = self._step(latents, timestep, context, drawn.noise[index].astype(self.dtype))
        self.at_step(None)
        begun.append(latents)
        final = latents if restart is None else restart.latents[-1].astype(self.dtype)
        image = self.call("postprocess", image=self.call("vae.decode", z=final))
        return context, tuple(begun), image

    def _step(self, latents, timestep, context, noise):
        scaled = self.call("scheduler.scale_model_input", sample=latents, timestep=timestep)
        both = np.concatenate([scaled, scaled])
        output = self.call("unet", sample=both, timestep=timestep, encoder_hidden_states=context)
        uncond, text = np.split(output, 2)
        predicted = self.call("guidance", noise_pred_uncond=uncond, noise_pred_text=text)
        return self.call("scheduler.step", sample=latents, model_output=predicted, noise=noise, timestep=timestep)


class System:
    """The loaded program as the recorder drives it."""

    components = COMPONENTS

    def __init__(self, resolved, dtype):
        case, state = resolved.case, read_weights(resolved.model_path)
        self._case, self._dtype = case, dtype
        make = partial(Program, state, case=case, attributes=self.attributes())
        self._program, self._twin = make(dtype=dtype), make(dtype="float64")
        self._drawn = None

    def modules(self):
        """Return the parts that are modules."""
        return {path: part.kind for path, part in PARTS.items() if part.kind is not None}

    def attributes(self):
        """Return what decides numerics."""
        return {
            "text_encoder.norm": {"eps": TEXT_EPS}, "unet.norm": {"eps": EPS}, "unet.act": {"approximate": "none"},
            "unet.attn": {"heads": HEADS, "scale": (WIDTH // HEADS) ** -0.5},
            "guidance": {"guidance_scale": self._case.sampling.guidance},
        }  # fmt: skip

    def weights(self):
        """Yield every parameter."""
        for name, array in self._program.weights.items():
            yield address_of(name), array, self._dtype

    def provenance(self):
        """Return numpy's version."""
        return {"framework": "numpy", "versions": {"numpy": np.__version__}}

    def floors(self):
        """Return the own error of each kind of operator."""

        def softmax(x):
            return special.softmax(x.astype(self._dtype), axis=-1)

        def activation(x):
            return gelu(None, "", x.astype(self._dtype))

        return measure({"softmax": softmax, "gelu": activation}, self._dtype)

    def policy(self):
        """Return the working type."""
        return self._dtype

    def run(self, taps, progress):
        """Draw and run in the working type."""
        size, count = self._case.size, len(self._case.prompt.positive)
        shape = (count, CHANNELS, size.height // 8, size.width // 8)
        generator = np.random.default_rng(self._case.sampling.seed)
        numbers = generator.standard_normal((self._case.sampling.steps + 1, *shape)).astype(np.float32)
        self._drawn = Drawn(start=numbers[0], noise=numbers[1:])
        contexts, latents, image = self._watched(self._program, taps, progress)
        self._drawn.contexts, self._drawn.latents = contexts, latents
        finals = {f"latents@step={index}": digest(each, self._dtype) for index, each in enumerate(latents[1:])}
        finals["image"] = digest(image, self._dtype)
        return Outcome(finals=finals, latents=numbers[0], noise=numbers[1:])

    def twin(self, taps, progress):
        """Run in float64 on the same draws."""
        self._watched(self._twin, taps, progress)
        return []

    def steps(self, taps, progress):
        """Run in float64 from the working run's tensors at the start of each stage and step."""
        self._watched(self._twin, taps, progress, restart=self._drawn)

    def forced(self, recorded, skipped, taps, progress):
        """Run each part of the twin on its recorded inputs."""
        calls = Calls(recorded)
        for number, (path, index, count) in enumerate(calls.order):
            address = Address(path=path, step=index, call=count, port="output")
            if Call.of(address) not in skipped:
                inputs = self._recorded_inputs(recorded, address, calls.ports(path, index, count))
                for port, array in ports(self._twin.call(path, **inputs)).items():
                    each = Address(path=path, step=index, call=count, port=port)
                    taps.repeat(each, array, array.dtype.name)
            progress(number + 1, len(calls.order))

    @staticmethod
    def _recorded_inputs(recorded, address, known):
        """Return the inputs of a call, floats widened."""
        inputs = {}
        for port in known:
            if port.startswith("input."):
                text = str(Address(path=address.path, step=address.step, call=address.call, port=port))
                record = recorded.record(text)
                read = recorded.value if record.kind == "value" else recorded.tensor
                wide = record.kind == "tensor" and is_float(record.dtype)
                inputs[port.removeprefix("input.")] = recorded.wide(text) if wide else read(text)
        return inputs

    def _watched(self, program, taps, progress, restart=None):
        """Run, and tell the taps of every call of every part."""

        def at_step(index):
            if taps is not None:
                taps.step = index
            if index is not None:
                progress(index + 1, program.steps)

        def watch(path, part, inputs):
            call = taps.enter(path)
            output = part(**inputs)
            for name, value in inputs.items():
                if isinstance(value, np.ndarray | np.generic):
                    tell(call, f"input.{name}", np.asarray(value))
                else:
                    taps.value(call, f"input.{name}", value)
            for port, array in ports(output).items():
                tell(call, port, array)
            taps.leave(call)
            return output

        def tell(call, port, array):
            if taps.address(call, port) is not None:
                taps.tensor(call, port, array.copy(), array.dtype.name)

        program.at_step, program.watch = at_step, None if taps is None else watch
        found = program.run(self._drawn, restart)
        program.watch = None
        return found


def ports(output):
    """Return what a part returned by port."""
    if isinstance(output, dict):
        return {f"output.{key}": array for key, array in output.items()}
    return {"output": output}


class Reference:
    """Loads the program; a test may give it another system."""

    name = "numpy program"
    sections = DIFFUSION
    system = System

    def load(self, resolved, *, device, dtype, source=None):
        """Return the case's program in a type."""
        del device, source
        return self.system(resolved, dtype)


reference = Reference()
