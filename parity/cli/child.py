"""A command of this program as a child of another one, `python -m parity.cli.child PARENT COMMAND…`; it ends with it."""

from __future__ import annotations

import sys

from parity.children import watch_parent
from parity.cli import main

if __name__ == "__main__":
    watch_parent(int(sys.argv.pop(1)))
    sys.argv[0] = "parity"
    main(quiet=True)
