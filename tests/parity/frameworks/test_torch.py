"""torch's tensors as arrays, and hooks on small real modules."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from parity.errors import InputError  # noqa: E402
from parity.frameworks.torch_ import (  # noqa: E402
    TYPES,
    Snapshots,
    View,
    flatten,
    observed,
    rebuild,
    to_numpy,
    to_tensor,
    watched,
    wide_tensor,
)
from parity.frameworks.torch_islands_ import IslandFinder  # noqa: E402
from parity.frameworks.torch_policy_ import device_of, exact_float32, policy, provenance, threads  # noqa: E402
from parity.taps import Digests, Filter, Taps  # noqa: E402

pytestmark = pytest.mark.torch


class Memory(Digests):
    """Keeps arrays and values."""

    def tensor(self, address, array, *, dtype=None, **_):
        """Keep a tensor."""
        self.found[address] = (np.array(array), dtype)

    def value(self, address, value, **_):
        """Keep a value."""
        self.found[address] = value


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_every_type_makes_the_round_trip(name, shape):
    tensor = (torch.arange(6).reshape(2, 3) - 1).to(TYPES[name])
    tensor = tensor[0, 0] if shape == () else tensor[:0] if shape == (0, 3) else tensor
    array, found = to_numpy(tensor)
    assert (found, array.shape) == (name, shape)
    assert torch.equal(to_tensor(array, found), tensor)


def test_bfloat16_is_uint16_and_widens_exactly():
    tensor = torch.tensor([1.0, -2.5, float("inf")], dtype=torch.bfloat16)
    array, name = to_numpy(tensor)
    assert array.dtype == np.uint16
    assert wide_tensor(array, name).dtype == torch.float64
    assert wide_tensor(array, name).tolist() == [1.0, -2.5, float("inf")]


def test_an_array_is_a_copy_in_c_order():
    tensor = torch.arange(6.0).reshape(2, 3).T
    array, _ = to_numpy(tensor)
    assert array.flags.c_contiguous
    tensor += 1
    assert array[0, 0] == 0


def test_a_type_without_a_numpy_form_is_an_error():
    with pytest.raises(TypeError, match="cannot be recorded"):
        to_numpy(torch.zeros(1, dtype=torch.float8_e4m3fn))


def test_an_unchanged_tensor_is_copied_once_and_a_changed_one_again():
    snapshots, tensor = Snapshots(), torch.zeros(3)
    first, _ = snapshots(tensor)
    assert snapshots(tensor)[0] is first
    tensor.add_(1)
    assert snapshots(tensor)[0].tolist() == [1, 1, 1]
    assert first.tolist() == [0, 0, 0]


def test_views_of_one_memory_are_told_apart():
    snapshots, tensor = Snapshots(), torch.arange(4.0)
    snapshots(tensor)
    assert snapshots(tensor[:2])[0].tolist() == [0, 1]
    assert snapshots(tensor.reshape(2, 2).T)[0].tolist() == [[0, 2], [1, 3]]


def test_containers_are_flattened_and_rebuilt():
    @dataclass
    class Output:
        sample: object
        more: object = None

    pair = namedtuple("pair", "left right")  # noqa: PYI024
    assert dict(flatten(Output((1, [2.0, "x"])), "output")) == {
        "output.sample.0": 1, "output.sample.1.0": 2.0, "output.sample.1.1": "x", "output.more": None,
    }  # fmt: skip
    assert dict(flatten(pair(1, OrderedDict(a=2)), "p")) == {"p.left": 1, "p.right.a": 2}
    assert dict(flatten(object(), "p")) == dict(flatten({}, "p")) == {}
    nested = {"x": (1, (2, 3)), "y": {"z": None}}
    assert rebuild({port.removeprefix("."): leaf for port, leaf in flatten(nested, "")}) == nested


class Block(torch.nn.Module):
    """A block that calls one activation twice, changes its input in place, and takes all kinds of arguments."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)
        self.act = torch.nn.ReLU()

    def forward(self, hidden, *rest, scale=1.0, extra=None, **others):
        """Return a tuple."""
        del rest, extra, others
        result = self.act(self.linear(hidden)) * scale
        hidden.mul_(2)
        return self.act(result), {"twice": hidden}


def _watch(module, *args, wanted=None, **kwargs):
    """Return what is recorded of one call."""
    sink = Memory()
    modules = {f"unet.{path}" if path else "unet": each for path, each in module.named_modules()}
    taps = Taps(sink, counts={("unet.act", None): 2}, wanted=wanted)
    with watched(modules, taps, Snapshots()):
        module(*args, **kwargs)
    return sink.found


def test_inputs_are_bound_by_name_and_are_those_at_the_beginning_of_the_call():
    block = Block()
    found = _watch(block, torch.ones(1, 2), torch.zeros(1), scale=2.0, extra=None, other={"a": torch.zeros(2)})
    assert [address for address in found if address.startswith("unet:")] == [
        "unet:input.hidden", "unet:input.rest.0", "unet:input.scale", "unet:input.extra", "unet:input.other.a",
        "unet:output.0", "unet:output.1.twice",
    ]  # fmt: skip
    assert found["unet:input.hidden"][0].tolist() == [[1, 1]]
    assert found["unet.linear:input.input"][0].tolist() == [[1, 1]]
    assert found["unet:output.1.twice"][0].tolist() == [[2, 2]]
    assert found["unet:input.scale"] == 2.0
    assert found["unet:input.extra"] is None


