"""The compiled loops give what numpy gives: the same verdicts, maxima, places and words; sums to 1e-6."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.distance import fast
from parity.distance.measure import measure
from parity.distance.sums import Distances
from parity.distance.tensor import Tensor
from parity.distance.ulp import largest_ulps, some_beyond_ulps
from parity.distance.where import locate
from parity.dtypes import bits, narrow, widen
from parity.selftest import SEED, corpus, judged

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("numba", reason="the compiled path needs the extra [fast]")

DISTANCES = [name for name, value in vars(Distances).items() if isinstance(value, property)]
FLOATS = ["float64", "float32", "float16", "bfloat16"]
SUMS = {"rel_l2", "cosine", "error_rms", "scale", "floor_rms", "floor_max", "ratio_to_floor", "reference_rms"}
SPECIAL = [0.0, -0.0, 1e-45, 1e-320, 65504.0, 1e30, -3e38, 1e200, math.inf, -math.inf, math.nan]


def compiled(function, *arguments):
    """What a function gives by the compiled loops, however small the tensors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "WORTH", 1)
        return function(*arguments, compiled=True)


def same(first: object, second: object) -> bool:
    """Equal, NaN too."""
    return first == second or (first != first and second != second)  # noqa: PLR0124 - NaN


def close(first: float, second: float, least: float = 5e-324) -> bool:
    return same(first, second) or math.isclose(first, second, rel_tol=1e-6, abs_tol=least)


def agree(one, other, sums: set[str]) -> None:
    """Equal, sums to 1e-6; a cosine, whose products may cancel, to 1e-6 of the vectors' norms."""
    names = DISTANCES if isinstance(one, Distances) else one.__struct_fields__
    for name in names:
        value = getattr(one, name)
        got = getattr(other, name)
        if name in sums and value is not None and got is not None:
            assert close(value, got, 1e-6 if name == "cosine" else 5e-324), (name, one, other)
        else:
            assert same(value, got), (name, one, other)


@pytest.mark.parametrize("seed", [SEED, 11])
def test_the_whole_corpus_is_judged_alike(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    specimens = corpus(seed)
    monkeypatch.setattr("parity.compare.work.LARGEST", 0)  # no batches, which are numpy's
    slow = judged(specimens)
    monkeypatch.setattr(fast, "WORTH", 1)
    monkeypatch.setattr(fast, "WORTH_BYTES", 0)
    quick = judged(specimens)
    assert quick.keys() == slow.keys()
    for name, pair in slow.items():
        for field, value in msgspec.structs.asdict(pair).items():
            got = getattr(quick[name], field)
            if field in SUMS and isinstance(value, float) and isinstance(got, float):
                assert close(got, value), (name, field)
            elif field != "limit":  # words made of the floor, in three digits
                assert got == value, (name, field)


def draw_pair(data: st.DataObject, count: int) -> list[Tensor]:
    """Tensors of one shape in any types, some elements far off, some not finite."""
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=0, max_size=4)))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    base = rng.standard_normal(shape) * data.draw(st.sampled_from([1.0, 1e-20, 1e-40, 1e25]))
    found = []
    for number in range(count):
        name = found[1].dtype if number > 1 else data.draw(st.sampled_from(FLOATS))
        values = np.atleast_1d(base * (1 + data.draw(st.sampled_from([0.0, 1e-6, 0.1])) * rng.standard_normal(shape)))
        for special in data.draw(st.lists(st.sampled_from(SPECIAL), max_size=2)):
            values.flat[rng.integers(values.size)] = special
        with np.errstate(over="ignore", under="ignore"):
            stored = narrow(values, name).reshape(shape)
        found.append(Tensor(np.asfortranarray(stored) if data.draw(st.booleans()) else stored, name))
    return found


@given(st.data())
def test_any_pair_has_the_same_distances(data: st.DataObject) -> None:
    tensors = draw_pair(data, data.draw(st.sampled_from([2, 3])))
    sums = {"scale", "error_rms", "rel_l2", "max_rel", "working_rms", "cosine"}
    agree(compiled(measure, *tensors), measure(*tensors), sums)


