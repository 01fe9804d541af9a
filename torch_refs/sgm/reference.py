"""The reference `sgm`: Stability-AI's own package, recorded as it runs, without a change of its source.

    parity record case.toml --reference sgm --source generative-models --out trace

The case names a single checkpoint file and its YAML configuration. docs/references.md tells what is hooked, what
stands in for what, and how a recording answers "the same result as Stability-AI with the same weights".

Limits: SDXL base with a DiscreteDenoiser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parity.case import DIFFUSION

if TYPE_CHECKING:
    from pathlib import Path

    from parity.case import Resolved
    from torch_refs.sgm.system import SgmSystem

__all__ = ["SgmReference", "reference"]


class SgmReference:
    """Loads Stability-AI's DiffusionEngine."""

    name = "sgm"
    sections = DIFFUSION

    def load(self, resolved: Resolved, *, device: str, dtype: str, source: Path | None = None) -> SgmSystem:
        """Return a system on the case's checkpoint, in the working type `dtype`.

        Args:
            resolved: The case.
            device: `cpu`, `cuda` or `cuda:N`, of the working run; the twin is on the CPU in any case.
            dtype: The type of the networks.
            source: A checkout of generative-models; None: PARITY_SGM_SOURCE, else the installed package.

        Raises:
            CaseError: the case needs another reference, or its files do not fit each other.
            InputError: there is no such device, or `source` is no checkout.
            FrameworkMissingError: the package or something that it computes with is not installed.
        """
        from parity.frameworks.torch_policy_ import device_of
        from torch_refs.sgm.package import load

        place = device_of(device)
        package = load(source)
        from torch_refs.sgm.engine import build
        from torch_refs.sgm.system import SgmSystem

        return SgmSystem(build(package, resolved, dtype=dtype, device=place), resolved, dtype)


reference = SgmReference()
