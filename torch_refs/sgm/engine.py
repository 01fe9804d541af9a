"""Builds Stability-AI's `DiffusionEngine` from a YAML configuration and a single checkpoint file, without a network.

The classes are the package's own. Three things that the package would fetch, or that need a GPU, come from here:

- the first text encoder: its configuration and tokenizer lie beside the YAML file (`version: FOLDER`), or are known
  by name; its weights are in the checkpoint;
- the second: OpenCLIP's class, built from `ARCH.json` beside the YAML file or from OpenCLIP's own list, without the
  image tower that the package throws away. The package hands its layers [tokens, batch, width], so attention is
  told so (current OpenCLIP would take the first axis for the batch);
- `vanilla-xformers` attention of the autoencoder becomes `vanilla` where xformers is absent: the same formula. The
  package does the same by itself for the UNet.

The weights of `GroupNorm32`, rounded to a half type like the others, are held in float32, in which it computes: on a
GPU autocast does that, on a CPU nothing does.

Recomputation (`use_checkpoint`) is off; it only saves memory in training. Loading is strict: a name that is missing
or unexpected is an error, where the package prints it and goes on.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from mindone_sdxl.config_yaml import from_yaml
from mindone_sdxl.errors import SDXLError
from mindone_sdxl.names import parameter_table
from parity.address import Address
from parity.errors import CaseError
from parity.frameworks.torch_ import TYPES
from torch_refs.sgm.package import quiet_package
from torch_refs.tokenizer_files import write_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from mindone_sdxl.config import SDXLConfig, TextEncoderConfig
    from mindone_sdxl.names import ParameterEntry
    from parity.case import Resolved
    from torch_refs.sgm.package import Package

__all__ = ["Engine", "build", "parameters"]

CLIP: Final = "conditioner.embedders.0.transformer"
_OLD_CLIP: Final = f"{CLIP}.text_model."
_NOT_IN_FILE: Final = ("position_ids", "logit_scale", "denoiser.sigmas", "denoiser.log_sigmas")
_IMAGE_TOWER: Final = {"image_size": 32, "layers": 1, "width": 32, "head_width": 32, "patch_size": 32}


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A loaded engine: the package's own object, what its YAML says, and how its first text encoder nests."""

    module: Any
    config: SDXLConfig
    package: Package
    dtype: torch.dtype

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        found: torch.device = next(self.module.parameters()).device
        return found

    def native(self, name: str) -> str:
        """Return the path here of a module or parameter of Stability's file; newer transformers nest less."""
        if name.startswith(_OLD_CLIP) and not hasattr(self.module.conditioner.embedders[0].transformer, "text_model"):
            return f"{CLIP}.{name.removeprefix(_OLD_CLIP)}"
        if name == _OLD_CLIP[:-1]:
            return CLIP
        return name


def build(package: Package, resolved: Resolved, *, dtype: str, device: torch.device) -> Engine:
    """Return the engine with the checkpoint's weights; the networks in `dtype`, the autoencoder in float32 beside halves.

    Raises:
        CaseError: the configuration or the checkpoint cannot be read or they do not fit each other.
    """
    path, file = resolved.config_path, resolved.model_path
    if path is None:
        message = "model.folder names a diffusers folder; the reference sgm reads model.file and model.config (python -m torch_refs.sgm.files makes them)"
        raise CaseError(message)
    try:
        config = from_yaml(path).model
    except SDXLError as error:
        message = f"{path}: {error}"
        raise CaseError(message) from error
    if config.refiner or config.schedule.prediction == "edm":
        message = f"{path} is a refiner or of continuous noise levels; the reference sgm records SDXL base with a DiscreteDenoiser"
        raise CaseError(message)
    content = _adjusted(yaml.safe_load(path.read_text(encoding="utf-8"))["model"], device)
    try:
        with quiet_package(), _local_encoders(package, config, path.parent):
            module = package.instantiate(content).eval()
    except (ImportError, AttributeError, TypeError, KeyError, AssertionError, RuntimeError) as error:
        message = f"{path} cannot be built by sgm: {type(error).__name__}: {error}"
        raise CaseError(message) from error
    engine = Engine(module=module, config=config, package=package, dtype=TYPES[dtype])
    _load(engine, file)
    for part in (module.conditioner, module.model):
        part.to(TYPES[dtype])
    for each in module.model.modules():
        if isinstance(each, package.util.GroupNorm32):
            each.float()
    module.requires_grad_(requires_grad=False)
    module.to(device)
    return engine


def parameters(engine: Engine) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every parameter under diffusers' address and in diffusers' layout, in the type it has here."""
    found = dict(engine.module.named_parameters())
    for entry in parameter_table(engine.config):
        path, _, name = entry.diffusers.rpartition(".")
        value = found[engine.native(entry.stability)]
        value = value if path.startswith("vae.") else value.to(engine.dtype)
        yield str(Address(path=path, port=name)), _as_diffusers(value, entry)


def _as_diffusers(value: torch.Tensor, entry: ParameterEntry) -> torch.Tensor:
    """Return one parameter in diffusers' layout."""
    if entry.transform == "transpose":
        return value.T
    if entry.transform == "pointwise":
        return value.reshape(value.shape[:2])
    return value if entry.part is None else value.chunk(entry.part[1])[entry.part[0]]


