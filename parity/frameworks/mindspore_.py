"""All that the harness knows of MindSpore: hooks, tensors, provenance, the platform's own rounding.

Import it only in the process of a candidate. PyNative runs synchronously: the asynchronous default is 15 to 30
times slower on two cores and gives the same bits.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from parity.errors import AlignmentError, FrameworkMissingError, nearest
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
    """Return a tensor that owns a copy of `array`."""
    return ms.Tensor(np.array(array, order="C"))


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
    """Return kind -> dtype -> {rel_l2, rel_max}: the error of each operator by itself against float64.

    Each operator is measured at several scales and lengths that occur in SDXL; the largest error counts.
    `rel_max` is the largest absolute error relative to the rms of the exact result.
    """
    random = np.random.default_rng(0)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for kind, (computed, exact, scales) in _operators(dtype).items():
        worst = {"rel_l2": 0.0, "rel_max": 0.0}
        for scale in scales:
            sample = (random.standard_normal((64, 1280)) * scale).astype(dtype)
            want = exact(sample.astype(np.float64))
            error = computed(ms.Tensor(sample)).asnumpy().astype(np.float64) - want
            rms = float(np.sqrt(np.mean(want**2)))
            worst["rel_l2"] = max(worst["rel_l2"], float(np.sqrt(np.mean(error**2))) / rms)
            worst["rel_max"] = max(worst["rel_max"], float(np.abs(error).max()) / rms)
        found[kind] = {dtype: worst}
    return found


def _operators(
    dtype: str,
) -> dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray], np.ndarray], tuple[float, ...]]]:
    """Return kind -> (MindSpore's operator, the same in float64, scales of the input)."""
    scales = (0.03, 0.3, 1.0, 3.0)
    return {
        "silu": (ops.silu, lambda x: x * special.expit(x), scales),
        "quick_gelu": (
            lambda x: x * ops.sigmoid(x * ms.Tensor(np.asarray(1.702, dtype=dtype))),
            lambda x: x * special.expit(1.702 * x),
            scales,
        ),
        "gelu": (lambda x: ops.gelu(x, approximate="none"), lambda x: x * special.ndtr(x), scales),
        "softmax": (lambda x: ops.softmax(x, axis=-1), lambda x: special.softmax(x, axis=-1), scales),
        "exp": (ops.exp, np.exp, (0.03, 0.3, 1.0)),
        "tanh": (ops.tanh, np.tanh, scales),
        "sigmoid": (ops.sigmoid, special.expit, scales),
    }
