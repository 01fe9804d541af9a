"""The block of `blocks_torch` in `mindone_sdxl`'s classes, as a candidate."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.adapters.cells import CellCandidate
from parity.adapters.plants import Plant
from parity.trace.schema import Row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from parity.replay import Request

HEAD, CONTEXT, EMBEDDING = 64, 2048, 1280
RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "dropout": "out_layers.2", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
NORMS = {"gamma": "weight", "beta": "bias"}
ACTIVATIONS = ("in_layers.1", "emb_layers.0", "out_layers.1")
"""The three calls of a residual block's one activation, in their order."""


class BlockCandidate(CellCandidate):
    """One block of `mindone_sdxl`."""

    name = "block"

    def pipeline(self, request: Request) -> Any:
        """Make the block, load its weights, and build in a fault where one is planted."""
        import mindspore as ms

        from mindone_sdxl.attention import SpatialTransformer
        from mindone_sdxl.unet import ResBlock

        known = json.loads((request.model / "block.json").read_text(encoding="utf-8"))
        dtype, channels = getattr(ms, request.dtype), known["channels"]
        if known["kind"] == "transformer":
            block: Any = SpatialTransformer(
                channels, CONTEXT, channels // HEAD, 1, num_groups=32, linear_projection=True, dtype=dtype
            )
        else:
            block = ResBlock(channels, 2 * channels, EMBEDDING, num_groups=32, norm_eps=1e-6, dtype=dtype)
        held = np.load(request.model / "weights.npz")
        recorded = request.manifest.case["precision"]["dtype"]  # the twin computes with weights that were rounded to it
        parameters = {}
        for path, cell in block.cells_and_names():
            for name, parameter in cell.parameters_and_names(expand=False):
                parameters[f"{path}.{NORMS.get(name, name)}"] = parameter
        for name in held.files:
            path, _, last = name.rpartition(".")
            native = f"{RESNET.get(path, path)}.{last}"
            parameters[native].set_data(ms.Tensor(held[name].astype(recorded)).astype(dtype))
        Plant.of(request.plant).model(block)
        return block

    def parts(self, pipeline: Any) -> Mapping[str, Any]:
        """Return the block."""
        return {"unet": pipeline}

    def run(self, pipeline: Any, **inputs: Any) -> Any:
        """Run the block."""
        return pipeline(*inputs.values())

    def rows(self, request: Request) -> Sequence[Row]:
        """Return a row for every module: no operator's own term but an activation's, as in `mindone_sdxl`'s table."""
        modules = request.manifest.modules
        found = [Row(path="pipeline", native="pipeline", function=True)]
        for path, kind in modules.items():
            if path == "unet":
                found.append(Row(path=path, native=path, port="output.0" if kind == "Transformer2DModel" else "output"))
            elif path == "unet.nonlinearity":
                for call, native in enumerate(ACTIVATIONS):
                    found.append(Row(path=path, native=f"unet.{native}", call=call, native_call=0, kind="silu"))
            elif path not in {"pipeline", *self._left_out(modules)}:
                found.append(Row(path=path, native=f"unet.{self._native(path.removeprefix('unet.'))}"))
        return found

    @staticmethod
    def _native(path: str) -> str:
        """Return the cell's own path."""
        return RESNET.get(path, path)

    @staticmethod
    def _left_out(modules: Mapping[str, str]) -> dict[str, str]:
        """Return what is not compared."""
        reasons = {"ModuleList": "container", "Dropout": "identity"}
        return {path: reasons[kind] for path, kind in modules.items() if kind in reasons}

    def alignment(self, request: Request) -> tuple[Sequence[Row], Mapping[str, str]]:
        """Return the rows, and what is not compared."""
        return self.rows(request), self._left_out(request.manifest.modules)

    def build(self, request: Request) -> Any:
        """Load the block in the type of a request."""
        return _system()(self, request)


def _system() -> Any:
    """Return the system, whose class needs the framework."""
    from parity.adapters.mindspore_ import CellSystem

    class BlockSystem(CellSystem):
        """Cells that take their tensors in the reference's order; parameters under the reference's names."""

        def _call(self, native: str, inputs: Mapping[str, Any]) -> Any:
            given = [self.native(each) for each in inputs.values() if isinstance(each, np.ndarray)]
            return self.cells[native](*given)

        def _parameters(self) -> Any:
            names = {f"unet.{native}": f"unet.{path}" for path, native in RESNET.items()}
            for path, cell in self.cells.items():
                for name, parameter in cell.parameters_and_names(expand=False):
                    yield f"{names.get(path, path)}:{NORMS.get(name, name)}", f"{path}.{name}", parameter

    return BlockSystem


candidate = BlockCandidate()
