"""What other tools wrote opens as a trace: msprobe, TroubleShooter, safetensors."""

from __future__ import annotations

import json
import os
import random
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from parity.compare import compare
from parity.errors import TraceError
from parity.trace import Trace, pack
from parity.trace.dumps.float8 import widened
from tests.parity.trace.helpers import example, same
from tests.parity.trace.mutations import content, mutate, raised_by, restore, snapshot

from .made import SAFE_TYPES, STORAGES, Msprobe, network, pickled, write_pt, write_safetensors

ROOT = Path(__file__).parents[4]


def addresses(path):
    return [record.address for record in Trace.open(path, verify=True).run("plain").records]


# msprobe


@pytest.mark.parametrize("framework", ["pytorch", "mindspore"])
def test_a_dump_of_either_framework_has_the_same_addresses_in_order_of_execution(tmp_path, framework):
    trace = Trace.open(network(tmp_path / "d", framework), verify=True)
    assert (trace.plain, trace.ordered) == (True, True)
    assert trace.manifest.provenance == {"tool": "msprobe", "framework": framework}
    run = trace.run("plain")
    assert [(record.address, record.stage) for record in run.records] == [
        ("a:input.0", "unet"), ("a:input.scale", "unet"), ("a:output", "unet"), ("a:weight", "weights"),
        ("Functional.silu@call=4:input.0", "unet"), ("Functional.silu@call=4:output.0", "unet"),
        ("Functional.silu@call=4:output.1", "unet"), ("b.0@call=0:input.0", "unet"), ("b.0@call=0:output", "unet"),
        ("b.0@call=1:input.0", "unet"), ("b.0@call=1:output", "unet"), ("b.0.backward@call=1:input.0", "gradients"),
        ("b.0.backward@call=1:output.0", "gradients"), ("a:grad.weight", "gradients"),
    ]  # fmt: skip
    assert run.value("a:input.scale") == 2.0
    assert same(run.tensor("a:weight"), np.eye(3, dtype=np.float32))


def test_dumps_of_two_frameworks_match_and_a_difference_is_named_where_it_is(tmp_path):
    reference = Trace.open(network(tmp_path / "torch"))
    assert compare(reference, [Trace.open(network(tmp_path / "ms", "mindspore"))]).verdict == "MATCH"
    result = compare(reference, [Trace.open(network(tmp_path / "wrong", "mindspore", factor=1.01))])
    assert result.verdict == "MISMATCH"
    assert result.first_divergence is not None
    assert result.first_divergence.address == "b.0@call=1:output"


def test_a_call_that_one_dump_lacks_is_missing(tmp_path):
    reference = Trace.open(network(tmp_path / "torch"))
    dump = json.loads((network(tmp_path / "ms", "mindspore") / "dump.json").read_text())
    del dump["data"]["Cell.a.Dense.forward.0"]
    (tmp_path / "ms" / "dump.json").write_text(json.dumps(dump))
    result = compare(reference, [Trace.open(tmp_path / "ms")])
    assert result.verdict != "MATCH"
    assert [pair.address for pair in result.pairs if pair.verdict == "MISSING"] == [
        "a:input.scale",
        "a:output",
        "a:weight",
    ]


def altered(folder, change):
    """Change what a dump says of its first call."""
    dump = json.loads((folder / "dump.json").read_text())
    change(next(iter(dump["data"].values())))
    (folder / "dump.json").write_text(json.dumps(dump))
    return Trace.open(folder)


@pytest.mark.parametrize(
    ("change", "address"),
    [(lambda call: call["input_kwargs"].clear(), "a:input.scale"), (lambda call: call.pop("parameters"), "a:weight")],
)
def test_a_plain_value_and_a_parameter_that_one_dump_lacks_are_missing(tmp_path, change, address):
    whole = Trace.open(network(tmp_path / "torch"))
    lacking = altered(network(tmp_path / "ms", "mindspore"), change)
    for reference, candidate, verdict in ((whole, lacking, "MISSING"), (lacking, whole, "UNEXPECTED")):
        result = compare(reference, [candidate])
        assert result.verdict == "INCOMPLETE"
        assert [pair.address for pair in result.pairs if pair.verdict == verdict] == [address]


