"""Tiny dumps in the formats of other tools, as those tools lay them out."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

STORAGES = {
    "float64": "Double", "float32": "Float", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long", "int32": "Int",
    "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool", "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
}  # fmt: skip
SAFE_TYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32",
    "uint64": "U64", "int64": "I64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
}  # fmt: skip


def pickled(array: np.ndarray, dtype: str, strides: tuple[int, ...] | None = None, offset: int = 0) -> bytes:
    """Return the pickle that torch.save writes of a tensor, protocol 2."""
    item = max(array.itemsize, 1)
    steps = strides or tuple(stride // item for stride in np.ascontiguousarray(array).strides)[: array.ndim]
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x00((X\x07\x00\x00\x00storageq\x01ctorch\n"
        + STORAGES[dtype].encode()
        + b"Storage\nq\x02X\x01\x00\x00\x000q\x03X\x03\x00\x00\x00cpuq\x04J"
        + array.size.to_bytes(4, "little")
        + b"tq\x05QJ"
        + offset.to_bytes(4, "little")
        + _numbers(array.shape)
        + _numbers(steps)
        + b"\x89ccollections\nOrderedDict\nq\x06)Rq\x07tq\x08Rq\x09."
    )


def _numbers(values: tuple[int, ...]) -> bytes:
    """Return the opcodes of a tuple of small numbers."""
    return b"(" + b"".join(b"J" + value.to_bytes(4, "little", signed=True) for value in values) + b"t"


def write_pt(path: Path, array: np.ndarray, dtype: str = "", **options: Any) -> None:
    """Write a tensor as torch.save does; options: `pickle`, `strides`, `offset`, `compression`, `byteorder`."""
    data = options.get("pickle") or pickled(
        array, dtype or array.dtype.name, options.get("strides"), options.get("offset", 0)
    )
    with zipfile.ZipFile(path, "w", options.get("compression", zipfile.ZIP_STORED)) as archive:
        for name, content in (
            ("data.pkl", data),
            ("byteorder", options.get("byteorder", b"little")),
            ("data/0", array.tobytes()),
            ("version", b"3\n"),
        ):
            archive.writestr(f"{path.stem}/{name}", content)


def write_state(path: Path, tensors: dict[str, np.ndarray], *, wrapped: str = "", rest: bytes = b"") -> None:
    """Write tensors by name as torch.save does a dictionary; `wrapped` in another one, `rest` are opcodes of more items."""
    items = b""
    for number, (name, array) in enumerate(tensors.items()):
        tensor = pickled(array, array.dtype.name)[2:-1]
        items += text(name) + tensor.replace(b"X\x01\x00\x00\x000q\x03", text(str(number)) + b"q\x03")
    inner = b"}(" + items + rest + b"u"
    data = b"\x80\x02" + (b"}" + text(wrapped) + inner + b"s" if wrapped else inner) + b"."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/data.pkl", data)
        for number, array in enumerate(tensors.values()):
            archive.writestr(f"{path.stem}/data/{number}", array.tobytes())


def write_checkpoint(path: Path, tensors: dict[str, np.ndarray], *, most: int = 1 << 30, end: bytes = b"") -> None:
    """Write tensors as mindspore.save_checkpoint does, those of more than `most` bytes in several values."""
    data = b""
    for name, array in tensors.items():
        kind = {"uint16": "BFloat16", "bool": "Bool"}.get(array.dtype.name, array.dtype.name.capitalize())
        dimensions = b"".join(b"\x08" + varint(length) for length in array.shape or (0,))
        content = array.tobytes()
        for start in range(0, max(len(content), 1), most):
            tensor = dimensions + b"\x12" + sized(kind.encode()) + b"\x1a" + sized(content[start : start + most])
            data += b"\x0a" + sized(b"\x0a" + sized(name.encode()) + b"\x12" + sized(tensor))
    path.write_bytes(data + end)


def sized(content: bytes) -> bytes:
    """Return bytes behind their length."""
    return varint(len(content)) + content


def varint(number: int) -> bytes:
    """Return a number of seven bits a byte."""
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def text(value: str) -> bytes:
    """Return the opcode of a text."""
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def described(array: np.ndarray, file: str) -> dict[str, Any]:
    """Return what msprobe's dump.json says of a tensor."""
    return {"type": "torch.Tensor", "dtype": f"torch.{array.dtype}", "shape": list(array.shape), "data_name": file}


