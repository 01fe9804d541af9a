"""Traces under native names: addresses, parts of fused parameters, and a real MindSpore cell."""

import numpy as np
import pytest

from parity.digests import digest
from parity.errors import InputError
from parity.mapping.native import native_digests, native_trace
from parity.trace import Trace
from tests.parity.mapping import made


@pytest.fixture
def reference(tmp_path):
    """A recorded reference."""
    return made.reference_trace(tmp_path / "reference", made.compute(1, 0))


def test_calls_are_counted_within_their_step(tmp_path, reference):
    one = np.zeros(2, np.float32)
    with native_trace(
        tmp_path / "native", reference, [], name="n", dtype="float32", modules={}, provenance={}
    ) as run:  # fmt: skip
        run.cell("encoder", {"": one})
        run.cell("encoder", {"0": one, "1.a": one})
        run.step(0)
        run.cell("unet", {"": one})
        run.function("scheduler.step", {"output": one})
        run.step(1)
        run.cell("unet", {"": one})
    trace = Trace.open(tmp_path / "native")
    assert list(trace.run("free-float32")) == [
        "encoder@call=0:output", "encoder@call=1:output.0", "encoder@call=1:output.1.a", "unet@step=0,call=0:output",
        "scheduler.step@step=0,call=0:output", "unet@step=1,call=0:output",
    ]  # fmt: skip
    assert trace.manifest.reference_digest == reference.digest
    assert trace.manifest.alignment is None


def test_parts_and_narrower_types_are_digested(tmp_path):
    fused = np.arange(24, dtype=np.float64).reshape(6, 4) / 7.0
    found = native_digests(fused, "float64")
    assert found["part1of3/own"] == digest(fused[2:4])
    assert found["part0of2/float32"] == digest(fused[:3].astype(np.float32))
    assert found["identity/float16"] == digest(fused.astype(np.float16))
    assert "part0of3/own" not in native_digests(np.zeros((4, 4)), "float64")


def test_a_type_that_is_none_is_refused(tmp_path, reference):
    with (
        pytest.raises(InputError, match="no floating type"),
        native_trace(tmp_path / "n", reference, [], name="n", dtype="int32", modules={}, provenance={}),
    ):
        pass


@pytest.fixture
def cell():
    """A MindSpore cell with a loop: an embedding outside, and a body that two steps call."""
    mindspore = pytest.importorskip("mindspore")
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE, device_target="CPU")
    nn = mindspore.nn

    class Body(nn.Cell):
        def __init__(self):
            super().__init__()
            self.inner = nn.Dense(3, 3)
            self.act = nn.ReLU()

        def construct(self, x):
            return self.act(self.inner(self.act(x)))

    class Whole(nn.Cell):
        def __init__(self):
            super().__init__()
            self.first = nn.Dense(2, 3)
            self.body = Body()
            self.last = nn.Dense(3, 2)

        def construct(self, x):
            return self.last(self.body(self.body(self.first(x))))

    return mindspore, Whole()


@pytest.mark.mindspore
def test_any_cell_is_recorded_under_its_own_names(tmp_path, reference, cell):
    mindspore, whole = cell
    from parity.frameworks.mindspore_native_ import record_cell

    given = mindspore.Tensor(np.ones((1, 2), np.float32))
    plain = whole(given).asnumpy()
    with record_cell(whole, tmp_path / "native", reference=reference, dtype="float32", loop="body"):
        recorded = whole(given).asnumpy()
    assert np.array_equal(plain, recorded)
    assert not any(each._forward_hook or each._forward_pre_hook for _, each in whole.cells_and_names())
    trace = Trace.open(tmp_path / "native", verify=True)
    body = ["body.act@step={},call=0:output", "body.inner@step={},call=0:output", "body.act@step={},call=1:output"]
    assert list(trace.run("free-float32")) == [
        "first@call=0:output",
        *(text.format(step) for step in (0, 1) for text in (*body, "body@step={},call=0:output")),
        "last@call=0:output", "root@call=0:output",
    ]  # fmt: skip
    assert np.array_equal(trace.run("free-float32").tensor("root@call=0:output"), plain)
    assert set(trace.manifest.weights) == {
        f"{path}:{name}" for path in ("first", "body.inner", "last") for name in ("weight", "bias")
    }
    assert trace.manifest.modules["body.inner"] == "Dense"


@pytest.mark.mindspore
def test_a_loop_that_is_no_cell_is_an_error(tmp_path, reference, cell):
    _, whole = cell
    from parity.frameworks.mindspore_native_ import record_cell

    with (
        pytest.raises(InputError, match="no cell 'bodi', did you mean 'body'"),
        record_cell(whole, tmp_path / "native", reference=reference, dtype="float32", loop="bodi"),
    ):
        pass
