"""Two recordings side by side: what is compared."""

from __future__ import annotations

import numpy as np

from parity.compare import compare
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
    described.case_digest = ""  # another case than the reference's
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