def test_an_argument_of_none_is_no_argument(tmp_path):
    reference = altered(network(tmp_path / "torch"), lambda call: call["input_kwargs"].update(mask=None))
    candidate = Trace.open(network(tmp_path / "ms", "mindspore"))
    assert compare(reference, [candidate]).verdict == "MATCH"
    assert compare(candidate, [reference]).verdict == "MATCH"


def test_another_plain_value_is_a_mismatch(tmp_path):
    reference = Trace.open(network(tmp_path / "torch"))
    candidate = altered(
        network(tmp_path / "ms", "mindspore"), lambda call: call["input_kwargs"]["scale"].update(value=2.5)
    )
    assert compare(reference, [candidate]).verdict == "MISMATCH"


def test_the_dump_path_itself_opens_with_its_steps(tmp_path):
    for step in (9, 10):
        network(tmp_path / "dump" / f"step{step}" / "rank0", factor=step)
    found = addresses(tmp_path / "dump")
    assert found[0] == "a@step=9:input.0"
    assert found[-1] == "a@step=10:grad.weight"
    assert addresses(tmp_path / "dump" / "step9") == addresses(tmp_path / "dump" / "step9" / "rank0")


def test_dumps_of_several_ranks_are_refused(tmp_path):
    for rank in (0, 1):
        network(tmp_path / "step0" / f"rank{rank}")
    with pytest.raises(TraceError, match="of one rank, give its own folder"):
        Trace.open(tmp_path)


def test_a_dump_without_tensors_names_the_option_that_saves_them(tmp_path):
    dump = Msprobe(tmp_path / "d")
    dump.data["Module.a.Linear.forward.0"] = {"input_args": [{"type": "torch.Tensor", "Max": 1.0}], "output": []}
    with pytest.raises(TraceError, match=r"no tensors \(task 'statistics'\); dump with task 'tensor'"):
        Trace.open(dump.finish(task="statistics"))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("../../secret.npy", "leads out of the trace"),
        ("/etc/passwd", "leads out of the trace"),
        ("link.npy", "symbolic link"),
        ("absent.npy", "cannot be opened"),
        ("absent.pt", "cannot be opened"),
    ],
)
def test_a_name_in_dump_json_never_leads_out_of_the_folder(tmp_path, file, message):
    np.save(tmp_path / "secret.npy", np.ones(2))
    dump = Msprobe(tmp_path / "d", "mindspore")
    (tmp_path / "d" / "dump_tensor_data" / "link.npy").symlink_to(tmp_path / "secret.npy")
    dump.data["Cell.a.Dense.forward.0"] = {"output": [{"type": "mindspore.Tensor", "data_name": file}]}
    with pytest.raises(TraceError, match=message):
        Trace.open(dump.finish())


@pytest.mark.parametrize(
    "text", ["", "[]", '{"data": []}', '{"data": {"x": 1}}', '{"data": {"a": ' + "[" * 5000 + "]" * 5000 + "}}"]
)
def test_a_damaged_dump_json_is_one_error(tmp_path, text):
    (tmp_path / "dump.json").write_text(text)
    with pytest.raises(TraceError, match=r"dump\.json"):
        Trace.open(tmp_path)


# files of torch.save


@pytest.mark.parametrize("name", list(STORAGES))
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 4), (1, 5)])
def test_a_tensor_of_torch_save_is_read_without_unpickling(tmp_path, name, shape):
    dump = Msprobe(tmp_path / "d")
    array = np.asarray(example(name, 5, shape)).reshape(shape)
    write_pt(tmp_path / "d" / "dump_tensor_data" / "x.pt", array, name)
    dump.data["Module.a.Linear.forward.0"] = {"output": [{"data_name": "x.pt", "type": "torch.Tensor"}]}
    run = Trace.open(dump.finish(), verify=True).run("plain")
    assert run.record("a:output").dtype == name
    assert same(run.tensor("a:output"), np.asarray(array, array.dtype.newbyteorder("<")))


