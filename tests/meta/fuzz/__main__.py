"""`python -m tests.meta.fuzz COUNT [SEED]`: a long search, at night; every finding is printed, and the exit codes by kind."""

# ruff: noqa: T201 - it is a program
from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.meta.fuzz.trial import Trials


def main(count: int, seed: int) -> int:
    """Return 1 if anything was found."""
    found = 0
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(Path(folder) / "corpus", seed)
        for number in range(count):
            started = time.process_time()
            wrong = trials.run(number)
            spent = time.process_time() - started
            if wrong or spent > 2:
                found += 1
                print(f"--- {seed} {number} ({spent:.1f} s): {wrong}", flush=True)
    for (kind, code), amount in sorted(trials.ended.items(), key=str):
        print(f"{kind:18} exit code {code}: {amount}")
    print(f"{found} of {count} in {time.process_time():.0f} s")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
