"""The posterior of a pair over all alignments that keep the order."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.mapping.order import posterior


def enumerated(odds):
    """The same by listing every alignment."""
    rows, columns = odds.shape
    found, whole = np.zeros(odds.shape), 0.0
    for count in range(min(rows, columns) + 1):
        for mine in itertools.combinations(range(rows), count):
            for theirs in itertools.combinations(range(columns), count):
                pairs = list(zip(mine, theirs, strict=True))
                weight = np.exp(sum(odds[pair] for pair in pairs) - (rows + columns - 2 * count))
                whole += weight
                for pair in pairs:
                    found[pair] += weight
    return found / whole


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 999))
def test_it_is_what_listing_every_alignment_gives(rows, columns, seed):
    odds = 3.0 * np.random.default_rng(seed).standard_normal((rows, columns))
    assert posterior(odds) == pytest.approx(enumerated(odds), abs=1e-12)


def test_equal_pairs_in_order_are_certain_only_while_none_is_missing():
    assert np.diag(posterior(np.full((6, 6), 8.0))).min() > 0.99
    assert posterior(np.full((6, 5), 8.0)).max() < 0.9


def test_nothing_to_align_is_no_error():
    assert posterior(np.zeros((0, 3))).shape == (0, 3)


def test_very_large_odds_do_not_overflow():
    assert np.isfinite(posterior(np.full((300, 300), 40.0))).all()