@given(st.data())
def test_any_error_has_the_same_place(data: st.DataObject) -> None:
    exact, candidate = draw_pair(data, 2)
    limit = data.draw(st.sampled_from([0.0, 1e-30, 1e-3, 0.3, 1e24, 1e300]))
    cosine = data.draw(st.sampled_from([None, 1.0]))
    given_ = exact, candidate, limit, cosine
    agree(compiled(locate, *given_), locate(*given_), {"cosine"})


@given(st.data())
def test_any_pair_has_the_same_ulps(data: st.DataObject) -> None:
    exact, candidate = draw_pair(data, 2)
    assert compiled(largest_ulps, exact, candidate) == largest_ulps(exact, candidate)
    limit, allowed = data.draw(st.sampled_from([0.0, 1e-3, 1e20])), data.draw(st.sampled_from([0.5, 4.0, 1e6]))
    given_ = (exact, candidate, limit, min(exact.dtype, candidate.dtype, key=bits), allowed)
    assert compiled(some_beyond_ulps, *given_) == some_beyond_ulps(*given_)


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize(
    "changed",
    [
        (0, 3),
        (1, 200),
        (slice(None), slice(5, 90)),
        (1, ..., 0, slice(None)),
        (..., 39),
        (1, 7, ..., slice(3, None, 9)),
    ],
)
def test_large_tensors_of_several_blocks_agree(name: str, changed: tuple[object, ...]) -> None:
    shape = (2, 320, 33, 40)
    x = narrow(np.random.default_rng(1).standard_normal(shape), name)
    c = narrow(widen(x, name) * 1.001, name)
    c[changed] = narrow(np.array([3.0]), name)[0]
    pair = Tensor(x, name), Tensor(c, name)
    assert fast.kernels_for(*pair, compiled=True) is not None
    agree(measure(*pair, compiled=True), measure(*pair), {"scale", "error_rms", "rel_l2", "max_rel"})
    found = locate(*pair, 0.5, compiled=True)
    assert 0 < found.outside < x.size
    agree(found, locate(*pair, 0.5), {"cosine"})


COMPARES = """
import sys
from parity.compare import compare
from parity.distance import fast
from parity.trace import Trace
fast.WORTH_BYTES = int(sys.argv[3])
compare(Trace.open(sys.argv[1]), [Trace.open(sys.argv[2])])
print("numba" in sys.modules)
"""


@pytest.mark.parametrize(
    ("worth_bytes", "environment", "loaded"), [(2**29, {}, False), (0, {}, True), (0, {"PARITY_COMPILED": "0"}, False)]
)
def test_the_size_of_a_comparison_alone_decides_whether_numba_is_imported(
    worth_bytes: int, environment: dict[str, str], loaded: object, tmp_path: Path
) -> None:
    for side in ("reference", "candidate"):
        (tmp_path / side).mkdir()
        np.save(tmp_path / side / "layer.npy", np.ones(fast.WORTH, np.float32))
    arguments = [sys.executable, "-c", COMPARES, tmp_path / "reference", tmp_path / "candidate", str(worth_bytes)]
    ran = subprocess.run(arguments, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    assert ran.stdout.strip() == str(loaded)


def test_small_tensors_take_no_compiled_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (Tensor(np.ones(size, np.float32), "float32") for size in (fast.WORTH - 1, fast.WORTH))
    loops = fast.kernels()
    assert fast.kernels_for(one, compiled=True) is fast.kernels_for(other, compiled=False) is None
    assert fast.kernels_for(other, compiled=True) is loops
    monkeypatch.setattr(loops, "KNOWN", {"float64"})
    assert fast.kernels_for(other, compiled=True) is None


def test_loops_that_do_not_keep_every_sum_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "_SUMS", (*fast._SUMS, "cubes"))
    fast.kernels.cache_clear()
    try:
        assert fast.kernels() is None
    finally:
        fast.kernels.cache_clear()
