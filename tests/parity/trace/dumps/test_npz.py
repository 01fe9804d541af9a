"""`.npz` files of numpy.savez and numpy.savez_compressed, one by one and in folders."""

from __future__ import annotations

import io
import random
import re
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from parity.compare import compare
from parity.errors import TraceError
from parity.trace import Trace, pack
from tests.conftest import run_parity
from tests.parity.trace.helpers import TYPES, example, same
from tests.parity.trace.mutations import content, mutate, raised_by, restore, snapshot

if TYPE_CHECKING:
    from pathlib import Path

SAVERS = pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
LARGE = np.arange(50_000, dtype=np.float32)


def arrays():
    """Return a tensor of every type that numpy has, and every layout, by name."""
    found = {f"t{index}": example(name, index) for index, name in enumerate(TYPES) if name != "bfloat16"}
    return found | {
        "scalar": np.array(-0.0),
        "empty": np.empty((0, 3), np.float16),
        "fortran": np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
        "big": np.arange(5, dtype=">i2"),
        "large": LARGE,
    }


def npy(array: np.ndarray) -> bytes:
    """Return the bytes of a `.npy` file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a zip archive of these members."""
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


@SAVERS
@pytest.mark.parametrize("alone", [True, False])
def test_every_type_and_layout_is_read_from_a_file_or_its_folder(tmp_path, save, alone):
    save(tmp_path / "x.npz", **arrays())
    trace = Trace.open(tmp_path / "x.npz" if alone else tmp_path, verify=True)
    assert (trace.plain, trace.ordered, trace.manifest.provenance) == (True, False, {"tool": "numpy"})
    assert trace.verify().tensors == len(arrays())
    run = trace.run("plain")
    assert [record.native for record in run.records] == [f"x.npz/{name}" for name in arrays()]
    for name, array in arrays().items():
        read = run.tensor(f"{name}:output")
        assert same(read, np.asarray(array, array.dtype.newbyteorder("<"), order="C"))
        assert read.flags.c_contiguous
        assert not read.flags.writeable


def test_a_plainly_stored_tensor_is_a_view_of_the_mapped_file_and_a_packed_one_is_not(tmp_path):
    np.savez(tmp_path / "x.npz", LARGE, LARGE)
    record = Trace.open(tmp_path / "x.npz").run("plain").record("arr_1:output")
    assert record.offset is not None
    assert (tmp_path / "x.npz").read_bytes()[record.offset :].startswith(LARGE.tobytes())
    np.savez_compressed(tmp_path / "x.npz", LARGE)
    assert Trace.open(tmp_path / "x.npz").run("plain").record("tensor:output").offset is None


@SAVERS
def test_names_are_addresses_or_paths_of_their_own(tmp_path, save):
    names = ["unet.conv_in@step=3:output", "unet.conv_out%40step%3D3%3Aoutput", "vae/decoder", "a b", "x@y:z:w", ""]
    save(tmp_path / "x.npz", **dict.fromkeys(names, np.ones(2)))
    run = Trace.open(tmp_path / "x.npz").run("plain")
    assert list(run) == [
        "unet.conv_in@step=3:output", "unet.conv_out@step=3:output", "vae.decoder:output", "a b:output",
        "x%40y%3Az%3Aw:output", "%:output",
    ]  # fmt: skip
    assert pack(Trace.open(tmp_path / "x.npz"), ".*", tmp_path / "packed").verify().records == 6


def test_several_files_are_one_trace_in_the_natural_order_of_their_names(tmp_path):
    for number in (10, 9):
        np.savez_compressed(tmp_path / f"{number}.npz", **{f"b{number}": np.ones(2), f"a{number}": np.zeros(3)})
    assert list(Trace.open(tmp_path).run("plain")) == ["b9:output", "a9:output", "b10:output", "a10:output"]
    np.savez(tmp_path / "9_again.npz", b9=np.ones(1))
    with pytest.raises(TraceError, match=r"9.npz and 9_again.npz both hold 'b9:output'; compare one of them by itself"):
        Trace.open(tmp_path)


