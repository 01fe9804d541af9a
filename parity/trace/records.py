"""Lines of records.jsonl: encoding, decoding and the checks that make a record safe to use.

JSON has no NaN and no infinity, so a value that is one is written as `{"float": "nan"}`:

    >>> plain_value([1, float("inf")])
    [1, {'float': 'inf'}]
    >>> restored_value([1, {'float': 'inf'}])
    [1, inf]
"""

from __future__ import annotations

import math
import re
from functools import singledispatch
from typing import TYPE_CHECKING, Any, Final, NoReturn, get_args

import msgspec
import numpy as np

from parity.address import STAGES, Address
from parity.dtypes import TypeName, storage
from parity.errors import AddressError, TraceError
from parity.reading import check_depth
from parity.trace.names import sizes_inside
from parity.trace.schema import Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["check_places", "checked_size", "decode", "encode", "plain_value", "restored_value"]

_DECODER = msgspec.json.Decoder(Record)
_ENCODER = msgspec.json.Encoder()
_DIGEST = re.compile("[0-9a-f]{32}")
_LARGEST: Final = 2**63 - 1
_MOST_DIMENSIONS: Final = 32
_NUMBER = "(0|[1-9][0-9]{0,17})"
_CANONICAL = re.compile(rf"[^@:]+(@step={_NUMBER}(,call={_NUMBER})?|@call={_NUMBER})?:[^@:]+")
_ITEM_SIZES = {name: storage(name).itemsize for name in get_args(TypeName)}
_STAGES = frozenset(STAGES)
_NON_FINITE: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def encode(record: Record) -> bytes:
    """Return the record's line, with its newline."""
    return _ENCODER.encode(record) + b"\n"


def decode(data: bytes, where: str) -> list[Record]:
    """Read complete lines and check each record by itself; `where` names the file in messages.

    Raises:
        TraceError: a line is no record, or its address occurs twice.
    """
    try:
        records = _DECODER.decode_lines(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        _raise_first_bad_line(data, where)
    seen: set[str] = set()
    for record in records:
        _check(record, where)
        if record.address in seen:
            message = f"{where}: address {record.address!r} occurs twice; an address is recorded once per run"
            raise TraceError(message)
        seen.add(record.address)
    return records


def _raise_first_bad_line(data: bytes, where: str) -> NoReturn:
    """Name the line that cannot be decoded."""
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            if line:
                _DECODER.decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            message = f"{where}, line {number}: not a record: {error}; found {line[:80]!r}"
            raise TraceError(message) from error
    message = f"{where} is not lines of records"
    raise TraceError(message)


def _check(record: Record, where: str) -> None:
    """Check everything of a record that does not need its shard."""
    if _CANONICAL.fullmatch(record.address) is None:
        _raise_bad_address(record.address, where)
    if record.stage not in _STAGES:
        message = f"{where}: {record.address!r} has stage {record.stage!r}; one of {', '.join(STAGES)}"
        raise TraceError(message)
    if record.kind == "value":
        _check_value(record, where)
        return
    checked_size(record, where)
    if _DIGEST.fullmatch(record.digest) is None:
        message = f"{where}: {record.address!r} has digest {record.digest!r}; expected 32 hexadecimal digits"
        raise TraceError(message)
    if record.shard is None or (record.offset or 0) < 0:
        message = (
            f"{where}: {record.address!r} has shard {record.shard!r} and offset {record.offset}; a tensor needs both"
        )
        raise TraceError(message)


def _raise_bad_address(text: str, where: str) -> NoReturn:
    """Say what is wrong with an address."""
    try:
        canonical = str(Address.parse(text))
    except (AddressError, ValueError) as error:
        message = f"{where}: {error}"
        raise TraceError(message) from error
    message = (
        f"{where}: address {text!r} is not in canonical form; expected {canonical!r}, numbers of at most 18 digits"
    )
    raise TraceError(message)


def _check_value(record: Record, where: str) -> None:
    """Check that a plain value is one that a recorder can have written."""
    try:
        check_depth(record.value)
        restored_value(record.value)
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        message = f"{where}: {record.address!r} has the value {record.value!r:.80}, which no recorder writes"
        raise TraceError(message) from error


def checked_size(record: Record, where: str) -> int:
    """Return the tensor's size in bytes.

    Raises:
        TraceError: unknown type, negative or overflowing shape.
    """
    try:
        item = _ITEM_SIZES.get(record.dtype) or storage(record.dtype).itemsize
    except ValueError as error:
        message = f"{where}: {record.address!r}: {error}"
        raise TraceError(message) from error
    shape = record.shape
    size = item * math.prod(shape)
    extent = item * math.prod(filter(None, shape))  # of an empty tensor too
    if min(shape, default=0) < 0 or extent > _LARGEST or len(shape) > _MOST_DIMENSIONS:
        message = f"{where}: {record.address!r} has shape {list(shape)}, which no {record.dtype} tensor can have"
        raise TraceError(message)
    return size


def check_places(records: Sequence[Record], folder: Path, where: str) -> None:
    """Check that the bytes of every record lie inside its file; `where` names the file of records in messages.

    Raises:
        TraceError: a file is missing, is none of the folder's own, or ends before a record's last byte.
    """
    sizes = sizes_inside(folder, {record.shard for record in records if record.shard is not None})
    for record in records:
        if record.shard is None or record.offset is None:
            continue
        end = record.offset + checked_size(record, where)
        if end > sizes[record.shard]:
            message = f"{folder / record.shard} has {sizes[record.shard]} bytes; {record.address!r} ends at byte {end}"
            raise TraceError(message)


@singledispatch
def plain_value(value: object) -> Any:
    """Return `value` as JSON can hold it.

    Raises:
        TypeError: it is not None, a bool, a number, a string or a list of them.
    """
    message = f"a value of type {type(value).__name__}; only None, bool, number, string or a list of them is recorded"
    raise TypeError(message)


plain_value.register(type(None), lambda value: value)
plain_value.register(bool, bool)
plain_value.register(int, int)
plain_value.register(str, str)


@plain_value.register
def _(value: float) -> Any:
    if math.isfinite(value):
        return float(value)
    return {"float": str(float(value))}


@plain_value.register(list)
@plain_value.register(tuple)
def _(value: Any) -> Any:
    return [plain_value(each) for each in value]


@plain_value.register
def _(value: np.generic) -> Any:
    return plain_value(value.item())


def restored_value(value: Any) -> Any:
    """Return the value that `plain_value` made JSON of."""
    if isinstance(value, dict):
        return _NON_FINITE[value["float"]]
    if isinstance(value, list):
        return [restored_value(each) for each in value]
    return value
