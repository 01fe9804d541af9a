"""How a file may be altered: by byte, by word, by what a word stands for, and by what lies in the file's place."""

from __future__ import annotations

import io
import json
import os
import re
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

LONG = "x" * 5000
WORDS = [
    "NaN", "Infinity", "-Infinity", "nan", "inf", "1e999", "1e-999", "-1", "0", "-0.0", "1.5", str(2**31), str(2**63),
    str(-(2**63)), str(2**64), "1" * 5000, "null", "true", "false", "{}", "[]", "[[]]", "[" * 3000 + "]" * 3000,
    '{"a":' * 3000 + "1" + "}" * 3000, '""', '"nan"', '"-inf"', r'"\u001b[31m\u202e"', r'"\ud800"', f'"{LONG}"', r'"a\nb"',
    '"../../x"', '"/dev/zero"', '"(a+)+b"', '"["', '"unet.x@step=0:output"', '"float64"', '"complex128"', '"MATCH"',
    "'literal'", "1979-05-27", "0x7f", "1_000", "[1, 2", "<script>", "\x1b]0;x\x07", "\udcff", ";", "#", "",
]  # fmt: skip
BUILTINS = [
    None, True, False, 0, 1, -1, 1.5, -0.0, 2**31, 2**63, -(2**63) - 1, 2**64, 10**30, "", "nan", "inf", "-inf", "x", LONG,
    "\x1b[31m\u202e\n", "../../x", "/dev/zero", "(a+)+b", "(", "unet.conv_in@step=0:output", "float32", "bfloat16", "object",
    "MATCH", "MISMATCH", "unet", "weights", [], [[]], [1, 2, 3], [-1], [2**62, 2**62], ["x"], [None], {}, {"": None}, {"a": 1},
    {"float": "nan"}, {"float": []}, {"kind": "weight"}, {"x": {"y": {"z": [{}]}}}, [[[[[[[[[[[]]]]]]]]]]],
]  # fmt: skip
TOKEN = re.compile(rb"""'[^'\n]*'|"(?:[^"\\\n]|\\.)*"|[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null|\w+""")


def by_byte(draw: random.Random, data: bytes) -> bytes:
    """Flip, overwrite, cut, insert, repeat or exchange bytes."""
    if not data:
        return draw.randbytes(8)
    altered = bytearray(data)
    start, end = sorted(draw.choices(range(len(data) + 1), k=2))
    match draw.randrange(8):
        case 0 | 1:
            altered[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        case 2:
            altered[start : start + 4] = draw.randbytes(4)
        case 3:
            del altered[start:]
        case 4:
            altered[start:start] = draw.choice((b"\n", b"\0" * 7, b"{}\n", b"\xff\xfe", draw.randbytes(8)))
        case 5:
            altered[end:end] = data[start : start + 200]
        case 6:
            del altered[start : start + draw.choice((1, 2, 30))]
        case _:
            altered[start : start + 8] = b"\xff" * 8
    return bytes(altered)


def by_word(draw: random.Random, data: bytes) -> bytes:
    """Put another word in the place of one: a number, a name, a whole nest of brackets; or write one twice."""
    found = list(TOKEN.finditer(data))
    if not found:
        return by_byte(draw, data)
    token = draw.choice(found)
    word = draw.choice(WORDS).encode(errors="surrogateescape")
    if draw.randrange(8) == 0:
        word = draw.choice(found)[0]
    return data[: token.start()] + word + data[token.end() :]


def by_line(draw: random.Random, data: bytes) -> bytes:
    """Repeat, remove or exchange lines."""
    lines = data.splitlines(keepends=True) or [b""]
    first, second = draw.randrange(len(lines)), draw.randrange(len(lines))
    match draw.randrange(3):
        case 0:
            lines.insert(first, lines[second])
        case 1:
            del lines[first]
        case _:
            lines[first], lines[second] = lines[second], lines[first]
    return b"".join(lines)


def by_value(draw: random.Random, content: Any) -> Any:
    """Put another value in the place of one, anywhere in lists and tables; or remove, add, or rename one."""
    places = list(_places(content))
    if not places:
        return draw.choice(BUILTINS)
    holder, key = draw.choice(places)
    match draw.randrange(6):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[draw.choice(("", "x", LONG, "\x1b[31m", "address"))] = holder.pop(key)
        case 2 if isinstance(holder, list):
            holder.append(holder[key])
        case 3:
            holder[key] = draw.choice(draw.choice(places)[:1])
        case _:
            holder[key] = draw.choice(BUILTINS)
    return content


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every list and table with each of its keys."""
    if isinstance(content, dict | list):
        for key, value in list(content.items() if isinstance(content, dict) else enumerate(content)):
            yield content, key
            yield from _places(value)


def as_json(draw: random.Random, data: bytes) -> bytes:
    """Alter a value of a JSON text."""
    return _dumped(by_value(draw, json.loads(data)))


def as_lines(draw: random.Random, data: bytes) -> bytes:
    """Alter a value of one line of JSON."""
    lines = data.splitlines() or [b"{}"]
    place = draw.randrange(len(lines))
    lines[place] = _dumped(by_value(draw, json.loads(lines[place])))
    return b"\n".join(lines) + b"\n"


def _dumped(content: Any) -> bytes:
    """Return JSON; of what holds itself, what an earlier alteration would have been."""
    try:
        return json.dumps(content).encode()
    except (ValueError, RecursionError):
        return b"[" * 200


def as_archive(draw: random.Random, data: bytes) -> bytes:
    """Alter a member of a zip archive, and pack it as if it had been written so."""
    packed = io.BytesIO()
    method = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(packed, "w", method) as written:
        entries = archive.infolist()
        chosen = draw.choice(entries)
        for entry in entries:
            content = archive.read(entry)
            name = entry.filename
            if entry is chosen:
                content = draw.choice((by_byte, by_word))(draw, content)
                name = draw.choice((name, name, name, "../x.npy", "\x1b[31m.npy", "x" * 3000 + ".npy", name + "x"))
            with warnings.catch_warnings(action="ignore"):  # of names that occur twice
                written.writestr(name, content)
    return packed.getvalue()


def as_safetensors(draw: random.Random, data: bytes) -> bytes:
    """Alter the header of a safetensors file and write its length anew."""
    length = int.from_bytes(data[:8], "little")
    header = draw.choice((as_json, by_word, by_byte))(draw, data[8 : 8 + length])
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _of_zeros(path: Path) -> None:
    """Make a file that is longer than memory and takes no room."""
    with path.open("wb") as file:
        file.truncate(1 << 33)


OTHERS: Final = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a file with nothing in it": Path.touch,
    "8 GiB of zeros": _of_zeros,
    "another ending": lambda path: path.with_name(f"{path.name}\x1b[31m").touch(),
    "nothing": lambda _: None,
}


NAMES: Final = (
    "\x1b]0;x\x07",
    "a\nb",
    "\udcff",
    "\u202e",
    "x" * 200,
    "-",
    "unet.a@step=0:output",
    "%",
    "%ff",
    "a:b:c",
    " ",
    "(a+)+b",
)
"""Names that a file may have, before its ending."""


def replaced(draw: random.Random, path: Path) -> str:
    """Put in a file's place what is no file, no file of its kind, or a file of another name; return what."""
    what = draw.choice([*OTHERS, *("another name" for _ in NAMES)])
    if what == "another name":
        path.rename(path.with_name(draw.choice(NAMES) + path.suffix))
        return what
    path.unlink()
    OTHERS[what](path)
    return what