@SAVERS
def test_two_files_compare_on_the_command_line_and_a_difference_is_found(tmp_path, save):
    save(tmp_path / "a.npz", **{"unet.x": LARGE, "unet.y": np.ones((3, 2))})
    np.savez(tmp_path / "b.npz", **{"unet.y": np.ones((3, 2)), "unet.x": LARGE})
    finished = run_parity(tmp_path, "compare", tmp_path / "a.npz", tmp_path / "b.npz")
    assert finished.code == 0, finished.stderr
    save(tmp_path / "b.npz", **{"unet.x": LARGE * np.float32(1.01), "unet.y": np.ones((3, 2))})
    finished = run_parity(tmp_path, "compare", tmp_path / "a.npz", tmp_path / "b.npz")
    assert finished.code == 1
    assert "1 MATCH, 1 MISMATCH" in finished.stdout
    result = compare(Trace.open(tmp_path / "a.npz"), [Trace.open(tmp_path / "b.npz")])
    assert {pair.address: pair.verdict for pair in result.pairs} == {
        "unet.x:output": "MISMATCH",
        "unet.y:output": "MATCH",
    }


def test_folders_of_files_compare(tmp_path):
    for side, save in (("a", np.savez), ("b", np.savez_compressed)):
        (tmp_path / side).mkdir()
        for number in range(3):
            save(tmp_path / side / f"{number}.npz", **{f"unet.{number}": example("float32", number)})
    assert run_parity(tmp_path, "compare", tmp_path / "a", tmp_path / "b").code == 0


@SAVERS
@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([object()]), "never unpickled"),
        (np.zeros(1, "f4,i4"), "no plain type"),
        (np.array(["text"]), "expected one of bool"),
        (np.zeros(1, "V1"), "expected one of bool"),
    ],
)
def test_what_is_no_tensor_is_told_as_not_read(tmp_path, save, array, message):
    save(tmp_path / "x.npz", a=np.ones(1), b=array)
    trace = Trace.open(tmp_path / "x.npz")
    assert list(trace.run("plain")) == ["a:output"]
    assert list(trace.unread) == ["x.npz: b.npy"]
    assert re.search(message, trace.unread["x.npz: b.npy"])
    save(tmp_path / "x.npz", b=array)
    with pytest.raises(TraceError, match=rf"x.npz holds no tensor; x.npz: b.npy holds .*{message}"):
        Trace.open(tmp_path / "x.npz")


