"""The formats: which there are, and that a further one is one file."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pytest

from parity.compare import compare
from parity.errors import TraceError
from parity.trace import Trace, dumps
from parity.trace.dumps import recognise

DOCUMENT = Path(__file__).parents[4] / "docs" / "other-dumps.md"


def test_the_document_names_every_format_in_its_table():
    table = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")][1:]
    assert all(any(each.name in line for line in table) for each in recognise.formats())
    assert [each.name for each in recognise.formats()] == [
        "msprobe",
        "TroubleShooter",
        ".npy",
        "safetensors",
        ".npz",
        ".pt",
        "mindspore",
    ]


RAW = '''
"""Files of float32 numbers, as many as there are, after a word that says how each is scaled."""

import numpy as np

from parity.trace import Record
from parity.trace.dumps.dump import Dump, Format, place, unique
from parity.trace.files import Files


def opened(record, files):
    return np.frombuffer(files.content(record.shard), np.int8)[1:].astype(np.float32)


def read_raw(folder, files):
    records = []
    for file in files:
        size = (folder / file).stat().st_size - 1
        address, stage = place(file.removesuffix(".raw"))
        records.append(Record(address=address, stage=stage, shape=(size,), dtype="float32", shard=file))
    tensors = Files(folder, one_tensor_each=True, opener=opened)
    return Dump(folder=folder, records=unique(records, folder), tensors=tensors, ordered=False, tool="raw")


FORMAT = Format(name=".raw", suffix=".raw", asked=9, read=read_raw, found_by=".raw files", alone=True)
'''


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """A format in one file, in a folder that is searched beside the formats' own."""
    (tmp_path / "formats").mkdir()
    (tmp_path / "formats" / "raw_file_of_the_test.py").write_text(textwrap.dedent(RAW))
    monkeypatch.setattr(dumps, "__path__", [*dumps.__path__, str(tmp_path / "formats")])
    recognise.formats.cache_clear()
    yield tmp_path
    recognise.formats.cache_clear()


def test_a_further_format_is_one_file(raw):
    for side in ("a", "b"):
        (raw / side).mkdir()
        for name in ("unet.x", "unet.y"):
            (raw / side / f"{name}.raw").write_bytes(bytes(range(9)))
    reference, candidate = Trace.open(raw / "a"), Trace.open(raw / "b", verify=True)
    assert compare(reference, [candidate]).verdict == "MATCH"
    assert Trace.open(raw / "a" / "unet.x.raw").run("plain").tensor("tensor:output").tolist() == list(range(1, 9))
    (raw / "b" / "unet.y.raw").write_bytes(bytes(9))
    assert compare(reference, [Trace.open(raw / "b")]).verdict == "MISMATCH"
    (raw / "none").mkdir()
    with pytest.raises(
        TraceError,
        match=r"nor .ckpt files of MindSpore, .npy files, .npz files, .raw files, .safetensors files, files of torch.* or msprobe's dump",
    ):
        Trace.open(raw / "none")


def test_without_that_file_there_is_no_such_format(tmp_path):
    (tmp_path / "unet.x.raw").write_bytes(bytes(9))
    with pytest.raises(TraceError, match="is no trace"):
        Trace.open(tmp_path)
    np.save(tmp_path / "y.npy", np.ones(1))
    assert list(Trace.open(tmp_path).run("plain")) == ["y:output"]


def test_a_file_of_no_format_is_refused_with_those_that_are_read(tmp_path):
    (tmp_path / "x.h5").write_bytes(b"x")
    with pytest.raises(
        TraceError, match=r"x.h5 is not a folder, and no file of a format .*: .npy, safetensors, .npz, .pt or mindspore"
    ):
        Trace.open(tmp_path / "x.h5")