EVIL = b"\x80\x02cos\nsystem\nX\x0a\x00\x00\x00touch evil\x85R."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pickle": EVIL}, "nothing is unpickled"),
        ({"pickle": b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R."}, "nothing is unpickled"),
        ({"pickle": b"\x80\x02}."}, "it holds {}, which is no tensor"),
        ({"pickle": b"\x80\x02\x8f."}, "opcode EMPTY_SET"),
        ({"pickle": b"\x80\x02K\x01."}, "no tensor"),
        ({"pickle": b"\x80\x02"}, "one tensor of torch.save"),
        ({"pickle": b"0."}, "one tensor of torch.save"),
        ({"pickle": b"\x80\x02" + b"N" * 70000 + b"."}, "expected one small"),
        ({"pickle": pickled(np.zeros(4), "float64").replace(b"Double", b"Untype")}, "expected one of torch's"),
        ({"strides": (1, 2)}, "no contiguous"),
        ({"offset": 1}, "no contiguous"),
        ({"compression": zipfile.ZIP_DEFLATED}, "compressed"),
        ({"byteorder": b"big"}, "not little endian"),
    ],
)
def test_any_other_pickle_is_refused_and_never_run(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    dump = Msprobe(tmp_path / "d")
    write_pt(tmp_path / "d" / "dump_tensor_data" / "x.pt", np.zeros((2, 2), np.float32), **options)
    dump.data["Module.a.Linear.forward.0"] = {"output": [{"data_name": "x.pt", "type": "torch.Tensor"}]}
    with pytest.raises(TraceError, match=message) as raised:
        Trace.open(dump.finish())
    assert "x.pt" in str(raised.value)
    assert not (tmp_path / "evil").exists()


@pytest.mark.torch
def test_what_torch_itself_saves_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    from parity.frameworks.torch_ import TYPES, to_numpy

    dump = Msprobe(tmp_path / "d")
    saved = {}
    for name, dtype in TYPES.items():
        saved[name] = torch.arange(6).reshape(2, 3).to(dtype)
        torch.save(saved[name], tmp_path / "d" / "dump_tensor_data" / f"{name}.pt")
        dump.data[f"Module.{name}.X.forward.0"] = {"output": [{"type": "torch.Tensor", "data_name": f"{name}.pt"}]}
    run = Trace.open(dump.finish(), verify=True).run("plain")
    for name, tensor in saved.items():
        assert run.record(f"{name}:output").dtype == name
        assert same(run.tensor(f"{name}:output"), to_numpy(tensor)[0])


# TroubleShooter


def saved(folder, names):
    folder.mkdir()
    for value, name in enumerate(names):
        np.save(folder / f"{name}.npy", np.full((2,), value, np.float32))
        (folder / f"{name}.npy").chmod(0o400)
    return folder


def test_a_save_folder_has_the_order_and_the_calls_of_its_counters(tmp_path):
    torch = saved(tmp_path / "torch", ["0_x", "1_unet.sample_out", "10_x", "2_x"])
    assert addresses(torch) == ["x@call=0:output", "unet.sample_out:output", "x@call=1:output", "x@call=2:output"]
    trace = Trace.open(torch)
    assert (trace.ordered, trace.manifest.provenance) == (True, {"tool": "TroubleShooter"})
    assert trace.run("plain").tensor("x@call=2:output")[0] == 2


def test_the_save_folder_of_a_later_mindspore_has_the_same_addresses(tmp_path):
    torch = saved(tmp_path / "torch", ["0_x", "1_unet.sample_out", "2_x"])
    mindspore = saved(tmp_path / "ms", ["x_float32_0", "unet.sample_out_float16_1", "x_in_float32_2"])
    assert addresses(torch) == addresses(mindspore)
    assert compare(Trace.open(torch), [Trace.open(mindspore)]).verdict == "MATCH"
    (mindspore / "unet.sample_out_float16_1.npy").unlink()
    np.save(mindspore / "unet.sample_out_float16_1.npy", np.full((2,), 1.5, np.float32))
    (mindspore / "unet.sample_out_float16_1.npy").chmod(0o400)
    result = compare(Trace.open(torch), [Trace.open(mindspore)])
    assert result.first_divergence is not None
    assert result.first_divergence.address == "unet.sample_out:output"


def test_numbered_files_that_may_be_written_to_are_a_plain_folder(tmp_path):
    folder = saved(tmp_path / "d", ["0_x", "1_x"])
    assert addresses(folder) == ["x@call=0:output", "x@call=1:output"]
    (folder / "0_x.npy").chmod(0o644)
    assert addresses(folder) == ["0_x:output", "1_x:output"]


@pytest.mark.parametrize("names", [["0_x", "y"], ["0_x", "0_y"], ["x_float32_0", "1_x"]])
def test_a_folder_whose_files_do_not_all_count_is_a_plain_one(tmp_path, names):
    trace = Trace.open(saved(tmp_path / "d", names))
    assert not trace.ordered


# safetensors


def test_a_safetensors_file_opens_with_every_type(tmp_path):
    tensors = {f"t{index}.weight": (example(name, index), name) for index, name in enumerate(SAFE_TYPES)}
    tensors["unet.conv_in@step=0:output"] = (np.array(2.0), "float64")
    tensors["empty"] = (np.empty((0, 2), np.float32), "float32")
    write_safetensors(tmp_path / "x.safetensors", tensors)
    for path in (tmp_path / "x.safetensors", tmp_path):
        trace = Trace.open(path, verify=True)
        run = trace.run("plain")
        assert not trace.ordered
        assert len(run) == len(tensors)
        for name, (array, dtype) in tensors.items():
            record = run.record(name if ":" in name else f"{name}:output")
            assert record.dtype == dtype
            assert same(run.tensor(record.address), array)


def test_safetensors_files_compare_by_name(tmp_path):
    one = {"a.weight": (np.ones(3, np.float32), "float32"), "b": (np.zeros(2, np.float16), "float16")}
    write_safetensors(tmp_path / "x.safetensors", one)
    write_safetensors(tmp_path / "y.safetensors", one)
    x, y = (Trace.open(tmp_path / f"{name}.safetensors") for name in "xy")
    assert compare(x, [y]).verdict == "MATCH"
    write_safetensors(tmp_path / "y.safetensors", {"a.weight": (np.ones(3, np.float32) * 2, "float32")})
    result = compare(x, [Trace.open(tmp_path / "y.safetensors")])
    assert {pair.address: pair.verdict for pair in result.pairs} == {
        "a:weight": "MISMATCH",
        "b:parameter": "MISSING",
    }


def test_a_sharded_checkpoint_is_one_trace_and_packs(tmp_path):
    (tmp_path / "d").mkdir()
    for index in (1, 2):
        tensors = {f"w{index}": (np.full(3, index, np.float32), "float32")}
        write_safetensors(tmp_path / "d" / f"model-{index}-of-2.safetensors", tensors)
    assert addresses(tmp_path / "d") == ["w1:output", "w2:output"]
    file = Trace.open(tmp_path / "d" / "model-2-of-2.safetensors")
    assert pack(file, "w2:output", tmp_path / "packed").run("plain").tensor("w2:output")[0] == 2
    write_safetensors(tmp_path / "d" / "again.safetensors", {"w1": (np.ones(1, np.float32), "float32")})
    with pytest.raises(TraceError, match=r"again.safetensors and model-1-of-2.safetensors both hold 'w1:output'"):
        Trace.open(tmp_path / "d")


def test_a_link_is_followed_only_where_the_user_named_it(tmp_path):
    write_safetensors(tmp_path / "blob", {"w": (np.ones(1, np.float32), "float32")})
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "model.safetensors").symlink_to(tmp_path / "blob")
    assert addresses(tmp_path / "d" / "model.safetensors") == ["w:output"]
    with pytest.raises(TraceError, match="symbolic link"):
        Trace.open(tmp_path / "d")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}, "needs 8"),
        ({"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}, "lies at bytes"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}, "lies at bytes"),
        ({"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}, "no float32 tensor can have"),
        ({"dtype": "F32", "shape": [1 << 63], "data_offsets": [0, 0]}, "no float32 tensor can have|damaged"),
        ({"dtype": "F32"}, "damaged"),
        (3, "damaged"),
    ],
)
def test_a_damaged_safetensors_header_is_one_error(tmp_path, entry, message):
    write_safetensors(tmp_path / "x.safetensors", {"w": (np.ones(2, np.float32), "float32")}, bad=entry)
    with pytest.raises(TraceError, match=message):
        Trace.open(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("more", "behind", "message"),
    [
        ({}, b"12345678", "has 16 bytes of tensors; its header names 8"),
        ({"v": {"dtype": "F32", "shape": [1], "data_offsets": [12, 16]}}, b"12345678", "bytes 8 to 12 belong to no tensor"),
        ({"v": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"", "bytes 4 to 8 belong to two tensors"),
        ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}, b"12345678", "bytes 0 to 8 belong to no tensor"),
    ],
)  # fmt: skip
def test_bytes_of_no_tensor_or_of_two_are_one_error(tmp_path, more, behind, message):
    write_safetensors(tmp_path / "x.safetensors", {"w": (np.ones(2, np.float32), "float32")}, **more)
    with (tmp_path / "x.safetensors").open("ab") as file:
        file.write(behind)
    with pytest.raises(TraceError, match=message):
        Trace.open(tmp_path / "x.safetensors")


def test_a_file_that_is_not_there_or_no_safetensors_is_one_error(tmp_path):
    with pytest.raises(TraceError, match="is not there"):
        Trace.open(tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_bytes(b"abc")
    with pytest.raises(TraceError, match="is no safetensors file"):
        Trace.open(tmp_path / "x.safetensors")


@pytest.mark.parametrize(("dtype", "kind"), [("F8_E4M3", "float8_e4m3fn"), ("F8_E5M2", "float8_e5m2")])
def test_float8_is_read_exactly_as_float16_with_a_word_on_it(tmp_path, dtype, kind):
    data = np.arange(256, dtype=np.uint8).reshape(4, 64)
    entry = {"dtype": dtype, "shape": [4, 64], "data_offsets": [8, 264]}
    write_safetensors(tmp_path / "x.safetensors", {"w": (np.ones(2, np.float32), "float32")}, eighth=entry)
    with (tmp_path / "x.safetensors").open("ab") as file:
        file.write(data.tobytes())
    trace = Trace.open(tmp_path / "x.safetensors", verify=True)
    assert same(trace.run("plain").tensor("eighth:output"), widened(data, kind))
    assert trace.notes == ("float8 is read as float16, which is exact: 1 tensors",)
    assert same(trace.run("plain").tensor("w:output"), np.ones(2, np.float32))


def test_a_type_without_a_name_is_told_and_the_rest_is_read(tmp_path):
    entry = {"dtype": "F4", "shape": [2], "data_offsets": [8, 9]}
    write_safetensors(tmp_path / "x.safetensors", {"w": (np.ones(2, np.float32), "float32")}, fourth=entry)
    with (tmp_path / "x.safetensors").open("ab") as file:
        file.write(b"\x12")
    trace = Trace.open(tmp_path / "x.safetensors")
    assert list(trace.run("plain")) == ["w:output"]
    assert trace.unread["x.safetensors: fourth"].startswith("is F4; read are BOOL")


def test_tensors_come_in_natural_order_folder_by_folder(tmp_path):
    for folder in ("b10", "b9"):
        (tmp_path / folder).mkdir()
        names = {name: (np.ones(1, np.float32), "float32") for name in ("w10", "w9")}
        write_safetensors(tmp_path / folder / "m.safetensors", names)
    assert addresses(tmp_path) == ["b9.w9:output", "b9.w10:output", "b10.w9:output", "b10.w10:output"]


def test_an_index_tells_what_did_not_arrive(tmp_path):
    index = {"metadata": {"total_size": 12}, "weight_map": {}}
    for number in (1, 2):
        file = f"m-{number}-of-2.safetensors"
        write_safetensors(tmp_path / file, {f"w{number}": (np.ones(3, np.float32), "float32")})
        index["weight_map"][f"w{number}"] = file
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    assert Trace.open(tmp_path).unread == {}
    index["weight_map"]["w3"] = "m-1-of-2.safetensors"
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "m-2-of-2.safetensors").unlink()
    assert Trace.open(tmp_path).unread == {
        "m.safetensors.index.json: m-2-of-2.safetensors": "is named there and holds nothing that was read",
        "m.safetensors.index.json: w3": "is not in m-1-of-2.safetensors, as is said there",
    }
    (tmp_path / "m.safetensors.index.json").write_text("{}")
    assert "is no index" in Trace.open(tmp_path).unread["m.safetensors.index.json"]


# damage


def written(folder, tool):
    """Write a dump of a tool."""
    if tool == "safetensors":
        folder.mkdir()
        write_safetensors(folder / "x.safetensors", {f"w{i}": (example("float32", i), "float32") for i in range(4)})
        return folder
    if tool == "TroubleShooter":
        return saved(folder, ["0_a", "1_b", "2_a"])
    return network(folder, tool)


@pytest.mark.parametrize("tool", ["pytorch", "mindspore", "safetensors", "TroubleShooter"])
def test_damage_ends_in_one_error_or_another_tensor_and_never_outside(tmp_path, tool):
    if tool == "TroubleShooter" and os.geteuid() != 0:
        pytest.skip("its files are read-only, and only root damages those")
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    folder = written(tmp_path / "a" / "b" / "c" / "t", tool)
    whole = snapshot(folder)
    refused = 0
    for seed in range(400):
        mutate(random.Random(f"{tool} {seed}"), list(whole))  # noqa: S311
        error = raised_by(folder)
        assert len(error) < 1000
        refused += bool(error)
        restore(whole)
    assert refused > 40
    assert content(folder)


# the tools themselves, where an environment variable names an interpreter that has them

MSPROBE = """
import json, sys, torch
from msprobe.pytorch import PrecisionDebugger
folder = sys.argv[1]
config = {"task": "tensor", "dump_path": folder + "/dump", "rank": [], "step": [], "level": "mix",
          "tensor": {"scope": [], "list": [], "data_mode": ["all"]}}
with open(folder + "/config.json", "w") as file:
    json.dump(config, file)
net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.SiLU()).to(torch.bfloat16)
debugger = PrecisionDebugger(config_path=folder + "/config.json")
debugger.start(model=net)
output = net(torch.ones(2, 3, dtype=torch.bfloat16))
debugger.stop()
debugger.step()
torch.save(output.float().tolist(), folder + "/output")
print(json.dumps(output.float().tolist()))
"""
TROUBLESHOOTER = """
import sys, torch
import troubleshooter as ts
for step in range(2):
    ts.save(sys.argv[1] + "/saved/latents", torch.full((2,), float(step)))
    ts.save(sys.argv[1] + "/saved/unet", {"sample": torch.ones(1), "states": [torch.zeros(1)]}, suffix="out")
"""


def of_the_tool(variable, program, folder):
    python = os.environ.get(variable)
    if python is None:
        pytest.skip(f"{variable} names no interpreter with the tool")
    done = subprocess.run([python, "-c", program, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_real_dump_of_msprobe_is_read(tmp_path):
    lines = of_the_tool("PARITY_MSPROBE_PYTHON", MSPROBE, tmp_path).splitlines()
    run = Trace.open(tmp_path / "dump", verify=True).run("plain")
    assert run.record("1@step=0:output").dtype == "bfloat16"
    wide = run.wide("1@step=0:output").tolist()
    assert wide == json.loads(next(line for line in lines if line.startswith("[[")))
    assert "Functional.linear@step=0:output" in run


def test_a_real_save_folder_of_troubleshooter_is_read(tmp_path):
    of_the_tool("PARITY_TROUBLESHOOTER_PYTHON", TROUBLESHOOTER, tmp_path)
    assert addresses(tmp_path / "saved") == [
        "latents@call=0:output", "unet.sample_out@call=0:output", "unet.states.0_out@call=0:output",
        "latents@call=1:output", "unet.sample_out@call=1:output", "unet.states.0_out@call=1:output",
    ]  # fmt: skip
