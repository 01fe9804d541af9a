"""How far healthy modules stay from their limits: `python benchmarks/healthy_distribution.py DIR`.

DIR holds the result.json of a `parity run` whose verdict is MATCH. Printed for each replay: the errors in
multiples of the measured floor (limit 3) and the relative errors between float64 runs (limit 1e-9, islands apart).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from parity import result as results
from parity.compare.limits import RMS_FACTOR, SEMANTICS_RMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.result import Pair

MODES = ("layers", "steps", "free")


def row(name: str, values: Sequence[float], pairs: Sequence[Pair], form: str) -> str:
    """Return one line: number, median, 99 %, largest, and where the largest is."""
    if not values:
        return f"| {name} | 0 | | | | |"
    median, high = np.quantile(values, (0.5, 0.99))
    largest = int(np.argmax(values))
    numbers = " | ".join(format(value, form) for value in (median, high, values[largest]))
    return f"| {name} | {len(values)} | {numbers} | `{pairs[largest].address}` |"


def main(folder: str) -> int:
    """Print the tables of a result."""
    result = results.read(folder)
    print(f"verdict of the whole: {result.verdict}\n")
    sections = (
        (f"precision: ratio_to_floor, limit {RMS_FACTOR:g}", "precision", "floor", "ratio_to_floor", ".2f"),
        (f"semantics: rel_l2, limit {SEMANTICS_RMS:g}", "semantics", "float64", "rel_l2", ".1e"),
    )
    for title, question, ground, field, form in sections:
        print(f"{title}\n\n| replay | pairs | median | 99 % | largest | at |\n|---|---|---|---|---|---|")
        for mode in MODES:
            found = [pair for pair in result.pairs if (pair.question, pair.mode) == (question, mode)]
            kinds = (False,) if question == "precision" else (False, True)
            for island in kinds:
                pairs = [pair for pair in found if pair.ground == ground and ("island" in pair.flags) is island]
                if pairs or not island:
                    values = [float(getattr(pair, field)) for pair in pairs]
                    print(row(mode + (", islands" if island else ""), values, pairs, form))
        print()
    return 0 if result.verdict == "MATCH" else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and the folder
        sys.exit("usage: python benchmarks/healthy_distribution.py DIR")
    sys.exit(main(sys.argv[1]))
