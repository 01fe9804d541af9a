"""The operators that are put into `mindspore.mint` compute what they replace; in a process of their own, for they stay."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.mindspore

CODE = """
import mindspore as ms
import numpy as np
from mindspore import Tensor, mint, nn
from scipy import special

from ms_candidates.mindone import kernels
from parity.frameworks import mindspore_

mindspore_.start("CPU")
kernels.replace_operators()
random = np.random.default_rng(0)


def near(found, wanted, limit):
    error = np.abs(found.asnumpy().astype(np.float64) - wanted).max() / np.abs(wanted).max()
    assert found.shape == wanted.shape and error <= limit, (found.shape, wanted.shape, error)


def normalised(x, groups, eps):
    rows = x.reshape(x.shape[0] * groups, -1)
    return ((rows - rows.mean(1, keepdims=True)) / np.sqrt(rows.var(1, keepdims=True) + eps)).reshape(x.shape)


near(mint.arange(start=0, end=5, dtype=ms.float32), np.arange(5.0), 0)
assert mint.arange(3).dtype == ms.int64
x = random.standard_normal((2, 8, 5, 4)) * 0.01
near(mint.nn.functional.pad(Tensor(x), (0, 1, 0, 1), mode="constant", value=0), np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1))), 0)
near(mint.nn.functional.gelu(Tensor(x)), x * special.ndtr(x), 1e-15)

cells = nn.CellList([mint.nn.Conv2d(8, 6, 3, stride=2, padding=1), mint.nn.GroupNorm(4, 8, eps=1e-6), mint.nn.LayerNorm(4, eps=1e-5), nn.LayerNorm((4,), epsilon=1e-5)])
for parameter in cells.get_parameters():
    parameter.set_data(Tensor(random.standard_normal(parameter.shape).astype(np.float32)))
convolution, group_norm, layer_norm, other = cells


def convolved(x, weight, bias):
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    places = [(i, j) for i in range(0, 5, 2) for j in range(0, 4, 2)]
    values = [np.einsum("ncij,ocij->no", padded[:, :, i : i + 3, j : j + 3], weight) for i, j in places]
    return np.stack(values, 2).reshape(2, 6, 3, 2) + bias.reshape(1, -1, 1, 1)


def check(dtype, limits):
    given = Tensor(x.astype(dtype))
    wide = [parameter.asnumpy().astype(np.float64) for parameter in cells.get_parameters()]
    near(convolution(given), convolved(x, *wide[:2]), limits[0])
    scaled = normalised(x, 4, 1e-6) * wide[2].reshape(1, -1, 1, 1) + wide[3].reshape(1, -1, 1, 1)
    near(group_norm(given), scaled, limits[1])
    for cell, at in ((layer_norm, 4), (other, 6)):
        near(cell(given), normalised(x, 2 * 8 * 5 // 2, 1e-5) * wide[at] + wide[at + 1], limits[2])


check(np.float32, (1e-6, 1e-5, 1e-5))
kernels.lift_cells(cells)
assert {str(parameter.dtype) for parameter in cells.get_parameters()} == {"Float64"}
check(np.float64, (1e-14, 1e-13, 1e-13))
kernels.lift_types("float64")
near(Tensor(x) * 0.1, x * 0.1, 1e-16)
assert Tensor(x).float().dtype == ms.float64
assert kernels.casts() == ["<string> <module>"]
kernels.lift_types("float32")
assert Tensor(x).float().dtype == ms.float32
"""


def test_replaced_operators_and_lifted_cells_compute_what_they_stand_for():
    finished = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, cwd=ROOT, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]
