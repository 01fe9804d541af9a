"""The corpus is judged without an error, for the published seed and for one of each commit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from parity.compare.limits import MODEL
from parity.selftest import SEED, corpus, judged, run
from parity.selftest.curve import detection_curve
from parity.selftest.specimen import specimen


def seed_of_commit() -> int:
    """A number that changes with every commit; the published seed outside a checkout."""
    git = shutil.which("git") or "git"
    asked = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, check=False, cwd=Path(__file__).parent)
    return int(asked.stdout[:8], 16) if asked.returncode == 0 else SEED


@pytest.mark.parametrize("seed", [SEED, seed_of_commit()], ids=["published", "commit"])
def test_nothing_is_judged_wrong(seed: int) -> None:
    score = run(seed)
    assert (score.false_passes, score.false_alarms, score.silences, score.crashes) == ([], [], [], [])


def test_the_corpus_is_large_and_not_too_easy() -> None:
    score = run(SEED, peers=True)
    assert score.pairs["fault"] >= 60
    assert score.pairs["healthy"] >= 20
    assert score.pairs["flagged"] >= 12
    allclose = next(peer for peer in score.peers if "allclose" in peer.tool)
    assert len(allclose.false_passes) >= 8
    assert len(allclose.false_alarms) >= 3


def test_the_corpus_is_made_from_its_seed_alone() -> None:
    first, again, other = corpus(3), corpus(3), corpus(4)
    assert len({each.name for each in first}) == len(first)
    for a, b in zip(first, again, strict=True):
        for x, y in ((a.reference, b.reference), (a.candidate, b.candidate)):
            assert (x is None and y is None) or np.array_equal(x, y, equal_nan=x.dtype.kind in "fc")
    assert not np.array_equal(first[0].reference, other[0].reference)


def test_a_fault_is_no_smaller_than_promised() -> None:
    for each in corpus(SEED):
        if each.answer == "fault" and each.name.startswith(("factor", "bias", "noise")) and each.asked == "float32":
            size = float(np.sqrt(np.mean((each.candidate.astype(float) - each.reference) ** 2)))
            assert size >= 0.9e-4 * float(np.sqrt(np.mean(each.reference.astype(float) ** 2))), each.name


def test_the_score_can_say_no() -> None:
    x = np.linspace(1, 2, 64)
    too_small, too_large = specimen("unseen", "fault", x, x * (1 + 1e-7)), specimen("seen", "healthy", x, x * 1.1)
    found = judged([too_small, too_large])
    assert found["unseen"].verdict == "MATCH"
    assert found["seen"].verdict == "MISMATCH"


def test_the_detection_curve_rises_from_nothing_to_everything() -> None:
    points = list(detection_curve(SEED, repeats=1))
    for kind, dtype in {(point.kind, point.dtype) for point in points}:
        shares = [point.detected for point in points if (point.kind, point.dtype) == (kind, dtype)]
        assert shares[0] == 0.0
        assert shares[-1] == 1.0
    assert all(
        point.detected == 1.0
        for point in points
        if point.size_in_rms > 4 * MODEL[point.dtype][1] and point.dtype == "float32"
    )
