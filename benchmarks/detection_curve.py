"""How small a fault may be and still be seen: `python benchmarks/detection_curve.py [SEED]`.

Printed for each kind of fault and type, in units of the tensor's rms: the largest size at which none of eight
pairs was seen, and the smallest from which all were. Judged without a float64 run, as one operator.
"""

from __future__ import annotations

import sys

from parity.selftest.curve import detection_curve


def main(seed: int) -> None:
    """Print the table."""
    curves: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for point in detection_curve(seed):
        curves.setdefault((point.kind, point.dtype), []).append((point.size_in_rms, point.detected))
    print("| fault | type | never seen up to | always seen from |\n|---|---|---|---|")
    for (kind, dtype), points in curves.items():
        shares = [share for _, share in points]
        unseen = next(number for number, share in enumerate(shares) if share > 0) - 1
        missed = max(number for number, share in enumerate(shares) if share < 1)
        seen = f"{points[missed + 1][0]:.1e}" if missed + 1 < len(points) else f"above {points[-1][0]:.1e}"
        print(f"| {kind} | {dtype} | {points[unseen][0]:.1e} | {seen} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
