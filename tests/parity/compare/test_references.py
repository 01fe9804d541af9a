"""Two recordings side by side: what is compared, and the disagreements that are named."""

from __future__ import annotations

import numpy as np
import pytest

from parity.compare import compare
from parity.diagnose.references import from_references
from tests.parity.compare.traces import exact_run, manifest, noisy, write

NEGATIVE = "encode_prompt:output.negative_prompt_embeds"
TIMESTEPS = "scheduler.set_timesteps:output.timesteps"
SECOND_IDS = "tokenizer_2:output.input_ids"


def recording(folder, change=None, **fields):
    """A recording of both types with the known places of disagreement in it."""
    twin = exact_run() | {
        SECOND_IDS: np.array([[49406, 320, 256, 49407, 0]]),
        NEGATIVE: np.full((1, 5, 4), 0.25),
        TIMESTEPS: np.array([999, 749]),
    }
    if change is not None:
        change(twin)
    runs = {
        "float32": ("run", "float32", noisy(twin, 1e-7, 7)),
        "float64": ("run", "float64", twin),
        "forced": ("forced", "float64", noisy(twin, 1e-3, 5, "float64")),
    }
    if not np.any(twin[NEGATIVE]):  # zeros are exact in every type
        for _, dtype, run in runs.values():
            run[NEGATIVE] = np.zeros_like(twin[NEGATIVE], dtype)
    described = manifest("reference", **fields)
    described.case_digest = f"{len(str(folder)):032d}"
    return write(folder, described, runs)


def put(address, value):
    """Return a change of one tensor."""
    return lambda run: run.__setitem__(address, value)


def test_the_same_recording_made_twice_matches_in_its_whole_runs(tmp_path):
    result = compare(recording(tmp_path / "a"), [recording(tmp_path / "another")])
    assert result.verdict == "MATCH"
    assert {(pair.question, pair.mode) for pair in result.pairs} == {("semantics", "free"), ("precision", "free")}


def test_a_difference_between_two_recordings_is_seen(tmp_path):
    other = recording(tmp_path / "another", lambda run: run["unet.act@step=1:output"].__imul__(1.01))
    result = compare(recording(tmp_path / "a"), [other])
    assert result.verdict == "MISMATCH"
    assert result.first_divergence.address == "unet.act@step=1:output"


def test_what_one_of_them_lacks_has_no_counterpart(tmp_path):
    other = recording(tmp_path / "another", lambda run: run.pop("unet.act@step=1:output"))
    result = compare(recording(tmp_path / "a"), [other])
    assert result.verdict == "MATCH"
    assert result.coverage.not_compared == {"unet.act": "no counterpart"}


@pytest.mark.parametrize(
    ("change", "slug", "words"),
    [
        (put(SECOND_IDS, np.array([[49406, 320, 0, 49407, 0]])), "padding-token-in-prompt", "[0, 2]"),
        (put(NEGATIVE, np.zeros((1, 5, 4))), "negative-conditioning", "0.25"),
        (put(TIMESTEPS, np.array([501, 1])), "timestep-spacing", "[501, 1]"),
    ],
)
def test_a_known_disagreement_is_named(tmp_path, change, slug, words):
    (cause,) = from_references(recording(tmp_path / "a"), recording(tmp_path / "another", change))
    assert cause.slug == slug
    assert words in " ".join(cause.evidence)


@pytest.mark.parametrize(
    "change",
    [None, put(SECOND_IDS, np.array([[49406, 321, 0, 49407, 0]])), put(NEGATIVE, np.full((1, 5, 4), 0.5))],
)
def test_nothing_and_other_differences_are_none_of_them(tmp_path, change):
    assert list(from_references(recording(tmp_path / "a"), recording(tmp_path / "another", change))) == []
