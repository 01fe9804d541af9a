"""An operator computed in float64, whichever way it is called."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mindspore")

import mindspore as ms
from mindspore import mint, nn, ops
from scipy import special

from parity.frameworks import mindspore_
from parity.frameworks.mindspore_wide_ import widen_operators

pytestmark = pytest.mark.mindspore

EXACT = {
    "exp": np.exp,
    "softmax": lambda x: special.softmax(x, axis=-1),
    "silu": lambda x: x * special.expit(x),
    "sigmoid": special.expit,
    "tanh": np.tanh,
}
CALLS = [
    ("exp", lambda x: ops.exp(x)),  # noqa: PLW0108 - a function that is held here is not found and replaced
    ("exp", ops.Exp()),
    ("exp", lambda x: x.exp()),
    ("softmax", lambda x: ops.softmax(x, axis=-1)),
    ("softmax", ops.Softmax(-1)),
    ("softmax", nn.Softmax(-1)),
    ("softmax", lambda x: mint.nn.functional.softmax(x, dim=-1)),
    ("silu", lambda x: ops.silu(x)),  # noqa: PLW0108 - the same
    ("silu", nn.SiLU()),
    ("sigmoid", nn.Sigmoid()),
    ("tanh", lambda x: x.tanh()),
]


@pytest.mark.parametrize(("kind", "call"), CALLS)
def test_an_operator_is_computed_in_float64_and_rounded(kind, call):
    mindspore_.start("CPU")
    x = np.random.default_rng(0).standard_normal((64, 77)).astype(np.float32)
    want = EXACT[kind](x.astype(np.float64))

    def error():
        result = call(ms.Tensor(x)).asnumpy()
        assert result.dtype == np.float32
        return float(np.sqrt(np.mean((result - want) ** 2) / np.mean(want**2)))

    before = error()
    with widen_operators([kind]):
        assert error() < 4e-8
    assert error() == before > 1e-7


def test_every_operator_has_a_floor_and_the_accurate_ones_are_level():
    mindspore_.start("CPU")
    table = mindspore_.floors("float32")
    assert set(table) >= {"exp", "softmax", "silu", "linear", "conv", "layer_norm", "group_norm", "attention"}
    assert 3e-7 < table["exp"]["float32"]["rel_l2"] < 2e-6
    assert table["sin"]["float32"]["rel_l2"] < 1e-7
