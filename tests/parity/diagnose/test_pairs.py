"""How a diagnosis picks, groups and names pairs."""

from __future__ import annotations

import pytest

from parity.components import Components
from parity.diagnose.pairs import Repeated, differs, grouped, has_failed, holds_any, paths_of, worst_of
from parity.result import Pair

PROGRAM = Components(stages={"net": "unet", "vae": "vae"}, functions={"vae.decode": ("vae.decoder",)})


def pair(address, distance=0.1, verdict="MISMATCH", mode="layers"):
    return Pair(
        address=address, mode=mode, question="semantics", verdict=verdict, stage="unet", order=0, rel_l2=distance
    )


def test_the_worst_of_some_pairs_is_the_farthest_and_what_is_no_number_is_farther():
    near, far, endless = pair("net.a:output"), pair("net.b:output", 0.2), pair("net.c:output", "inf")
    assert worst_of([near, far]) is far
    assert worst_of([near, endless, far]) is endless


@pytest.mark.parametrize(
    ("verdict", "measured", "failed"),
    [("MATCH", False, False), ("MISMATCH", True, True), ("INCOMPARABLE", False, True), ("MISSING", False, False)],
)
def test_what_differs_was_measured_and_what_failed_is_on_both_sides(verdict, measured, failed):
    found = pair("net.a:output", verdict=verdict)
    assert (differs(found), has_failed(found)) == (measured, failed)


@pytest.mark.parametrize(("verdict", "failed"), [("INCOMPARABLE", False), ("MISMATCH", True)])
def test_what_cannot_be_judged_for_the_reference_s_sake_is_no_failure_of_the_candidate(verdict, failed):
    found = pair("net.a:output", verdict=verdict)
    found.flags = ["reference-error"]
    assert has_failed(found) is failed


def test_paths_come_once_each_in_the_order_of_their_pairs():
    assert paths_of(map(pair, ["net.b@step=0:output", "net.a:output", "net.b@step=1:output"])) == ["net.b", "net.a"]


def test_items_are_grouped_in_their_order():
    assert grouped(["bb", "a", "cc"], len) == {2: ["bb", "cc"], 1: ["a"]}
    assert grouped([], len) == {}


@pytest.mark.parametrize(
    ("path", "holds"), [("net", True), ("net.a", False), ("net.a.b", False), ("vae.decode", True), ("vae", True)]
)
def test_a_module_holds_what_it_runs_and_not_itself(path, holds):
    assert holds_any(PROGRAM, path, ["net.a", "vae.decoder.conv"]) is holds


def test_a_replay_is_asked_by_mode_and_address():
    match, differing = pair("net.a:output", verdict="MATCH"), pair("net.b:output")
    repeated = Repeated([match, differing])
    assert repeated.of(pair("net.a:output")) is repeated.match_of(pair("net.a:output")) is match
    assert repeated.of(pair("net.b:output")) is differing
    assert not repeated.matches(pair("net.b:output"))
    assert repeated.of(pair("net.a:output", mode="free")) is None
    assert not repeated.matches(pair("net.c:output"))
