"""Damage to a trace, drawn from a seed: as a process, it reads damaged HDF5 files through h5py.

`python -m tests.parity.trace.mutations FOLDER COUNT` damages the shard of a trace whose records have no offsets,
so that a crash of the library would end this process and not the test's.
"""

# ruff: noqa: S311 - reproducible draws
from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.errors import TraceError
from parity.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

Content = tuple[Any, ...]


def content(folder: Path) -> Content:
    """Read everything of a trace; TraceError where that cannot be, or something in its folder is not read."""
    trace = Trace.open(folder, verify=True)
    if trace.unread:
        raise TraceError(str(trace.unread))
    found: list[Any] = [trace.manifest, trace.digest]
    for name in trace.runs:
        run = trace.run(name)
        for record in run.records:
            if record.kind == "value":
                found.append((name, record, repr(run.value(record.address))))
            else:
                array = run.tensor(record.address)
                found.append((name, record, str(array.dtype), array.shape, array.tobytes()))
    return tuple(found)


def raised_by(folder: Path) -> str:
    """Return the error of reading everything, or nothing."""
    try:
        content(folder)
    except TraceError as error:
        return str(error)
    return ""


def flip(draw: random.Random, path: Path, _: list[Path]) -> None:
    """Flip one bit."""
    data = bytearray(path.read_bytes())
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def scribble(draw: random.Random, path: Path, _: list[Path]) -> None:
    """Overwrite some bytes."""
    data = bytearray(path.read_bytes())
    for _step in range(draw.choice((1, 3, 30))):
        place = draw.randrange(len(data) + 1)
        data[place : place + 4] = draw.randbytes(4)
    path.write_bytes(data)


def truncate(draw: random.Random, path: Path, _: list[Path]) -> None:
    """Cut the end off."""
    data = path.read_bytes()
    path.write_bytes(data[: draw.randrange(len(data) + 1)])


def insert(draw: random.Random, path: Path, _: list[Path]) -> None:
    """Insert bytes somewhere, the end included."""
    data = path.read_bytes()
    place = draw.choice((draw.randrange(len(data) + 1), len(data)))
    path.write_bytes(data[:place] + draw.choice((b"\n", b"\0", b"{}\n", draw.randbytes(8))) + data[place:])


def swap_parts(draw: random.Random, path: Path, _: list[Path]) -> None:
    """Exchange two parts of a file."""
    data = bytearray(path.read_bytes())
    if len(data) > 64:
        length = draw.choice((4, 8, 24))
        first, second = (draw.randrange(len(data) - length) for _ in range(2))
        data[first : first + length], data[second : second + length] = (
            data[second : second + length],
            data[first : first + length],
        )
    path.write_bytes(data)


def remove(_: random.Random, path: Path, __: list[Path]) -> None:
    """Remove the file."""
    path.unlink()


def swap_files(draw: random.Random, path: Path, files: list[Path]) -> None:
    """Exchange two files."""
    other = draw.choice(files)
    data = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(data)


def link(_: random.Random, path: Path, __: list[Path]) -> None:
    """Put a symbolic link to the same content in the file's place."""
    outside = path.parents[3] / "outside"
    outside.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(outside)


def reorder(draw: random.Random, path: Path, _: list[Path]) -> None:
    """Repeat, remove or exchange lines."""
    lines = path.read_bytes().splitlines(keepends=True)
    first, second = draw.randrange(len(lines)), draw.randrange(len(lines))
    how = draw.randrange(3)
    if how == 0:
        lines.insert(first, lines[second])
    elif how == 1:
        del lines[first]
    else:
        lines[first], lines[second] = lines[second], lines[first]
    path.write_bytes(b"".join(lines))


MUTATIONS: tuple[Callable[[random.Random, Path, list[Path]], None], ...] = (
    flip, flip, flip, scribble, truncate, insert, swap_parts, remove, swap_files, link, reorder,
)  # fmt: skip


def mutate(draw: random.Random, files: list[Path]) -> str:
    """Damage one of a trace's files and say how; manifest and records as often as ten others."""
    path = draw.choice(files + 10 * [each for each in files if each.suffix in {".json", ".jsonl"}])
    how = draw.choice(MUTATIONS)
    how(draw, path, files)
    return f"{how.__name__} {path.name}"


def main(folder: Path, count: int) -> None:
    """Damage the shard `count` times; every reading ends in TraceError or in the true content."""
    shard = folder / "float32" / "tensors-0000.h5"
    whole = shard.read_bytes()
    truth = content(folder)
    refused = 0
    for seed in range(count):
        draw = random.Random(seed)
        draw.choice((flip, scribble, scribble, truncate, insert, swap_parts))(draw, shard, [])
        try:
            if content(folder) != truth:
                sys.exit(f"seed {seed}: other content")
        except TraceError:
            refused += 1
        shard.write_bytes(whole)
    print(refused)  # noqa: T201 - the parent reads it


def snapshot(folder: Path) -> dict[Path, bytes]:
    """Return the content of every file."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def restore(files: dict[Path, bytes]) -> None:
    """Undo what a mutation did to any of the files."""
    for path, data in files.items():
        if path.is_symlink():
            path.unlink()
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