def _adjusted(content: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return the configuration with what this machine needs otherwise."""
    content = copy.deepcopy(content)
    values = content["params"]
    for training in ("sampler_config", "loss_fn_config", "optimizer_config", "scheduler_config", "ckpt_path"):
        values.pop(training, None)
    values["network_config"]["params"]["use_checkpoint"] = False
    coder = values["first_stage_config"]["params"]["ddconfig"]
    if importlib.util.find_spec("xformers") is None and coder.get("attn_type") == "vanilla-xformers":
        coder["attn_type"] = "vanilla"
    for embedder in values["conditioner_config"]["params"]["emb_models"]:
        if embedder["input_key"] == "txt":
            embedder.setdefault("params", {})["device"] = str(device)
    return content


@contextmanager
def _local_encoders(package: Package, config: SDXLConfig, folder: Path) -> Iterator[None]:
    """Let the package build its text encoders from what lies in `folder` and what is known, while the block runs."""
    encoders, open_clip = package.encoders, package.encoders.open_clip
    made = open_clip.create_model_and_transforms
    before = encoders.CLIPTokenizer, encoders.CLIPTextModel

    class Tokenizer:
        """The tokenizer's files are beside the configuration, or written anew."""

        @staticmethod
        def from_pretrained(version: str) -> Any:
            """Return the real tokenizer."""
            if (folder / version / "vocab.json").is_file():
                return CLIPTokenizer.from_pretrained(folder / version, local_files_only=True)
            with tempfile.TemporaryDirectory() as place:
                write_tokenizer(Path(place), padding="<|endoftext|>")
                return CLIPTokenizer.from_pretrained(place, local_files_only=True)

    class TextModel:
        """The model's weights come with the checkpoint."""

        @staticmethod
        def from_pretrained(_version: str) -> Any:
            """Return the real model, not yet loaded."""
            return CLIPTextModel(_text_config(config.text_encoder))

    def create(arch: str, **_: Any) -> tuple[Any, None, None]:
        return _open_clip(open_clip, arch, folder), None, None

    encoders.CLIPTokenizer, encoders.CLIPTextModel = Tokenizer, TextModel
    open_clip.create_model_and_transforms = create
    try:
        yield
    finally:
        encoders.CLIPTokenizer, encoders.CLIPTextModel = before
        open_clip.create_model_and_transforms = made


def _text_config(config: TextEncoderConfig) -> CLIPTextConfig:
    """Return transformers' configuration of the first text encoder."""
    return CLIPTextConfig(
        vocab_size=config.vocabulary_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=config.positions,
        hidden_act=config.activation,
        layer_norm_eps=config.norm_eps,
        bos_token_id=0,
        eos_token_id=config.eos_token_id,
        pad_token_id=1,
    )


def _open_clip(open_clip: Any, arch: str, folder: Path) -> Any:
    """Return OpenCLIP's model with an image tower of no size, its layers told that the batch is the second axis."""
    file = folder / f"{arch}.json"
    values = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else open_clip.get_model_config(arch)
    if values is None:
        message = (
            f"OpenCLIP knows no {arch!r} and {file} is not there; put the architecture's JSON file beside the YAML file"
        )
        raise CaseError(message)
    kept = {key: values[key] for key in ("embed_dim", "text_cfg", "quick_gelu") if key in values}
    model = open_clip.CLIP(**kept, vision_cfg=dict(_IMAGE_TOWER))
    model.transformer.batch_first = False
    for block in model.transformer.resblocks:
        block.attn.batch_first = False
    return model


def _load(engine: Engine, file: Path) -> None:
    """Load the checkpoint, strictly."""
    try:
        state = load_file(file)
    except (OSError, SafetensorError) as error:
        message = f"{file} cannot be read as safetensors: {error}"
        raise CaseError(message) from error
    state = {engine.native(name): value for name, value in state.items() if not name.endswith(_NOT_IN_FILE)}
    wanted = {name: value for name, value in engine.module.state_dict().items() if not name.endswith(_NOT_IN_FILE)}
    problems = [f"missing {name}" for name in sorted(wanted.keys() - state.keys())]
    problems += [f"unexpected {name}" for name in sorted(state.keys() - wanted.keys())]
    problems += [
        f"shape of {name}: file {list(value.shape)}, model {list(wanted[name].shape)}"
        for name, value in state.items()
        if name in wanted and value.shape != wanted[name].shape
    ]
    if problems:
        shown = "\n  ".join(problems[:20])
        message = f"{file}: {len(problems)} tensors do not fit the configuration:\n  {shown}"
        raise CaseError(message)
    engine.module.load_state_dict(state, strict=False)
