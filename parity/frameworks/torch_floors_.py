"""torch's operators by themselves against float64: the reference's side of what a platform costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from parity.frameworks.floors import measure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

__all__ = ["floors"]

_OPERATORS: Mapping[str, Callable[..., torch.Tensor]] = {
    "exp": torch.exp,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "gelu": functional.gelu,
    "sin": torch.sin,
    "cos": torch.cos,
    "softmax": lambda x: torch.softmax(x, dim=-1),
    "linear": functional.linear,
    "conv": lambda x, weight: functional.conv2d(x, weight, padding=1),
    "layer_norm": lambda x: functional.layer_norm(x, x.shape[-1:], eps=1e-5),
    "group_norm": lambda x: functional.group_norm(x, 32, eps=1e-5),
    "attention": functional.scaled_dot_product_attention,
}


def floors(dtype: str, device: torch.device | str = "cpu") -> dict[str, dict[str, dict[str, float]]]:
    """Return kind -> dtype -> {rel_l2, rel_max}: the error of each operator by itself against float64.

    The switches in force (TF32, the backend of attention) count, so measure under those of the recording.
    """

    def through(operator: Callable[..., torch.Tensor]) -> Callable[..., np.ndarray]:
        def run(*arrays: np.ndarray) -> np.ndarray:
            given = (torch.from_numpy(array).to(device, getattr(torch, dtype)) for array in arrays)
            with torch.no_grad():
                result: np.ndarray = operator(*given).double().cpu().numpy()
            return result

        return run

    return measure({kind: through(operator) for kind, operator in _OPERATORS.items()}, dtype)