def test_children_come_before_parents_and_calls_are_counted():
    found = list(_watch(Block(), torch.ones(1, 2)))
    outputs = [address for address in found if ":output" in address]
    assert outputs == [
        "unet.linear:output",
        "unet.act@call=0:output",
        "unet.act@call=1:output",
        "unet:output.0",
        "unet:output.1.twice",
    ]


def test_hooks_go_even_when_the_module_raises():
    block = Block()
    with pytest.raises(RuntimeError):
        _watch(block, torch.ones(1, 5))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in block.modules())


def test_what_is_not_wanted_is_not_copied(monkeypatch):
    copied = []
    original = Snapshots.__call__
    monkeypatch.setattr(Snapshots, "__call__", lambda self, tensor: (copied.append(tensor), original(self, tensor))[1])
    found = _watch(Block(), torch.ones(1, 2), wanted=Filter(r"unet\.linear:output"))
    assert list(found) == ["unet.linear:output"]
    assert len(copied) == 1


def test_a_named_function_is_reported_with_inputs_learned_inside():
    sink = Memory()
    with observed(
        "scheduler.step", {"sample": torch.zeros(1), "eta": None}, Taps(sink, counts={}), Snapshots()
    ) as seen:
        seen.inputs["noise"] = torch.ones(1)
        seen.outputs[""] = torch.full((1,), 3.0)
        seen.outputs["nothing"] = None
    assert list(sink.found) == [
        "scheduler.step:input.sample", "scheduler.step:input.eta", "scheduler.step:input.noise", "scheduler.step:output",
    ]  # fmt: skip


def test_a_float64_computation_has_no_island_and_a_narrow_one_has():
    def narrow(x):
        return torch.sin(x.to(torch.float32)).to(torch.float64)

    taps = Taps(Memory())
    with IslandFinder(taps) as finder:
        torch.sin(torch.ones(3, dtype=torch.float64)) * torch.arange(3)
    assert finder.islands == []
    with IslandFinder(taps) as finder:
        call = taps.enter("unet.time_proj")
        narrow(torch.ones(3, dtype=torch.float64))
        taps.leave(call)
    assert [(each.path, each.operator, each.function, each.count) for each in finder.islands] == [
        ("unet.time_proj", "aten._to_copy.default", "narrow", 2), ("unet.time_proj", "aten.sin.default", "narrow", 1),
    ]  # fmt: skip
    assert finder.islands[0].file.endswith("frameworks/test_torch.py")


def test_the_recorders_own_copies_are_no_islands():
    linear = torch.nn.Linear(2, 2)
    taps = Taps(Memory())
    with IslandFinder(taps) as finder, watched({"unet.conv_in": torch.nn.Identity()}, taps, Snapshots()):
        Snapshots()(linear.weight)
    assert finder.islands == []


def test_exact_float32_switches_tf32_off_and_puts_it_back():
    torch.backends.cudnn.allow_tf32 = True
    try:
        with exact_float32():
            assert not torch.backends.cudnn.allow_tf32
            assert policy("float32", torch.device("cuda")) == "float32"
        assert torch.backends.cudnn.allow_tf32
        assert policy("float32", torch.device("cuda")) == "tf32"
        assert policy("float16", torch.device("cuda")) == "float16"
        assert policy("float32", torch.device("cpu")) == "float32"
    finally:
        torch.backends.cudnn.allow_tf32 = True


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_provenance_holds_what_changes_numbers():
    found = provenance(torch.device("cpu"))
    assert found["framework"] == "torch"
    assert (
        found["versions"]["torch"] == torch.__version__.split("+")[0] or found["versions"]["torch"] == torch.__version__
    )
    assert {"device", "threads", "allow_tf32", "sdpa", "deterministic", "cudnn"} <= set(found)


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:99", ""])
def test_a_device_that_cannot_be_had_is_an_error(name):
    with pytest.raises(InputError):
        device_of(name)


class _Summing(torch.nn.Module):
    """Takes arguments under names of its own, [tokens, batch, width]."""

    def forward(self, x, other=None, flag=None):  # noqa: ARG002 - the names are what is tested
        return x + x


def test_a_view_reports_other_names_and_another_layout_and_modules_that_share_a_path_are_counted_together():
    modules = [_Summing(), _Summing()]
    views = [
        View(
            path="unet.shared", module=module, native=f"own.{index}", keys={"x": "hidden_states", "flag": ""},
            layout=lambda tensor: tensor.transpose(0, 1),
        )
        for index, module in enumerate(modules)
    ]  # fmt: skip
    natives = {}

    class Sink(Digests):
        def tensor(self, address, array, *, native=None, **options):
            super().tensor(address, array, **options)
            natives[address] = (native, array.shape)

    with watched(views, Taps(Sink()), Snapshots()):
        for module in modules:
            module(torch.zeros(5, 2, 3), flag=1)
    assert natives == {
        f"unet.shared@call={index}:{port}": (f"own.{index}", (2, 5, 3))
        for index in (0, 1)
        for port in ("input.hidden_states", "output")
    }
