"""Runs of the reference that are off: who is blamed, and that nothing passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from parity.address import path_of
from parity.compare import Rule, compare, judge
from parity.record import record
from parity.report.headline import headline
from parity.report.junit import document
from tests.parity import numpy_program
from tests.parity.compare.altered import KINDS, altered
from tests.parity.compare.traces import CONV, Run, candidate, manifest, noisy, reference, write
from tests.parity.numpy_candidate import replayed

if TYPE_CHECKING:
    from pathlib import Path

    from parity.result import Pair, Result
    from parity.trace import Trace

FLOAT32 = ("free-float32", "steps-float32", "layers-float32")
OFF = {"reference-error", "twin-error"}
PLACES = {
    "working": ("float32",),
    "forced": ("forced",),
    "steps": ("steps",),
    "twin": ("float64",),
    "all of float64": ("float64", "forced", "steps"),
}


def slugs(result: Result) -> list[str]:
    return [cause.slug for cause in result.causes]


def blamed(result: Result) -> list[Pair]:
    """The pairs that are findings about the candidate."""
    return [pair for pair in result.pairs if pair.verdict == "MISMATCH"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_healthy_port_is_not_blamed_for_a_working_run_that_is_off(kind: str, program: Trace, port: Trace) -> None:
    result = compare(altered(program, KINDS[kind], "float32"), [port])
    assert (result.verdict, slugs(result), blamed(result)) == ("INCOMPLETE", ["reference-error"], [])
    assert headline(result).startswith("INCOMPLETE: the reference's working run is off, first at ")


@pytest.mark.parametrize(
    "kind", ["scaled", "doubled and shifted", "negated", "shifted", "noise", "one element", "zeros", "vanishing"]
)
@pytest.mark.parametrize("place", ["forced", "steps", "twin", "all of float64"])
def test_a_healthy_port_is_not_blamed_for_a_float64_run_that_is_off(
    kind: str, place: str, program: Trace, port: Trace
) -> None:
    result = compare(altered(program, KINDS[kind], *PLACES[place]), [port])
    assert (result.verdict, slugs(result), blamed(result)) == ("INCOMPLETE", ["twin-error"], [])
    assert headline(result).startswith("INCOMPLETE: the reference's float64 run is off, first at ")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["working", "forced"])
def test_an_error_of_the_reference_excuses_none_of_the_port(kind: str, place: str, program: Trace, port: Trace) -> None:
    wrong = altered(port, lambda array: array * 0.9, *FLOAT32)
    found = compare(altered(program, KINDS[kind], *PLACES[place]), [wrong])
    clean = compare(program, [wrong])
    assert found.verdict == "MISMATCH"
    assert {pair.address for pair in blamed(clean)} <= {pair.address for pair in blamed(found)}
    assert "reference-error" in slugs(found)


def test_what_is_negated_beside_a_reference_that_is_doubled_and_shifted_is_wrong(program: Trace, port: Trace) -> None:
    wrong = altered(port, np.negative, *FLOAT32)
    found = compare(altered(program, KINDS["doubled and shifted"], "float32"), [wrong])
    measured = [pair for pair in found.pairs if pair.question == "precision" and pair.ground == "floor" and pair.scale]
    outputs = [pair for pair in measured if ":output" in pair.address]
    assert {pair.verdict for pair in outputs} == {"MISMATCH"}


@pytest.mark.parametrize("kind", ["scaled", "negated", "doubled and shifted", "one element"])
@pytest.mark.parametrize("place", PLACES)
def test_nothing_passes_that_is_wrong_in_the_same_way(kind: str, place: str, program: Trace, port: Trace) -> None:
    runs = FLOAT32 if place == "working" else ("free-float64", "steps-float64", "layers-float64")
    same = altered(port, KINDS[kind], *runs)
    result = compare(altered(program, KINDS[kind], *PLACES[place]), [same])
    assert result.verdict in {"INCOMPLETE", "MISMATCH"}
    assert "twin-error" in slugs(result)


def test_one_tensor_that_is_off_is_named_and_nothing_else(program: Trace, port: Trace) -> None:
    result = compare(altered(program, KINDS["scaled"], "float32", at=r"unet\.attn\.to_k@step=1:output"), [port])
    (cause,) = result.causes
    assert (cause.slug, cause.address, cause.others) == ("reference-error", "unet.attn.to_k@step=1:output", [])
    flagged = [pair for pair in result.pairs if not OFF.isdisjoint(pair.flags)]
    assert {(pair.address, pair.mode) for pair in flagged} == {
        ("unet.attn.to_k@step=1:output", mode) for mode in ("layers", "steps", "free")
    }
    assert {pair.verdict for pair in flagged} == {"INCOMPARABLE"}
    assert "off its own float64 run by" in cause.evidence[0]
    assert "one operator in float32 may err by" in cause.evidence[0]


def test_an_error_that_only_the_layer_replay_can_tell_keeps_the_free_run_from_a_match(
    program: Trace, port: Trace
) -> None:
    result = compare(altered(program, lambda array: array * 1.0005, "float32", at=r"unet\.ff@step=0:output"), [port])
    verdicts = {pair.mode: pair.verdict for pair in result.pairs if "reference-error" in pair.flags}
    assert verdicts == dict.fromkeys(("layers", "steps", "free"), "INCOMPARABLE")


def test_a_fault_of_the_port_elsewhere_is_found_beside_it(program: Trace, port: Trace) -> None:
    wrong = altered(port, lambda array: array * 1.001, *FLOAT32, at=r"unet\.ff@step=1:output")
    result = compare(altered(program, KINDS["scaled"], "float32", at=r"unet\.conv_in@step=0:output"), [wrong])
    assert result.verdict == "MISMATCH"
    assert {path_of(pair.address) for pair in blamed(result)} == {"unet.ff"}
    assert result.first_divergence is not None
    assert path_of(result.first_divergence.address) == "unet.ff"
    assert not any("inherited" in pair.flags for pair in blamed(result))
    assert "the reference's working run is off, first at unet.conv_in@step=0:output" in headline(result)


def test_a_healthy_recording_has_no_finding(program: Trace, port: Trace) -> None:
    result = compare(program, [port])
    assert (result.verdict, result.causes) == ("MATCH", [])


def test_a_reference_that_computes_something_else_in_its_working_type_is_named_first(
    program_case, tmp_path, monkeypatch
):
    part = numpy_program.PARTS["unet.attn.to_v"]

    def coarse(program, path, hidden_states):
        output = part.compute(program, path, hidden_states)
        return output * output.dtype.type(1.05) if program.dtype == "float32" else output

    monkeypatch.setitem(numpy_program.PARTS, "unet.attn.to_v", part._replace(compute=coarse))
    trace = record(program_case, numpy_program.reference, tmp_path / "reference")
    result = compare(trace, [replayed(trace, tmp_path / "port")])
    (cause,) = result.causes
    assert (cause.slug, path_of(cause.address), result.verdict) == ("reference-error", "unet.attn.to_v", "INCOMPLETE")
    assert cause.others == []  # what contains it is wrong because of it, and what comes after it was given wrong inputs
    assert blamed(result) == []


@pytest.fixture(scope="module")
def doubtful(program: Trace, port: Trace) -> Result:
    return compare(altered(program, KINDS["scaled"], "float32", at=r"unet\.ff@.*"), [port])


def test_a_result_that_is_judged_again_keeps_what_is_wrong_with_the_reference(doubtful: Result) -> None:
    again = judge(doubtful, [])
    assert (again.verdict, again.causes, again.counts) == (doubtful.verdict, doubtful.causes, doubtful.counts)


def test_no_rule_makes_a_match_of_it_and_one_can_still_fail(doubtful: Result) -> None:
    generous = judge(doubtful, [Rule(address=".*:output.*", require="rel_l2 <= 1", reason="known")])
    assert (generous.verdict, generous.counts["INCOMPARABLE"]) == ("INCOMPLETE", doubtful.counts["INCOMPARABLE"])
    strict = judge(doubtful, [Rule(address=r"unet\.ff@.*", require="rel_l2 <= 0", reason="equal", mode="layers")])
    assert strict.verdict == "MISMATCH"


def test_an_exclude_with_its_reason_leaves_it_out(program: Trace, port: Trace) -> None:
    off = altered(program, KINDS["scaled"], "float32", at=r"unet\.ff@.*")
    result = compare(off, [port], excludes=[{"address": r"unet\.ff@.*", "reason": "known to be coarse"}])
    assert (result.verdict, result.causes) == ("MATCH", [])


def test_junit_fails_for_the_reference_and_for_no_module(doubtful: Result) -> None:
    text = document(doubtful).decode()
    assert "the reference's working run is off, first at unet.ff@step=0:output (reference-error)" in text
    assert text.count("<failure") == 1
    assert "where the reference is off: reference-error" in text


def test_a_working_run_that_overflows_where_its_float64_run_does_not_is_a_finding(tmp_path: Path) -> None:
    exact = reference(tmp_path / "exact")
    off = altered(exact, lambda array: np.where(array > 1, np.inf, array), "float32", at=CONV)
    result = compare(off, [candidate(tmp_path / "c", exact)])
    (cause,) = result.causes
    assert (result.verdict, cause.slug, cause.address) == ("INCOMPLETE", "reference-error", CONV)
    assert "not finite" in cause.evidence[0]


def test_without_a_run_of_the_steps_what_is_held_against_the_working_run_is_no_match(tmp_path: Path) -> None:
    whole = reference(tmp_path / "whole")
    runs: dict[str, tuple[str, str, Run]] = {}
    for run in whole.readers:
        if run.name != "steps":
            runs[run.name] = (
                run.info.mode,
                run.info.dtype,
                {each.address: run.tensor(each.address) for each in run.records},
            )
    short = write(tmp_path / "short", manifest("reference"), runs)
    off = altered(short, KINDS["scaled"], "float32", at=CONV)
    near = {
        address: noisy({"": value}, 1e-7, 3)[""] for address, value in runs["float32"][2].items() if "@step" in address
    }
    near[CONV] = off.run("float32").tensor(CONV)
    layers = {each.address: whole.run("forced").tensor(each.address) for each in whole.run("forced").records}
    other = write(
        tmp_path / "other",
        manifest("candidate", reference_digest=short.digest),
        {"steps-float32": ("steps", "float32", near), "layers-float32": ("layers", "float32", noisy(layers, 1e-7, 4))},
    )
    found = {(pair.mode, pair.ground): pair for pair in compare(off, [other]).pairs if pair.address == CONV}
    assert {pair.verdict for pair in found.values()} == {"INCOMPARABLE"}
    assert set(found) == {("steps", "model"), ("layers", "floor")}