def test_a_file_that_is_no_archive_of_tensors_is_one_error(tmp_path):
    with pytest.raises(TraceError, match=r"x.npz is not there; give a trace's folder or a .npz file"):
        Trace.open(tmp_path / "x.npz")
    (tmp_path / "x.npz").write_bytes(b"abc")
    with pytest.raises(TraceError, match=r"x.npz is no archive of numpy.savez, or is damaged"):
        Trace.open(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz")
    with pytest.raises(TraceError, match="holds no tensor"):
        Trace.open(tmp_path / "x.npz")
    archive(tmp_path / "x.npz", {"a.npy": npy(np.ones(1)), "note.txt": b"hello"})
    assert Trace.open(tmp_path / "x.npz").unread == {"x.npz: note.txt": "is no .npy file; numpy.savez writes no other"}
    archive(tmp_path / "x.npz", {"a.npy": npy(np.ones(1))}, zipfile.ZIP_LZMA)
    with pytest.raises(TraceError, match=r"is packed by the method 14"):
        Trace.open(tmp_path / "x.npz")


def header(shape: str) -> bytes:
    """Return the beginning of a `.npy` file of bytes of this shape."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00\x76\x00" + text.encode().ljust(117) + b"\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header("(7,)") + bytes(6), r"has 134 bytes; its header says 135"),
        (header("(7,)") + bytes(8), r"has 136 bytes; its header says 135"),
        (header("(1 << 62, 4)"), r"no .npy file"),
        (header("(4611686018427387904, 4)"), r"which no uint8 tensor can have"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * (1 << 21), r"no .npy file"),
    ],
    ids=["short", "long", "no number", "overflow", "long header"],
)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_that_is_not_what_its_header_says_is_refused(tmp_path, data, message, compression):
    archive(tmp_path / "x.npz", {"a.npy": data}, compression)
    with pytest.raises(TraceError, match=message):
        Trace.open(tmp_path / "x.npz")


def with_directory(path: Path, **fields: int) -> None:
    """Change what the directory of an archive of one member says of it."""
    places = {"checksum": (16, 4), "packed": (20, 4), "size": (24, 4), "flags": (8, 2)}
    data = bytearray(path.read_bytes())
    start = data.rindex(b"PK\x01\x02")
    for name, value in fields.items():
        offset, width = places[name]
        data[start + offset : start + offset + width] = value.to_bytes(width, "little")
    path.write_bytes(data)


def test_an_archive_that_claims_more_than_deflate_can_make_is_refused_when_it_is_opened(tmp_path):
    size = 1 << 30
    archive(tmp_path / "x.npz", {"a.npy": header(f"({size},)") + bytes(1000)})
    with_directory(tmp_path / "x.npz", size=size + 128)
    with pytest.raises(TraceError, match=rf"claims {size + 128} bytes packed into \d+; deflate cannot do that"):
        Trace.open(tmp_path / "x.npz")


def test_a_tensor_larger_than_memory_is_refused_when_it_is_opened(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(10_000, np.float32))
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PHYS_PAGES": 3, "SC_PAGE_SIZE": 4096}[name])
    with pytest.raises(TraceError, match=r"unpacks to 40128 bytes, and this machine has 12288; save it with"):
        Trace.open(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", a=np.zeros(10_000, np.float32))
    assert Trace.open(tmp_path / "x.npz", verify=True).verify().tensors == 1


def test_a_bomb_is_unpacked_no_further_than_its_header_says(tmp_path):
    data = header("(1000,)") + bytes(1000)
    archive(tmp_path / "x.npz", {"a.npy": header("(1000,)") + bytes(200_000)})
    with_directory(tmp_path / "x.npz", size=len(data), checksum=zlib.crc32(data))
    run = Trace.open(tmp_path / "x.npz").run("plain")
    with pytest.raises(TraceError, match=r"is damaged: it does not unpack to 1128 bytes"):
        run.tensor("a:output")


def test_another_sum_and_an_encrypted_member_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", a=LARGE)
    whole = (tmp_path / "x.npz").read_bytes()
    with_directory(tmp_path / "x.npz", checksum=7)
    run = Trace.open(tmp_path / "x.npz").run("plain")
    with pytest.raises(
        TraceError, match=r"'a:output' is damaged: its bytes have the sum [0-9a-f]{8}; expected 00000007"
    ):
        run.tensor("a:output")
    (tmp_path / "x.npz").write_bytes(whole)
    with_directory(tmp_path / "x.npz", flags=1)
    with pytest.raises(TraceError, match="encrypted"):
        Trace.open(tmp_path / "x.npz")


@SAVERS
def test_damage_ends_in_one_error_or_another_tensor_and_never_outside(tmp_path, save):
    folder = tmp_path / "a" / "b" / "c" / "t"
    folder.mkdir(parents=True)
    save(folder / "x.npz", **{f"w{index}": example("float32", index) for index in range(4)})
    save(folder / "y.npz", v=np.asfortranarray(example("float64", 9)))
    whole = snapshot(folder)
    refused = 0
    for seed in range(400):
        mutate(random.Random(f"npz {seed}"), list(whole))  # noqa: S311
        error = raised_by(folder)
        assert len(error) < 1000
        refused += bool(error)
        restore(whole)
    assert refused > 40
    assert content(folder)


def test_a_link_is_followed_only_where_the_user_named_it(tmp_path):
    np.savez(tmp_path / "blob.npz", w=np.ones(1))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x.npz").symlink_to(tmp_path / "blob.npz")
    assert list(Trace.open(tmp_path / "d" / "x.npz").run("plain")) == ["w:output"]
    with pytest.raises(TraceError, match="symbolic link"):
        Trace.open(tmp_path / "d")
