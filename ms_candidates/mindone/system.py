"""PyPI's mindone as the harness drives it: its pipeline in one type, free, stage by stage, or one module at a time.

`from_pretrained` loads each part and `StableDiffusionXLPipeline` runs everything; `run` watches it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import mindspore as ms
import numpy as np
from mindspore import Tensor

from ms_candidates.mindone import kernels
from ms_candidates.mindone.attributes import attributes_of, set_attribute
from ms_candidates.mindone.folder import readable
from ms_candidates.mindone.rows import native_of, path_of
from parity.adapters.parameters import in_recorded_type
from parity.adapters.plants import Plant
from parity.errors import InputError, RepairError
from parity.frameworks import mindspore_
from parity.frameworks.mindspore_system_ import MindSporeSystem, cells_of
from parity.repair import relaid
from parity.replay import Parameter

kernels.replace_operators()  # mindone takes some operators when it is imported

from mindone.diffusers import (  # noqa: E402
    AutoencoderKL,
    EulerAncestralDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from mindone.transformers import CLIPTextModel, CLIPTextModelWithProjection  # noqa: E402
from transformers import CLIPTokenizer  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from parity.repair import AttributeEdit, WeightEdit
    from parity.replay import Given, Reporter, Request
    from parity.trace.schema import Row

__all__ = ["MindoneSystem", "build"]

_PARTS: Final = {
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
}
_TYPES: Final = ("float64", "float32", "float16")
_LEAVES: Final = {"gamma": "weight", "beta": "bias", "embedding_table": "weight"}
_SCHEDULER: Final = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type", "timestep_spacing",
    "steps_offset", "trained_betas", "rescale_betas_zero_snr",
)  # fmt: skip


def build(request: Request) -> MindoneSystem:
    """Load the case's diffusers folder, or the one that is given as weights, in one type.

    Raises:
        InputError: the type, the sampler or the folder cannot be used.
    """
    sampling = request.manifest.case["sampling"]
    if request.dtype not in _TYPES:
        message = f"the candidate mindone is replayed in {', '.join(_TYPES)}, not in {request.dtype}; give --dtype"
        raise InputError(message)
    if sampling["sampler"] != "EulerAncestral" or sampling["discretization"] != "DiffusersDDPM":
        message = f"sampler {sampling['sampler']} with {sampling['discretization']} is not replayed in mindone; there is EulerAncestral with DiffusersDDPM"
        raise InputError(message)
    mindspore_.start(request.device)
    plant = Plant.of(request.plant)
    folder = readable(request, plant)
    kernels.lift_types("float32")
    parts, unfilled = _load(folder, request.dtype)
    kernels.lift_types(request.dtype)
    pipeline = StableDiffusionXLPipeline(
        **parts,
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        tokenizer_2=CLIPTokenizer.from_pretrained(folder / "tokenizer_2"),
        scheduler=EulerAncestralDiscreteScheduler.from_pretrained(folder, subfolder="scheduler"),
        force_zeros_for_empty_prompt=json.loads((folder / "model_index.json").read_text())[
            "force_zeros_for_empty_prompt"
        ],
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    if request.dtype == "float16" and pipeline.vae.config.force_upcast:
        pipeline.upcast_vae()
    plant.model(pipeline)
    return MindoneSystem(pipeline, request, unfilled)


def _load(folder: Path, dtype: str) -> tuple[dict[str, Any], set[str]]:
    """Return the loaded parts by name, and the parameters that no tensor of the folder filled."""
    parts: dict[str, Any] = {}
    unfilled: set[str] = set()
    for name, kind in _PARTS.items():
        half = {"mindspore_dtype": ms.float16} if dtype == "float16" else {}
        cell, told = kind.from_pretrained(str(folder / name), output_loading_info=True, **half)
        cell.set_train(False)
        if dtype == "float64":
            kernels.lift_cells(cell)
        parts[name] = cell
        unfilled.update(f"{name}.{parameter}" for parameter in told["missing_keys"])
    return parts, unfilled


class MindoneSystem(MindSporeSystem):
    """The harness's view of a `StableDiffusionXLPipeline` of mindone."""

    integers = None

    def __init__(self, pipeline: Any, request: Request, unfilled: set[str]) -> None:
        """Wrap a loaded pipeline; `unfilled` are parameters that still have their initial values."""
        super().__init__(cells_of({part: getattr(pipeline, part) for part in _PARTS}), request.dtype, request.manifest)
        self.pipeline, self._unfilled = pipeline, unfilled
        self.guidance = float(self.case["sampling"]["guidance"])
        self.guided = self.guidance > 1

    def weights(self) -> Iterable[Parameter]:
        """Yield every parameter in the reference's name; layout and shape are the same."""
        for address, (native, parameter) in self._parameters().items():
            array = in_recorded_type(parameter.asnumpy(), self.manifest, address)
            yield Parameter(address=address, native=native, array=array, loaded=native not in self._unfilled)

    def _parameters(self) -> dict[str, tuple[str, Any]]:
        """Return each parameter with its own name, by the reference's address."""
        found = {}
        for part in _PARTS:
            for name, parameter in getattr(self.pipeline, part).parameters_and_names():
                cell, _, leaf = f"{part}.{name}".rpartition(".")
                address = f"{path_of(cell, self.manifest.modules)}:{_LEAVES.get(leaf, leaf)}"
                found[address] = f"{part}.{name}", parameter
        return found

    def attributes(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the attributes that decide numerics, by the reference's path."""
        modules = self.manifest.modules
        found = {
            path: attributes_of(self.cells[native])
            for path in modules
            if (native := native_of(path, modules)) in self.cells
        }
        config = self.pipeline.scheduler.config
        scheduler = {name: config[name] for name in _SCHEDULER if name in config}
        found["scheduler"] = {"class": type(self.pipeline.scheduler).__name__, **scheduler}
        found["vae"] = {"scaling_factor": self.pipeline.vae.config.scaling_factor}
        found["guidance"] = {"guidance_scale": self.guidance}
        return {path: values for path, values in found.items() if values}

    def provenance(self) -> dict[str, Any]:
        """Return what MindSpore contributes to the provenance, what was replaced, and the casts met in float64."""
        return super().provenance() | {"replaced": kernels.REPLACED, "float32_lifted_in": kernels.casts()}

    def native(self, value: Any, path: str = "", key: str = "") -> Any:
        """Return an array as a tensor in the type in which the part at `path` takes its input `key`."""
        return super().native(value, self._type_of(path, key))

    def _type_of(self, path: str, key: str) -> Any:
        """Return the type of an input: timesteps stay wide beside float16 networks, and so may the autoencoder."""
        if self.dtype == "float16" and key.rpartition(".")[2] in {"timestep", "timesteps"}:
            return ms.float32
        return self.pipeline.vae.dtype if path.startswith(("vae", "postprocess")) else self.type

    def free(self, given: Given, reporter: Reporter) -> None:
        """Run everything from prompts, latents and noise."""
        from ms_candidates.mindone.run import run

        run(self, given, reporter, restart=False)

    def steps(self, given: Given, reporter: Reporter) -> None:
        """Run every stage and step from the reference's tensors at its start."""
        from ms_candidates.mindone.run import run

        run(self, given, reporter, restart=True)

    def layer(
        self, rows: Sequence[Row], inputs: Mapping[str, Any], given: Given, step: int | None
    ) -> Mapping[str, Any]:
        """Run one module or function on recorded inputs."""
        from ms_candidates.mindone.layers import replay

        return replay(self, rows, inputs, given, step)

    def edit_weight(self, edit: WeightEdit) -> None:
        """Change the layout of one parameter.

        Raises:
            RepairError: there is no such parameter.
        """
        known = self._parameters().get(edit.address)
        if known is None:
            message = f"{edit.address} is no parameter of this model; give PATH:PARAMETER of the reference"
            raise RepairError(message)
        edited = relaid(known[1].asnumpy(), edit)
        known[1].set_data(Tensor(np.ascontiguousarray(edited)))

    def edit_attribute(self, edit: AttributeEdit) -> None:
        """Set an attribute of the cell at a path.

        Raises:
            RepairError: it has none of that name.
        """
        cell = self.cells.get(native_of(edit.path, self.manifest.modules))
        if not set_attribute(cell, edit.name, edit.value):
            message = f"{edit.path} has no attribute {edit.name!r} here; it is {type(cell).__name__}"
            raise RepairError(message)
