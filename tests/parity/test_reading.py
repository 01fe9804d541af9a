"""Files that anybody may have written: what is refused before it is read, and what while it is."""

from __future__ import annotations

import os
import socket
import time
import tracemalloc

import pytest

from parity import reading
from parity.case import load as load_case
from parity.compare.rules import load as load_tolerances
from parity.errors import InputError
from parity.mapping import read as read_mapping
from parity.repair import read as read_repair
from parity.replay import Options
from parity.result import read as read_result
from parity.trace import Trace

READERS = {
    "case": load_case,
    "tolerances": load_tolerances,
    "mapping": read_mapping,
    "repair": read_repair,
    "result": read_result,
    "trace": Trace.open,
}


def pipe(path):
    os.mkfifo(path)


def bound_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def device(path):
    path.symlink_to("/dev/zero")


OTHERS = {"a pipe": pipe, "a socket": bound_socket, "a device": device, "a folder": os.mkdir}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("reader", ["case", "tolerances", "mapping", "repair", "result"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path, reader, kind):
    OTHERS[kind](tmp_path / "given")
    with pytest.raises(InputError, match=rf"given.*(it is {kind}, and no regular file|is not there)"):
        READERS[reader](tmp_path / "given")


@pytest.mark.parametrize("kind", OTHERS)
def test_a_manifest_that_is_no_regular_file_is_refused(tmp_path, kind):
    OTHERS[kind](tmp_path / "manifest.json")
    with pytest.raises(InputError, match=r"no regular file|a symbolic link|cannot be opened"):
        Trace.open(tmp_path)


CONTENTS = {
    "nothing": b"",
    "no UTF-8": b"\xff\xfe\x00",
    "deep arrays": b"[" * 100_000,
    "deep tables": b'{"a":' * 100_000,
    "an array as deep as memory": b"schema = " + b"[" * 3000 + b"]" * 3000,
    "5,000 digits": b'{"schema": ' + b"1" * 5000 + b"}",
    "5,000 digits in TOML": b"schema = " + b"1" * 5000,
    "a key without end": b"a." * 100_000 + b"a = 1",
    "quoted keys without end": b'"a" . ' * 50_000 + b"a = 1",
    "a word without end": b"a" * 900_000,
    "quotes without end": b"\"'" * 400_000,
    "NaN": b'{"schema": NaN}',
    "a huge exponent": b'{"schema": 1e999999999}',
    "half a surrogate pair": b'{"schema": "\\ud800"}',
    "a zero byte": b"\0",
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_of_no_kind_is_refused_in_one_error(tmp_path, reader, content):
    path = tmp_path / "given"
    if reader == "trace":
        path.mkdir()
        (path / "manifest.json").write_bytes(CONTENTS[content])
    else:
        path.write_bytes(CONTENTS[content])
    started = time.process_time()
    with pytest.raises(InputError, match="given"):
        READERS[reader](path)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("reader", "most"),
    [
        ("case", reading.CASE_BYTES),
        ("tolerances", reading.TOLERANCES_BYTES),
        ("mapping", reading.MAPPING_BYTES),
        ("repair", reading.REPAIR_BYTES),
        ("result", reading.RESULT_BYTES),
        ("trace", reading.MANIFEST_BYTES),
    ],
)
def test_a_file_that_is_larger_than_its_kind_is_refused_unread(tmp_path, reader, most):
    path = tmp_path / "given"
    if reader == "trace":
        path.mkdir()
    with (path / "manifest.json" if reader == "trace" else path).open("wb") as file:
        file.truncate(most + 1)
    with pytest.raises(InputError, match=f"it has {most + 1} bytes; a file of its kind has at most {most}"):
        READERS[reader](path)


def test_a_file_takes_the_memory_of_its_own_size(tmp_path):
    (tmp_path / "given").write_bytes(b"{}")
    tracemalloc.start()
    assert reading.content(tmp_path / "given", reading.RECORDS_BYTES) == b"{}"
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["a pipe", "a socket"])
def test_weights_that_are_no_file_are_not_waited_for(tmp_path, kind):
    OTHERS[kind](tmp_path / "weights")
    with pytest.raises(
        InputError, match=rf"weights cannot be read: it is {kind}, and no regular file; give a checkpoint"
    ):
        Options(weights=tmp_path / "weights")
    (tmp_path / "case.toml").write_text("schema = 1\n[model]\nfolder = 'weights'\n")
    with pytest.raises(InputError, match=rf"weights, the weights of the case, cannot be read: it is {kind}"):
        _ = load_case(tmp_path / "case.toml").model_path


def test_a_key_may_have_as_many_parts_as_anybody_means():
    assert reading.parsed_toml("a.b.'c d'.\"e\" = 1.5\nf = 'x.y.z'") == {
        "a": {"b": {"c d": {"e": 1.5}}}, "f": "x.y.z",
    }  # fmt: skip
