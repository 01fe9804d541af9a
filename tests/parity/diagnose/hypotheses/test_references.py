"""Known disagreements of two references of the same weights are named, and other differences are none of them."""

from __future__ import annotations

import numpy as np
import pytest

from parity.diagnose.search import disagreements
from tests.parity.compare.test_references import NEGATIVE, SECOND_IDS, TIMESTEPS, put, recording


@pytest.mark.parametrize(
    ("change", "slug", "words"),
    [
        (put(SECOND_IDS, np.array([[49406, 320, 0, 49407, 0]])), "padding-token-in-prompt", "[0, 2]"),
        (put(NEGATIVE, np.zeros((1, 5, 4))), "negative-conditioning", "0.25"),
        (put(TIMESTEPS, np.array([501, 1])), "timestep-spacing", "[501, 1]"),
    ],
)
def test_a_known_disagreement_is_named(tmp_path, change, slug, words):
    (cause,) = disagreements(recording(tmp_path / "a"), recording(tmp_path / "another", change))
    assert cause.slug == slug
    assert words in " ".join(cause.evidence)


@pytest.mark.parametrize(
    "change",
    [None, put(SECOND_IDS, np.array([[49406, 321, 0, 49407, 0]])), put(NEGATIVE, np.full((1, 5, 4), 0.5))],
)
def test_nothing_and_other_differences_are_none_of_them(tmp_path, change):
    assert list(disagreements(recording(tmp_path / "a"), recording(tmp_path / "another", change))) == []
