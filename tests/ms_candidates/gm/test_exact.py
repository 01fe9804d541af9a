"""float64 from outside: cells without an exact kernel, Python numbers, and types that a module names."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.mindspore

# In a process of its own: Python numbers are met in the operators of every tensor.
PROGRAM = """
import json
import sys
import types
import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from parity.frameworks import mindspore_
from ms_candidates.gm import checkout, exact
mindspore_.start("CPU")
module = types.ModuleType("gm.util.util")
exec("import mindspore as ms\\ndef widened(x):\\n    return x.astype(ms.float32)", vars(module))
sys.modules["gm.util.util"] = module
random = np.random.default_rng(0)
image = random.standard_normal((1, 8, 6, 5)) * 0.01
root = nn.SequentialCell(
    nn.Conv2d(8, 8, 3, stride=2, padding=1, pad_mode="pad", has_bias=True), nn.GroupNorm(4, 8, eps=1e-6),
    nn.LayerNorm([3], epsilon=1e-5),
)
weights = {}
for name, parameter in root.parameters_and_names():
    weights[name] = random.standard_normal(parameter.shape).astype(np.float32).astype(np.float64)
    parameter.set_data(Tensor(weights[name].astype(np.float32)))
before = module.widened(Tensor(image)).dtype == ms.float32
exact.lift_types("float64")
exact.lift_cells(root)
def relative(found, want):
    return float(np.linalg.norm(found.asnumpy() - want) / np.linalg.norm(want))
w, b = weights["0.weight"], weights["0.bias"]
padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)))
want = np.stack([[np.einsum("bcij,ocij->bo", padded[:, :, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3], w) + b for x in range(3)] for y in range(3)])
want = want.transpose(2, 3, 0, 1)
errors = {"convolution": relative(root[0](Tensor(image)), want)}
def normal(x, eps, axes):
    centred = x - x.mean(axis=axes, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + eps)
grouped = normal(want.reshape(1, 4, -1), 1e-6, -1).reshape(want.shape)
grouped = grouped * weights["1.gamma"].reshape(1, -1, 1, 1) + weights["1.beta"].reshape(1, -1, 1, 1)
errors["group norm"] = relative(root[1](Tensor(want)), grouped)
errors["layer norm"] = relative(root[2](Tensor(want)), normal(want, 1e-5, -1) * weights["2.gamma"] + weights["2.beta"])
root[2].epsilon = 1e-3
errors["layer norm with another epsilon"] = relative(root[2](Tensor(want)), normal(want, 1e-3, -1) * weights["2.gamma"] + weights["2.beta"])
x = Tensor(image)
errors["numbers"] = max(relative(x * 0.1, image * 0.1), relative(0.1 / (x + 3.3), 0.1 / (image + 3.3)), relative((x + 2.7) ** 0.3, (image + 2.7) ** 0.3))
lifted = module.widened(x).dtype == ms.float64
exact.lift_types("float32")
restored = module.widened(x).dtype == ms.float32 and module.ms is ms
print(json.dumps([errors, before, lifted, restored]))
"""


@pytest.fixture(scope="module")
def found():
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


def test_cells_and_numbers_are_exact_in_float64(found):
    errors = found[0]
    assert set(errors) == {"convolution", "group norm", "layer norm", "layer norm with another epsilon", "numbers"}
    assert {name: error for name, error in errors.items() if error > 1e-13} == {}


def test_a_module_s_float32_is_float64_while_a_float64_model_is_in_use_and_float32_again_after(found):
    assert found[1:] == [True, True, True]
