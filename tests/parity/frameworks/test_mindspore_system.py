"""What all systems of MindSpore cells have in common: cells by path, tensors, hooks, and which edit goes where."""

from __future__ import annotations

import numpy as np
import pytest

from parity.errors import AlignmentError
from parity.repair import AttributeEdit, PrecisionEdit, WeightEdit
from parity.trace import Manifest

pytestmark = pytest.mark.mindspore
ms = pytest.importorskip("mindspore")
MANIFEST = Manifest(side="reference", name="r", case={"prompt": {}}, case_digest="c")


@pytest.fixture
def system():
    """A program of two layers in half precision, which notes its edits."""
    from parity.frameworks.mindspore_system_ import MindSporeSystem, cells_of

    class Noting(MindSporeSystem):
        def edit_weight(self, edit):
            edits.append(edit)

        def edit_attribute(self, edit):
            edits.append(edit)

    edits = []
    ms.set_context(mode=ms.PYNATIVE_MODE, device_target="CPU")
    root = ms.nn.SequentialCell(ms.nn.Dense(2, 3), ms.nn.ReLU())
    made = Noting(cells_of({"unet": root}), "float16", MANIFEST)
    made.noted = edits
    return made


def test_cells_are_named_by_their_part_and_path(system):
    assert set(system.cells) == {"unet", "unet.0", "unet.1"}
    assert (system.dtype, system.type, system.case) == ("float16", ms.float16, {"prompt": {}})


@pytest.mark.parametrize(
    ("given", "dtype"),
    [(np.float64, "Float16"), (np.float32, "Float16"), (np.int64, "Int32"), (np.uint8, "Int32"), (np.bool_, "Bool")],
)
def test_an_array_becomes_a_tensor_of_the_systems_type_and_integers_of_one_that_operators_take(system, given, dtype):
    tensor = system.native(np.ones((2, 2), given))
    assert str(tensor.dtype) == dtype
    assert str(system.native(np.ones(2, np.float64), ms.float32).dtype) == "Float32"
    assert system.native("a text") == "a text"


def test_integers_stay_where_a_system_says_so(system):
    system.integers = None
    assert str(system.native(np.ones(2, np.int64)).dtype) == "Int64"


def test_hooks_see_each_call_and_may_replace_its_output(system):
    seen = []

    def note(native, inputs, output):
        seen.append((native, *system.numpy(inputs), *system.numpy(output)))
        return np.full((1, 3), 7.0, np.float32) if native == "unet.0" else None

    with system.observe(["unet.0", "unet.1"], note):
        output = system.cells["unet"](ms.Tensor(np.ones((1, 2), np.float32)))
    assert seen == [("unet.0", "0", ""), ("unet.1", "0", "")]
    assert np.array_equal(output.asnumpy(), np.full((1, 3), 7.0))
    system.cells["unet"](ms.Tensor(np.ones((1, 2), np.float32)))
    assert len(seen) == 2


def test_a_cell_that_is_not_there_is_refused_with_the_nearest(system):
    with (
        pytest.raises(AlignmentError, match=r"no cell 'unet\.2', did you mean 'unet\.[01]'"),
        system.observe(["unet.0", "unet.2"], print),
    ):
        pass


def test_edits_of_weights_and_attributes_are_the_programs_and_those_of_operators_are_the_same_for_all(system):
    weight = WeightEdit(address="unet.0:weight", change="flip0")
    attribute = AttributeEdit(path="unet.0", name="eps", value=1.0)
    for edit in (weight, attribute, PrecisionEdit(operators=("exp",))):
        system.apply(edit)
    assert system.noted == [weight, attribute]
    x = np.linspace(-3, 3, 50, dtype=np.float32)
    assert np.array_equal(ms.ops.exp(ms.Tensor(x)).asnumpy(), np.exp(x.astype(np.float64)).astype(np.float32))
    system._edits.close()
