"""The reference `diffusers`: a Stable Diffusion XL pipeline, recorded as it runs.

`reference.load` reads an ordinary diffusers folder, real or tiny, and returns a system that runs the case
in the working type, as its float64 twin, step by step, and module by module. Nothing is fetched from a
network.

Limits: text to image with the samplers of `torch_refs.diffusers.samplers`; one pipeline call per case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffusers import StableDiffusionXLPipeline

from parity.case import DIFFUSION
from parity.errors import CaseError, nearest
from parity.frameworks.torch_ import TYPES
from parity.frameworks.torch_policy_ import device_of
from torch_refs.diffusers import samplers
from torch_refs.diffusers.own_call import OwnCall
from torch_refs.diffusers.system import DiffusersSystem
from torch_refs.quiet import quiet

if TYPE_CHECKING:
    from pathlib import Path

    from parity.case import Resolved

__all__ = ["DiffusersReference", "load_pipeline", "reference"]

_DISCRETIZATIONS = ("DiffusersDDPM",)


class DiffusersReference:
    """Loads diffusers' StableDiffusionXLPipeline."""

    name = "diffusers"
    sections = DIFFUSION

    def load(self, resolved: Resolved, *, device: str, dtype: str, source: Path | None = None) -> DiffusersSystem:
        """Return a system on the case's folder, in the working type `dtype`.

        Raises:
            CaseError: the case needs another reference, or its folder is no diffusers folder.
            InputError: there is no such device.
        """
        del source  # diffusers is the installed package
        return DiffusersSystem(load_pipeline(resolved, device, dtype), resolved.case, dtype)

    def adopt(self, pipeline: Any, model: str | Path | None = None) -> OwnCall:
        """Return a reference made of a pipeline in memory and of its next call.

        Raises:
            InputError: the pipeline cannot be recorded.
        """
        return OwnCall(pipeline, model)


reference = DiffusersReference()


def load_pipeline(resolved: Resolved, device: str, dtype: str) -> Any:
    """Return the pipeline that the case describes.

    Raises:
        CaseError: the case needs another reference, or its folder is no diffusers folder.
        InputError: there is no such device.
    """
    case, place = resolved.case, device_of(device)
    if case.model.folder is None:
        message = (
            f"model.file is {case.model.file!r}; the reference diffusers reads a diffusers folder, give model.folder"
        )
        raise CaseError(message)
    if case.image is not None:
        message = "the case has [image], and the reference diffusers is text to image; record it with --reference sgm, or remove [image]"
        raise CaseError(message)
    discretization = case.sampling.discretization
    if discretization not in _DISCRETIZATIONS:
        close = nearest(discretization, _DISCRETIZATIONS)
        message = f"sampling.discretization is {discretization!r}{close}; the reference diffusers has {', '.join(_DISCRETIZATIONS)}"
        raise CaseError(message)
    samplers.of_case(case.sampling.sampler)
    folder = resolved.model_path
    if not (folder / "model_index.json").is_file():
        message = (
            f"{folder} is no diffusers folder: it has no model_index.json; give the folder that save_pretrained wrote"
        )
        raise CaseError(message)
    try:
        with quiet():
            pipeline = StableDiffusionXLPipeline.from_pretrained(
                folder, dtype=TYPES[dtype], local_files_only=True, add_watermarker=False, variant=_variant(folder)
            )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"{folder} cannot be read as an SDXL pipeline: {error}"
        raise CaseError(message) from error
    pipeline.scheduler = samplers.make(pipeline.scheduler.config, case.sampling)
    pipeline.set_progress_bar_config(disable=True)
    with quiet():
        return pipeline.to(place)


def _variant(folder: Path) -> str | None:
    """Return `fp16` when only such weights are in the folder."""
    files = [path.name for path in (folder / "unet").glob("*.safetensors")]
    return "fp16" if files and all(".fp16." in name for name in files) else None
