"""All that the harness knows of MindSpore: hooks, tensors, provenance, the platform's own rounding.

Import it only in the process of a candidate. PyNative runs synchronously: the asynchronous default is 15 to 30
times slower on two cores and gives the same bits.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.errors import AlignmentError, FrameworkMissingError, nearest
from parity.frameworks.floors import measure
from parity.provenance import versions

try:
    import mindspore as ms
    from mindspore import ops
except ImportError as error:
    _message = f"mindspore is not installed ({error}); install this project with the extra [mindspore]"
    raise FrameworkMissingError(_message) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["arrays", "describe", "floors", "observe", "start", "tensor"]


def start(device: str) -> None:
    """Select the device, PyNative and synchronous execution."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    ms.runtime.launch_blocking()
    if ms.get_context("device_target") != device:  # once something has run, even the same device cannot be set again
        ms.set_device(device)


def describe() -> dict[str, Any]:
    """Return the part of the provenance that only MindSpore knows."""
    device = ms.get_context("device_target")
    ascend = ms.get_context("ascend_config") if device == "Ascend" else {}
    return {
        "framework": "mindspore",
        "versions": versions("mindspore", "mindone", "safetensors", "tokenizers"),
        "device": device,
        "synchronous": True,
        "deterministic": ms.get_context("deterministic"),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "precision_mode": ascend.get("precision_mode"),
        "hf32": {"matmul": ascend.get("matmul_allow_hf32"), "conv": ascend.get("conv_allow_hf32")},
    }


def arrays(value: Any, key: str = "") -> dict[str, np.ndarray]:
    """Return the arrays of a tensor, tuple, list or dictionary by their dotted key; None and the rest are left out."""
    if isinstance(value, ms.Tensor):
        return {key: value.asnumpy()}
    parts: Any = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, (tuple, list)):
        parts = enumerate(value)
    found: dict[str, np.ndarray] = {}
    for name, part in parts:
        found |= arrays(part, f"{key}.{name}" if key else str(name))
    return found


def tensor(array: np.ndarray) -> ms.Tensor:
    """Return a tensor that owns a copy of `array`; 2.7 refuses a type whose byte order is spelled out."""
    return ms.Tensor(array.astype(array.dtype.type, order="C"))


@contextmanager
def observe(
    cells: Mapping[str, ms.nn.Cell], natives: Sequence[str], seen: Callable[[str, Any, Any], Any]
) -> Iterator[None]:
    """Call `seen(native, inputs, output)` after each call of the named cells; an array it returns replaces the output.

    Raises:
        AlignmentError: a named cell does not exist.
    """
    handles = []
    try:
        for native in natives:
            if native not in cells:
                message = f"the candidate has no cell {native!r}{nearest(native, cells)}; its alignment table names it"
                raise AlignmentError(message)
            handles.append(cells[native].register_forward_hook(_hook(native, seen)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(native: str, seen: Callable[[str, Any, Any], Any]) -> Callable[..., Any]:
    def hook(_cell: Any, inputs: Any, output: Any) -> Any:
        replacement = seen(native, inputs, output)
        return None if replacement is None else tensor(replacement)

    return hook


def floors(dtype: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return kind -> dtype -> {rel_l2, rel_max}: the error of each operator by itself against float64."""
    kind = getattr(ms, dtype)

    def through(operator: Callable[..., ms.Tensor]) -> Callable[..., np.ndarray]:
        def run(*arrays: np.ndarray) -> np.ndarray:
            result = operator(*(ms.Tensor(array.astype(np.float32)).astype(kind) for array in arrays))
            return np.asarray(result.astype(ms.float32).asnumpy(), np.float64)

        return run

    return measure({name: through(operator) for name, operator in _operators().items()}, dtype)


def _operators() -> dict[str, Callable[..., ms.Tensor]]:
    """Return how MindSpore computes each kind of operator."""
    return {
        "exp": ops.exp,
        "tanh": ops.tanh,
        "sigmoid": ops.sigmoid,
        "silu": ops.silu,
        "quick_gelu": lambda x: x * ops.sigmoid(x * ms.Tensor(1.702, x.dtype)),
        "gelu": lambda x: ops.gelu(x, approximate="none"),
        "sin": ops.sin,
        "cos": ops.cos,
        "softmax": lambda x: ops.softmax(x, axis=-1),
        "linear": ops.MatMul(transpose_b=True),
        "conv": lambda x, weight: ops.conv2d(x, weight, padding=1, pad_mode="pad"),
        "layer_norm": _layer_norm,
        "group_norm": _group_norm,
        "attention": _attention,
    }


def _group_norm(x: ms.Tensor) -> ms.Tensor:
    """Group normalisation without weights."""
    ones = ops.ones(x.shape[1:2], x.dtype)
    return ops.group_norm(x, 32, ones, ones - ones, 1e-5)


def _layer_norm(x: ms.Tensor) -> ms.Tensor:
    """Layer normalisation without weights."""
    ones = ops.ones(x.shape[-1:], x.dtype)
    return ops.LayerNorm(begin_norm_axis=-1, begin_params_axis=-1, epsilon=1e-5)(x, ones, ones - ones)[0]


def _attention(query: ms.Tensor, key: ms.Tensor, value: ms.Tensor) -> ms.Tensor:
    """Scaled dot-product attention as a port composes it."""
    scores = ops.BatchMatMul(transpose_b=True)(query * ms.Tensor(query.shape[-1] ** -0.5, query.dtype), key)
    return ops.BatchMatMul()(ops.softmax(scores, axis=-1), value)
