"""Precision faults of a port: right in float64, and in the working type computed from operands of fewer bits.

Each is a Python file as docs/faults.md describes, for a whole port and for a single block alike. `bits` are those of the
mantissa that are kept: 10 are TF32's and float16's, 7 bfloat16's, 16 something between them and float32.
"""

from __future__ import annotations

TEXT = '''"""{said}"""

import types

import mindspore as ms
import numpy as np

from mindone_sdxl import attention


def rounded(x):
    """Keep {bits} bits of a tensor in the working type; float16 has 10."""
    if not isinstance(x, ms.Tensor) or x.dtype not in (ms.float32, ms.float16):
        return x
    mantissa, exponent = np.frexp(x.asnumpy())
    return ms.Tensor(np.ldexp(np.round(mantissa * 2.0**{kept}) / 2.0**{kept}, exponent).astype(x.asnumpy().dtype))


def inputs(cell):
    """Round what a cell is given."""
    own = cell.construct
    cell.construct = lambda *given: own(*map(rounded, given))


def output(cell):
    """Round what a cell returns."""
    own = cell.construct
    cell.construct = lambda *given: rounded(own(*given))


def scores(cell):
    """Round the scores that an attention's softmax is given."""
    own = cell.construct

    def construct(*given):
        before = attention._probabilities
        attention._probabilities = lambda x: before(rounded(x))
        try:
            return own(*given)
        finally:
            attention._probabilities = before

    cell.construct = construct


def probabilities(cell):
    """Round what an attention's softmax returns."""
    own = cell.construct

    def construct(*given):
        before = attention._probabilities
        attention._probabilities = lambda x: rounded(before(x))
        try:
            return own(*given)
        finally:
            attention._probabilities = before

    cell.construct = construct


def model(root):
    """Change {how}."""
    unet = getattr(root, "unet", root)
    found = [cell for _, cell in unet.cells_and_names() if type(cell).__name__ == "{cell}"]
    for cell in found[:{most}]:
        {where}(cell)
'''

TRANSFORMER = (
    ("Linear", "inputs", 10, 1), ("Linear", "inputs", 10, 999), ("Linear", "inputs", 7, 1), ("Linear", "inputs", 16, 1),
    ("Attention", "scores", 10, 1), ("Attention", "scores", 7, 1), ("Attention", "scores", 13, 1),
    ("Attention", "probabilities", 10, 1), ("Attention", "probabilities", 7, 1), ("Attention", "probabilities", 16, 1),
    ("LayerNorm", "inputs", 10, 1), ("LayerNorm", "output", 10, 1), ("GroupNorm", "output", 10, 1),
    ("TransformerBlock", "output", 10, 1), ("GEGLU", "output", 10, 1), ("FeedForward", "inputs", 13, 1),
)  # fmt: skip
RESNET = (
    ("Conv2d", "inputs", 10, 1), ("Conv2d", "inputs", 7, 1), ("Conv2d", "inputs", 16, 1), ("SiLU", "output", 10, 1),
    ("GroupNorm", "inputs", 10, 1),
)  # fmt: skip


def text(cell: str, where: str, bits: int, most: int) -> str:
    """Return the file of a fault in the first `most` cells of a class."""
    how = f"the {where} of {'every' if most > 1 else 'the first'} {cell}"
    return TEXT.format(
        said=f"{how[0].upper()}{how[1:]}: {bits} bits.",
        bits=bits,
        kept=bits + 1,
        how=how,
        cell=cell,
        where=where,
        most=most,
    )


def name(cell: str, where: str, bits: int, most: int) -> str:
    """Return the name of a fault."""
    return f"{cell.lower()}-{where}-{bits}-{'all' if most > 1 else 'one'}"
