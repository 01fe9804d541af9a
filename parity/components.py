"""What a program is made of, as its reference declares it: its components, their stages, what its functions run.

The core knows the order of the stages and no component. A reference says which it has when it loads, and the manifest
keeps that, so that every reader of a trace puts an address into the same stage:

    >>> swirl = Components(stages={"words": "conditioning", "net": "unet", "net.step": "sampler"})
    >>> swirl.stage_of("net.layers.0"), swirl.stage_of("net.step"), swirl.stage_of("net.layers.0", "weight")
    ('unet', 'sampler', 'weights')
    >>> swirl.contains("net", "net.layers.0"), swirl.contains("words", "net")
    (True, False)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from parity.address import STAGES
from parity.errors import AddressError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["IMAGE", "STEP", "UNDECLARED", "WHOLE", "Components"]

WHOLE: Final = "pipeline"
"""The path that stands for a program as a whole: what it is given and what it returns."""
STEP: Final = "scheduler.step"
"""The function that makes one step of a loop over noise levels; a program without such a loop has none."""
IMAGE: Final = "postprocess"
"""The function whose output is the picture that a program makes; a program that makes none has none."""


@dataclass(frozen=True, kw_only=True)
class Components:
    """The parts of a program.

    Attributes:
        stages: Component -> stage. A component is a path or the beginning of some; the longest that fits counts.
        functions: Named function -> the modules that it runs, where their paths do not begin with its own.
        joins: Named function -> the paths whose recorded outputs the twin of the function starts from.
    """

    stages: Mapping[str, str]
    functions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    joins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the stages.

        Raises:
            AddressError: there is no such stage.
        """
        for component, stage in self.stages.items():
            if stage not in STAGES:
                close = nearest(stage, STAGES)
                message = f"the component {component!r} has stage {stage!r}{close}; the stages are {', '.join(STAGES)}"
                raise AddressError(message)

    def stage_of(self, path: str, port: str = "output") -> str:
        """Return the stage of a path and port.

        Raises:
            AddressError: the path belongs to no component.
        """
        if port.startswith("attribute."):
            return "attributes"
        if not port.startswith(("input", "output")):
            return "weights"
        return self._stage_of_path(path)

    def check(self, paths: Iterable[str]) -> None:
        """Refuse paths without a stage.

        Raises:
            AddressError: one belongs to no component.
        """
        for path in paths:
            self.stage_of(path)

    def contains(self, path: str, other: str) -> bool:
        """Tell whether the module or named function at `path` runs the one at `other` as a part of it."""
        if path == WHOLE:
            return other != path
        runs = self.functions.get(path, ())
        below = tuple(f"{each}." for each in (path, *runs))
        return other in runs or other.startswith(below)

    @cached_property
    def containers(self) -> Callable[[str], frozenset[str]]:
        """Return the function that names all that contain the module or function at a path; it remembers."""
        return cache(self._containers)

    def _containers(self, path: str) -> frozenset[str]:
        """Name what contains a path: what its own path begins with, the functions that run any of these, the whole."""
        *above, itself = accumulate(path.split("."), "{}.{}".format)
        found = {WHOLE, *above}
        for function, runs in self.functions.items():
            if not found.union([itself]).isdisjoint(runs):
                found.add(function)
        return frozenset(found - {path})

    @cached_property
    def _stage_of_path(self) -> Callable[[str], str]:
        """`_find`, remembering: a recorder asks some hundred thousand times for a few thousand paths."""
        return cache(self._find)

    def _find(self, path: str) -> str:
        """Return the stage of the longest component that the path begins with."""
        beginnings = accumulate(path.split("."), "{}.{}".format)  # a, a.b, a.b.c
        fitting = list(filter(self.stages.__contains__, beginnings))
        if fitting:
            return self.stages[fitting[-1]]
        declared = ", ".join(self.stages) or "none"
        message = f"{path!r} belongs to no component of the reference, which declares {declared}; declare its stage, one of {', '.join(STAGES)}"
        raise AddressError(message)


UNDECLARED: Final = Components(
    stages={
        "tokenizer": "tokens",
        "tokenizer_2": "tokens",
        "text_encoder": "conditioning",
        "text_encoder_2": "conditioning",
        "encode_prompt": "conditioning",
        "add_time_ids": "conditioning",
        "scheduler.set_timesteps": "schedule",
        "prepare_latents": "schedule",
        "unet": "unet",
        "guidance": "guidance",
        "scheduler.scale_model_input": "sampler",
        "scheduler.step": "sampler",
        "scheduler": "schedule",
        "vae": "vae",
        "postprocess": "image",
        "pipeline": "image",
    },
    functions={"vae.decode": ("vae.post_quant_conv", "vae.decoder"), "vae.encode": ("vae.encoder", "vae.quant_conv")},
)
"""What a trace means that declares no components, and a dump: all of them were of Stable Diffusion XL."""
