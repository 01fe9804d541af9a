"""How likely two units are each other's, given that both sides run in the same order: all alignments, weighted.

An alignment pairs units without crossing and leaves some out. With the log odds of each pair as weights, the sum over
all alignments is a recursion over both sequences, forwards and backwards (a pair hidden Markov model); the share of
those that contain a pair is the pair's posterior. Where two alignments are equally good, each gets a half:

    >>> import numpy as np
    >>> posterior(np.full((1, 2), 9.0)).round(1)
    array([[0.5, 0.5]])

Source: R. Durbin, S. Eddy, A. Krogh, G. Mitchison, Biological Sequence Analysis, 1998, section 4.4.
"""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = ["posterior"]

_GAP: Final = -1.0
"""Log weight of leaving one unit out."""


def posterior(odds: np.ndarray) -> np.ndarray:
    """Return `[n, m]` posteriors for log odds `[n, m]` of pairs; n * m steps and three matrices of that size.

    A unit of the candidate that is left out comes after the reference's that are left out beside it, so that each
    alignment is counted once.
    """
    rows, columns = odds.shape
    if not odds.size:
        return np.zeros(odds.shape)
    before = _forward(odds)
    after = np.full((rows + 1, columns + 1), -np.inf)  # of what follows a pair, or a unit of the reference left out
    gapped = np.full(columns + 1, -np.inf)  # of what follows a unit of the candidate left out
    ramp = _GAP * np.arange(columns + 1)
    for row in range(rows, -1, -1):
        paired = np.full(columns + 1, -np.inf)
        if row < rows:
            paired[:-1] = odds[row] + after[row + 1, 1:]
        else:
            paired[-1] = 0.0
        gapped = np.logaddexp.accumulate((paired + ramp)[::-1])[::-1] - ramp
        after[row] = gapped if row == rows else np.logaddexp(gapped, _GAP + after[row + 1])
    whole = after[0, 0]
    found: np.ndarray = np.exp(np.minimum(before[:-1, :-1] + odds + after[1:, 1:] - whole, 0.0))
    return found


def _forward(odds: np.ndarray) -> np.ndarray:
    """Return `[n + 1, m + 1]` log sums over all alignments of the first i and the first j units."""
    rows, columns = odds.shape
    total = np.full((rows + 1, columns + 1), -np.inf)
    ramp = _GAP * np.arange(columns + 1)
    open_ = np.full(columns + 1, -np.inf)  # ends in a pair, or in a unit of the reference left out
    open_[0] = 0.0
    for row in range(rows + 1):
        if row:
            open_ = open_ + _GAP
            open_[1:] = np.logaddexp(open_[1:], total[row - 1, :-1] + odds[row - 1])
        total[row] = np.logaddexp.accumulate(open_ - ramp) + ramp
    return total
