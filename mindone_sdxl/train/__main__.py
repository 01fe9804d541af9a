"""`python -m mindone_sdxl.train`: 0 when everything was written, 2 for what cannot be used, 130 when interrupted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mindone_sdxl.errors import SDXLError
from mindone_sdxl.train.flags import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; gives the exit status."""
    try:
        values = parse(arguments)
        from mindone_sdxl.train.run import run

        folder = run(values)
    except SDXLError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; go on with --resume RUN\n")
        return 130
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
