"""What other tools' formulas say about the same pairs, at their own defaults; each restated from its documentation."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parity.dtypes import widen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parity.distance.tensor import Array
    from parity.selftest.specimen import Specimen

__all__ = ["PEERS", "peer_score"]

_COSINE: Final = 0.9999
_CORRELATION: Final = 0.999
_ASSERT_CLOSE: Final = {
    "float64": (1e-7, 1e-7),
    "float32": (1.3e-6, 1e-5),
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
}


def _allclose(a: Array, b: Array, _: str) -> bool:
    """numpy.allclose at 1e-4."""
    return bool(np.allclose(b, a, rtol=1e-4, atol=1e-4))


def _assert_close(a: Array, b: Array, name: str) -> bool:
    """The tolerances of torch.testing.assert_close by type."""
    rtol, atol = _ASSERT_CLOSE.get(name, (0.0, 0.0))
    return a.shape == b.shape and bool((np.abs(b - a) <= atol + rtol * np.abs(a)).all())


def _cosine(a: Array, b: Array, _: str) -> bool:
    """Cosine similarity above 0.9999."""
    first, second = a.reshape(-1), b.reshape(-1)
    return bool(abs(np.vdot(first, second)) / (np.linalg.norm(first) * np.linalg.norm(second)) > _COSINE)


def _correlation(a: Array, b: Array, _: str) -> bool:
    """Pearson's correlation of at least 0.999."""
    return bool(np.corrcoef(a.reshape(-1), b.reshape(-1))[0, 1] >= _CORRELATION)


PEERS: Final[dict[str, Callable[[Array, Array, str], bool]]] = {
    "numpy allclose 1e-4": _allclose,
    "assert_close by type": _assert_close,
    "cosine > 0.9999": _cosine,
    "correlation >= 0.999": _correlation,
}


def peer_score(name: str, specimens: Sequence[Specimen]) -> dict[str, Any]:
    """Return what the formula `name` gets wrong. A formula has no flags, so a pass of an odd pair is a silence."""
    wrong: dict[str, list[str]] = {"fault": [], "healthy": [], "flagged": [], "crash": []}
    for specimen in specimens:
        if specimen.reference is None or specimen.candidate is None:
            continue
        a, b = _wide(specimen.reference, specimen.reference_type), _wide(specimen.candidate, specimen.candidate_type)
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                passes = PEERS[name](a, b, specimen.reference_type)
        except ValueError:
            wrong["crash"].append(specimen.name)
            continue
        if passes != (specimen.answer == "healthy"):
            wrong[specimen.answer].append(specimen.name)
    return {
        "false_passes": wrong["fault"],
        "false_alarms": wrong["healthy"],
        "silences": wrong["flagged"],
        "crashes": wrong["crash"],
    }


def _wide(array: Array, name: str) -> Array:
    """Return the elements as these formulas see them."""
    if array.dtype.kind == "c" or name == "int64":
        return array.astype(np.complex128) if array.dtype.kind == "c" else array
    return widen(array, name)
