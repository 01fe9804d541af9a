"""Plain folders of `.npy` files, written by anyone."""

from __future__ import annotations

import numpy as np
import pytest

from parity.compare import compare
from parity.dtypes import narrow, widen
from parity.errors import TraceError
from parity.trace import Trace
from tests.parity.trace.helpers import assert_content, contents, same, write


def test_files_named_by_address_have_that_address(tmp_path):
    np.save(tmp_path / "unet.conv_in%40step%3D3%3Aoutput.npy", np.arange(4.0))
    np.save(tmp_path / "vae.decode%3Aoutput.npy", np.arange(2, dtype=np.float32))
    trace = Trace.open(tmp_path)
    assert (trace.plain, trace.ordered) == (True, False)
    assert trace.runs == ("plain",)
    run = trace.run("plain")
    assert list(run) == ["unet.conv_in@step=3:output", "vae.decode:output"]
    assert [record.stage for record in run.records] == ["unet", "vae"]
    assert same(run.tensor("unet.conv_in@step=3:output"), np.arange(4.0))
    assert not run.tensor("vae.decode:output").flags.writeable


def test_files_named_freely_come_in_natural_order(tmp_path):
    for name in ("out10", "out9", "out1", "a b<c>", "x@y:z:w", "ünïcode", "unet.mid"):
        np.save(tmp_path / f"{name}.npy", np.zeros(1, np.float32))
    trace = Trace.open(tmp_path)
    assert [record.native for record in trace.run("plain").records] == [
        "a b<c>.npy", "out1.npy", "out9.npy", "out10.npy", "unet.mid.npy", "x@y:z:w.npy", "ünïcode.npy",
    ]  # fmt: skip
    assert "out10:output" in trace.run("plain")
    assert "unet.mid:output" in trace.run("plain")


def test_the_same_tensors_have_the_same_digest_wherever_they_lie(tmp_path):
    for name, array in (("a", np.arange(6.0).reshape(2, 3)), ("b", np.asfortranarray(np.arange(6.0).reshape(2, 3)))):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", array)
        np.save(tmp_path / name / "y.npy", array.astype(">f8"))
    assert Trace.open(tmp_path / "a").digest == Trace.open(tmp_path / "b").digest
    np.save(tmp_path / "b" / "x.npy", np.ones((2, 3)))
    assert Trace.open(tmp_path / "a").digest != Trace.open(tmp_path / "b").digest


@pytest.mark.parametrize(
    "array",
    [
        np.array(3.5),
        np.empty((0, 4), np.int16),
        np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
        np.arange(5, dtype=">i2"),
        np.array([True]),
        np.array([1 + 2j], np.complex64),
        np.array([np.nan, -0.0], ">f4"),
        np.arange(100_000, dtype=np.float32),
    ],
)
def test_every_plain_type_and_order_is_read(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    read = Trace.open(tmp_path, verify=True).run("plain").tensor("x:output")
    assert same(read, np.asarray(array, array.dtype.newbyteorder("<"), order="C"))
    assert read.flags.c_contiguous


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([object()]), "never unpickled"),
        (np.zeros(1, "f4,i4"), "no plain type"),
        (np.array(["text"]), "expected one of bool"),
        (np.zeros(1, "V1"), "expected one of bool"),
        (np.zeros(1, "V3"), "expected one of bool"),
        (np.zeros(1, "M8[s]"), "expected one of bool"),
        (np.zeros(1, np.longdouble), "expected one of bool"),
    ],
)
def test_what_is_no_tensor_is_refused(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(TraceError, match=message):
        Trace.open(tmp_path)


def header(text: str) -> bytes:
    """Return the beginning of a `.npy` file with this header, and no elements."""
    return b"\x93NUMPY\x01\x00\x76\x00" + text.encode().ljust(117) + b"\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\3\4" + b"\0" * 50,
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUMPY\x09\x00\x10\x00" + b" " * 16,
        b"\x93NUMPY\x01\x00\x40\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999",
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 4), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }"),
        header("{'descr': '<f4L', 'fortran_order': False, 'shape': (0L,), }"),
        header("__import__('os').getpid()"),
    ],
)
def test_a_damaged_file_is_one_error(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(TraceError, match=r"x.npy"):
        Trace.open(tmp_path)


def test_two_files_of_one_address_are_refused(tmp_path):
    np.save(tmp_path / "unet.a.npy", np.zeros(1))
    np.save(tmp_path / "unet.a%3Aoutput.npy", np.zeros(1))
    with pytest.raises(TraceError, match=r"unet.a.npy both hold 'unet.a:output'"):
        Trace.open(tmp_path)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    np.save(tmp_path / "secret", np.zeros(1))
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "x.npy").symlink_to(tmp_path / "secret.npy")
    with pytest.raises(TraceError, match="symbolic link"):
        Trace.open(tmp_path / "t")


def test_the_files_of_an_npy_trace_are_a_plain_trace(tmp_path):
    folder = write(tmp_path / "t", "npy")
    run = Trace.open(folder / "float32" / "npy").run("plain")
    for address, kind, content in contents():
        if kind and address in run:
            assert same(run.tensor(address), content)
    assert_content(Trace.open(folder))
    assert Trace.open(folder / "float32" / "npy").verify().tensors == len(run)


@pytest.mark.parametrize("kind", ["folder", "file", "npz", "packed npz"])
def test_what_numpy_writes_for_bfloat16_is_read_as_that_with_a_word_on_it(tmp_path, kind):
    words = narrow(np.linspace(-3, 3, 12).reshape(3, 4), "bfloat16")
    void = np.asfortranarray(words.view("V2"))
    path = tmp_path / ("x.npz" if "npz" in kind else "x.npy")
    if kind == "packed npz":
        np.savez_compressed(path, void)
    elif kind == "npz":
        np.savez(path, void)
    else:
        np.save(path, void)
    trace = Trace.open(tmp_path if kind == "folder" else path, verify=True)
    (record,) = trace.run("plain").records
    assert record.dtype == "bfloat16"
    assert same(trace.run("plain").tensor(record.address), words)
    assert trace.notes == (f"|V2 is read as bfloat16, for which numpy writes it: {path.name}",)
    np.save(tmp_path / "wide.npy", widen(words, "bfloat16", "float32"))
    if kind != "folder":
        result = compare(Trace.open(tmp_path / "wide.npy"), [trace])
        assert (result.pairs[0].max_abs, result.coverage.notes) == (0, [f"{path}: {trace.notes[0]}"])
