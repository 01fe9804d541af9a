"""Measure one framework's operators in a process of its own: `python -m parity.cli.floors PARENT FRAMEWORK DEVICE DTYPE…`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from parity.children import watch_parent
from parity.cli import streams

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(framework: str, device: str, dtypes: Sequence[str]) -> None:
    """Print kind, type, rel_l2 and rel_max of every operator; torch is measured on the CPU unless there is a GPU."""
    for dtype in dtypes:
        if framework == "torch":
            from parity.frameworks.torch_floors_ import floors as torch_floors
            from parity.frameworks.torch_policy_ import exact_float32

            with exact_float32():
                table = torch_floors(dtype)
        else:
            from parity.frameworks import mindspore_

            mindspore_.start(device)
            table = mindspore_.floors(dtype)
        if not table:
            sys.stdout.write(f"{framework:10} {'none':12} {dtype:9} no operator works in this type here\n")
        for kind, by in table.items():
            rms, peak = by[dtype]["rel_l2"], by[dtype]["rel_max"]
            sys.stdout.write(f"{framework:10} {kind:12} {dtype:9} rel_l2 {rms:.1e}  rel_max {peak:.1e}\n")


if __name__ == "__main__":
    watch_parent(int(sys.argv[1]))
    streams.install()
    main(sys.argv[2], sys.argv[3], sys.argv[4:])
    streams.finish()