class Msprobe:
    """Writes a dump of msprobe, of torch or of MindSpore, call by call."""

    def __init__(self, folder: Path, framework: str = "pytorch") -> None:
        """Begin."""
        self.folder, self.framework = folder, framework
        self.data: dict[str, Any] = {}
        (folder / "dump_tensor_data").mkdir(parents=True)

    def save(self, name: str, port: str, array: np.ndarray) -> dict[str, Any]:
        """Write one tensor and return its description."""
        file = f"{name}.{port}"
        if self.framework == "pytorch":
            write_pt(self.folder / "dump_tensor_data" / f"{file}.pt", array)
            return described(array, f"{file}.pt")
        np.save(self.folder / "dump_tensor_data" / f"{file}.npy", array)
        return described(array, f"{file}.npy")

    def call(self, name: str, given: list[np.ndarray], outputs: list[np.ndarray], **more: Any) -> None:
        """Add a forward call."""
        self.data[name] = {
            "input_args": [self.save(name, f"input.{index}", array) for index, array in enumerate(given)],
            "input_kwargs": {},
            "output": [self.save(name, f"output.{index}", array) for index, array in enumerate(outputs)],
        } | more

    def finish(self, **fields: Any) -> Path:
        """Write dump.json."""
        content = {"task": "tensor", "level": "mix", "framework": self.framework, "data": self.data} | fields
        (self.folder / "dump.json").write_text(json.dumps(content))
        return self.folder


def network(folder: Path, framework: str = "pytorch", factor: float = 1.0) -> Path:
    """Dump two linear layers, the second called twice; `factor` scales the second call's output."""
    dump = Msprobe(folder, framework)
    kind, layer = ("Module", "Linear") if framework == "pytorch" else ("Cell", "Dense")
    x = np.random.default_rng(3).standard_normal((2, 3)).astype(np.float32)
    weight = dump.save(f"{kind}.a.{layer}.forward.0", "parameters.weight", np.eye(3, dtype=np.float32))
    scale = {"type": "float", "value": 2.0}
    dump.call(f"{kind}.a.{layer}.forward.0", [x], [x + 1], parameters={"weight": weight}, input_kwargs={"scale": scale})
    dump.call("Functional.silu.4.forward", [x + 1], [x / 2, x])
    dump.call(f"{kind}.b.0.{layer}.forward.0", [x], [x + 2])
    dump.call(f"{kind}.b.0.{layer}.forward.1", [x + 2], [(x + 4) * np.float32(factor)])
    backward = f"{kind}.b.0.{layer}.backward.1"
    dump.data[backward] = {
        "input": [dump.save(backward, "input.0", x)],
        "output": [dump.save(backward, "output.0", x), None],
    }
    gradient = f"{kind}.a.{layer}.parameters_grad.0"
    dump.data[gradient] = {"weight": [dump.save(gradient, "weight", np.ones((3, 3), np.float32))]}
    return dump.finish()


def write_safetensors(path: Path, tensors: dict[str, tuple[np.ndarray, str]], **entries: Any) -> None:
    """Write a safetensors file; `entries` go into the header as they are."""
    header: dict[str, Any] = {"__metadata__": {"format": "np"}}
    data = b""
    for name, (array, dtype) in tensors.items():
        header[name] = {
            "dtype": SAFE_TYPES[dtype], "shape": list(array.shape), "data_offsets": [len(data), len(data) + array.nbytes]
        }  # fmt: skip
        data += array.tobytes()
    text = json.dumps(header | entries).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
