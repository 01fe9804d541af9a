"""Altered inputs of every kind end in one line of error and exit code 2, or in a verdict that what they say deserves.

`python -m tests.meta.fuzz 5000 7` searches longer, from another seed; it prints what it finds and the exit codes by kind.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.meta.fuzz import corpus
from tests.meta.fuzz.trial import Ended, Trials, judged, ran

COUNT, SEED = 540, 16


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    """The corpus, written once."""
    return Trials(tmp_path_factory.mktemp("fuzz") / "corpus", SEED)


@pytest.mark.parametrize("kind", corpus.KINDS, ids=lambda kind: kind.name)
def test_unaltered_an_input_is_read(trials, kind):
    """A corpus whose inputs are refused for another reason would test nothing."""
    ended = []
    for command in dict.fromkeys(kind.commands):
        ended.append(ran(trials.root, command))
        trials.restore()
    refused = [each.err for each in ended if each.code not in {0, 1} and "error: stopped" not in each.err]
    assert not refused
    if kind.truth:
        assert any(each.code == 0 for each in ended)


def test_altered_it_ends_in_one_line_of_error_or_in_an_honest_verdict(trials):
    findings = list(filter(None, map(trials.run, range(COUNT))))
    assert not findings, "\n\n".join(findings)
    codes = Counter()
    for (_, code), amount in trials.ended.items():
        codes[code] += amount
    assert sum(codes.values()) == COUNT
    assert codes[2] > COUNT / 2
    assert codes[0] > COUNT / 10
    assert codes[1] > COUNT / 40
    refused = {kind for kind, code in trials.ended if code == 2}
    # What is no dump in a plain folder is not refused but left unread, and the whole is INCOMPLETE.
    assert {"arguments", *(kind.name for kind in corpus.KINDS)} - refused <= {"npy", "index", "one pt"}


@pytest.mark.parametrize(
    ("ended", "wrong"),
    [
        (Ended(3, "", "error: x\n"), "exit code 3"),
        (Ended("KeyError()", "", ""), "exit code KeyError()"),
        (Ended(2, "", ""), "0 lines of error"),
        (Ended(2, "", "error: x\nerror: y\n"), "2 lines of error"),
        (Ended(2, "", "error: x\n  and more\n"), "2 lines of error"),
        (Ended(2, "", "error: " + "x" * 9000 + "\n"), "an error of 9007 characters"),
        (Ended(2, "", "error: \x1b[31m\n"), "a control character on stderr"),
        (Ended(1, "", "Traceback (most recent call last)"), "a traceback"),
        (Ended(0, "a\x07b", ""), "a control character on stdout"),
        (Ended(0, "", "", hung=True), "more than 10 s"),
    ],
    ids=repr,
)
def test_a_trial_says_what_is_wrong(ended, wrong):
    assert wrong in judged(ended, "what")
    assert judged(Ended(2, "", "[compare]   0.0 s  pairs\nerror: x\n"), "what") == ""
