"""Which noise a step takes, and how far it goes."""

from tests.parity.diagnose.faults import FAULTS, causes, traces


def test_noise_taken_one_step_late_is_repaired_by_a_shift_of_one(tmp_path):
    (cause,) = causes(*traces(tmp_path, *FAULTS["noise-step-shifted"][:5]))
    assert cause.edits == [{"kind": "noise", "shift": 1}]
    assert "1 step late" in cause.evidence[0]


def test_an_update_that_is_added_twice_is_told_so(tmp_path):
    (cause,) = causes(*traces(tmp_path, *FAULTS["sampler-step-scaled"][:5]))
    assert "2 times exactly: the update is added 2 times" in cause.evidence
    (edit,) = cause.edits
    assert (edit["path"], edit["name"], round(edit["value"], 12)) == ("scheduler.step", "step_factor", 0.5)
