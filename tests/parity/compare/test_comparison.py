"""`compare` on small real traces: what is healthy matches, and every planted fault is found at its place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from parity.compare import compare
from parity.errors import ToleranceError, TraceError
from parity.trace import Checks, Row, Trace
from tests.parity.compare.traces import (
    Run,
    addresses,
    candidate,
    exact_run,
    manifest,
    pair,
    reference,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

from tests.parity.compare.traces import CONV, planting


def test_a_healthy_candidate_matches_everywhere(ref: Trace, tmp_path: Path) -> None:
    result = compare(ref, [candidate(tmp_path / "c", ref)])
    assert [each for each in result.pairs if each.verdict != "MATCH"] == []
    assert (result.verdict, result.first_divergence) == ("MATCH", None)
    assert set(result.stages) == {"tokens", "conditioning", "unet", "sampler", "image"}
    assert set(result.stages.values()) == {"MATCH"}
    assert result.checks["semantics"] == result.checks["precision"] == "measured"
    assert result.counts["MATCH"] == len(result.pairs) == 2 * (2 * len(addresses()) + 15)


def _put(where: object, value: float) -> Callable[[np.ndarray], None]:
    """A change of some elements in place."""

    def change(tensor: np.ndarray) -> None:
        tensor[where] = value

    return change


@pytest.mark.parametrize(
    ("change", "verdict", "words"),
    [
        pytest.param(lambda t: t * (1 + 1e-8), "MISMATCH", "outside", id="a factor"),
        pytest.param(
            _put((1, 5, 2, 3), 2.5),
            "MISMATCH",
            "1 of 384 outside, all in image 1, channel 5, row 2, column 3",
            id="one element",
        ),
        pytest.param(_put((slice(None), slice(2, 4)), 0.0), "MISMATCH", "channels 2-3", id="channels"),
        pytest.param(_put((0, 0, 0, 0), math.nan), "MISMATCH", "1 elements not finite", id="NaN"),
        pytest.param(_put((0, 0, 0, 0), -math.inf), "MISMATCH", "1 elements not finite", id="infinity"),
        pytest.param(lambda t: t.astype("float32"), "MISMATCH", "", id="narrower type"),
        pytest.param(
            lambda t: t.reshape(2, 8, 4, 6),
            "INCOMPARABLE",
            "shape [2, 8, 4, 6]; the reference has [2, 8, 6, 4]",
            id="shape",
        ),
        pytest.param(
            lambda t: t.astype(complex), "INCOMPARABLE", "complex128; the reference has float64", id="complex"
        ),
        pytest.param(lambda t: t[:, ::-1].copy(), "MISMATCH", "outside", id="permuted"),
    ],
)
def test_a_fault_in_the_float64_layer_replay_is_the_first_divergence(
    ref: Trace, tmp_path: Path, change: Callable[[np.ndarray], Any], verdict: str, words: str
) -> None:
    result = compare(ref, [candidate(tmp_path / "c", ref, planting("layers-float64", CONV, change))])
    found = pair(result, CONV, "semantics", "layers")
    assert found.verdict == verdict
    assert words in found.detail
    assert result.verdict == "MISMATCH"
    assert [each.address for each in result.pairs if each.verdict != "MATCH"] == [CONV]
    first = result.first_divergence
    assert first is not None
    assert (first.address, first.question, first.mode, first.stage) == (CONV, "semantics", "layers", "unet")


def test_the_worst_element_is_shown_with_both_values(ref: Trace, tmp_path: Path) -> None:
    plant = planting("layers-float32", CONV, lambda t: t.__setitem__((1, 3, 0, 2), 7.5))
    found = pair(compare(ref, [candidate(tmp_path / "c", ref, plant)]), CONV, "precision", "layers")
    assert found.worst is not None
    assert found.worst.index == (1, 3, 0, 2)
    assert found.worst.candidate == 7.5
    assert found.worst.reference == pytest.approx(ref.run("forced").tensor(CONV)[1, 3, 0, 2])
    assert found.outside == 1
    assert found.ratio_to_floor > 1e4


@pytest.mark.parametrize(("factor", "verdict"), [(2.5, "MATCH"), (4.0, "MISMATCH")])
def test_the_working_run_may_err_three_times_as_much_as_the_reference(
    ref: Trace, tmp_path: Path, factor: float, verdict: str
) -> None:
    forced, working = ref.run("forced").tensor(CONV), ref.run("float32").tensor(CONV).astype(float)

    def change(_: np.ndarray) -> np.ndarray:
        return (forced + factor * (working - forced)[::-1]).astype("float32")

    found = pair(
        compare(ref, [candidate(tmp_path / "c", ref, planting("layers-float32", CONV, change))]),
        CONV,
        "precision",
        "layers",
    )
    assert found.verdict == verdict
    assert found.ratio_to_floor == pytest.approx(factor, rel=0.3)


def test_the_platforms_term_raises_the_floor_of_its_kind_alone(ref: Trace, tmp_path: Path) -> None:
    def slow(name: str, tensors: Run) -> None:
        if name == "layers-float32":
            for address in (CONV, "unet.act@step=1:output"):
                exact = ref.run("forced").tensor(address)
                tensors[address] = (exact + 1e-6 * np.random.default_rng(1).standard_normal(exact.shape)).astype(
                    "float32"
                )

    rows = [Row(path="unet.conv_in", native="conv", kind="conv"), Row(path="unet.act", native="act", kind="silu")]
    floors = {"silu": {"float32": {"rel_l2": 5e-7, "rel_max": 3e-6}}}
    result = compare(ref, [candidate(tmp_path / "c", ref, slow, alignment=rows, floors=floors)])
    assert pair(result, CONV, "precision", "layers").verdict == "MISMATCH"
    assert pair(result, "unet.act@step=1:output", "precision", "layers").verdict == "MATCH"


def test_a_reference_that_does_not_repeat_raises_its_floor(tmp_path: Path) -> None:
    trace = reference(tmp_path / "r", checks=Checks(repeatable=False, repeat_max_abs={CONV: 1e-5}))
    plant = planting("layers-float32", CONV, lambda t: t.__iadd__(np.float32(5e-6)))
    result = compare(trace, [candidate(tmp_path / "c", trace, plant)])
    assert pair(result, CONV, "precision", "layers").verdict == "MATCH"


def test_half_precision_inside_a_float32_run_is_named(ref: Trace, tmp_path: Path) -> None:
    plant = planting("layers-float32", CONV, lambda t: t.astype("float16").astype("float32"))
    found = pair(compare(ref, [candidate(tmp_path / "c", ref, plant)]), CONV, "precision", "layers")
    assert (found.verdict, found.flags, found.hard) == ("MISMATCH", ["half-precision-grid"], "half-precision grid")


def test_an_upstream_fault_is_inherited_downstream_and_first_at_its_origin(ref: Trace, tmp_path: Path) -> None:
    text = "text_encoder.layer:output"

    def plant(name: str, tensors: Run) -> None:
        if name.startswith(("layers", "free")):
            tensors[text] = tensors[text] * tensors[text].dtype.type(1.01)
        if name.startswith("free"):
            for address in tensors:
                if address.startswith(("unet", "scheduler", "postprocess")):
                    tensors[address] = tensors[address] * tensors[address].dtype.type(1.001)

    result = compare(ref, [candidate(tmp_path / "c", ref, plant)])
    failing = [each for each in result.pairs if each.verdict == "MISMATCH"]
    assert {each.address for each in failing if not each.flags} == {text}
    assert all(each.flags == ["inherited"] for each in failing if each.address != text)
    assert result.first_divergence is not None
    assert (result.first_divergence.address, result.first_divergence.mode) == (text, "layers")
    assert result.stages["conditioning"] == "MISMATCH"
    assert result.stages["unet"] == result.stages["sampler"] == result.stages["image"] == "INHERITED"


def test_noise_taken_one_step_late_is_found_though_every_layer_matches(ref: Trace, tmp_path: Path) -> None:
    def plant(name: str, tensors: Run) -> None:
        if name.startswith("steps"):
            tensors["scheduler.step@step=1:output"] = tensors["scheduler.step@step=0:output"]
        if name.startswith("free"):
            for address in tensors:
                if address.startswith(("unet", "scheduler.step", "postprocess")) and not address.endswith(
                    "step=0:output"
                ):
                    tensors[address] = tensors[address] * tensors[address].dtype.type(1.1)

    result = compare(ref, [candidate(tmp_path / "c", ref, plant)])
    assert result.verdict == "MISMATCH"
    assert result.first_divergence is not None
    first = pair(result, "scheduler.step@step=1:output", "semantics", "steps")
    assert first.flags == []


def test_a_module_whose_inputs_match_has_nothing_to_inherit(tmp_path: Path) -> None:
    run = exact_run() | {"postprocess:input.image": np.linspace(0, 1, 48)}
    trace = write(tmp_path / "r", manifest("reference"), {"float64": ("run", "float64", run)})
    wrong = dict(run) | {
        "text_encoder.layer:output": run["text_encoder.layer:output"] * 2,
        "postprocess:output": run["postprocess:output"] * 2,
    }
    runs = {"free-float64": ("free", "float64", wrong), "layers-float64": ("layers", "float64", run)}
    result = compare(trace, [write(tmp_path / "c", manifest("candidate", reference_digest=trace.digest), runs)])
    assert pair(result, "postprocess:output", "semantics", "free").flags == []
    del wrong["postprocess:input.image"]
    result = compare(trace, [write(tmp_path / "d", manifest("candidate", reference_digest=trace.digest), runs)])
    assert pair(result, "postprocess:output", "semantics", "free").flags == ["inherited"]


def test_plain_folders_are_compared(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for side in ("r", "c", "d"):
        (tmp_path / side).mkdir()
    for number in range(4):
        x = rng.standard_normal((3, 40)).astype("float32")
        np.save(tmp_path / "r" / f"{number}_out.npy", x)
        np.save(tmp_path / "c" / f"{number}_out.npy", x * np.float32(1 + 2e-7))
        np.save(tmp_path / "d" / f"{number}_out.npy", x[::-1])
    good = compare(Trace.open(tmp_path / "r"), [Trace.open(tmp_path / "c")])
    assert (good.verdict, good.counts["MATCH"]) == ("MATCH", 4)
    bad = compare(Trace.open(tmp_path / "r"), [Trace.open(tmp_path / "d")])
    assert (bad.verdict, bad.counts["MISMATCH"]) == ("MISMATCH", 4)
    assert bad.first_divergence is None
    assert bad.checks["ordered"] is False


def test_small_tensors_share_the_floor_of_their_other_steps(tmp_path: Path) -> None:
    exact = {f"unet.gate@step={step}:output": np.array([1.0, 2.0, 3.0]) for step in range(3)}
    working = {address: (value * (1 + 1e-6)).astype("float32") for address, value in exact.items()}
    lucky = "unet.gate@step=0:output"
    working[lucky] = exact[lucky].astype("float32")
    runs = {
        "float32": ("run", "float32", working),
        "float64": ("run", "float64", exact),
        "forced": ("forced", "float64", exact),
    }
    trace = write(tmp_path / "r", manifest("reference"), runs)
    made = {address: (value * (1 + 2e-6)).astype("float32") for address, value in exact.items()}
    described = manifest("candidate", reference_digest=trace.digest)
    result = compare(trace, [write(tmp_path / "c", described, {"layers-float32": ("layers", "float32", made)})])
    assert pair(result, lucky, "precision", "layers").reference_rms == 0.0
    assert pair(result, lucky, "precision", "layers").verdict == "MATCH"


def test_a_rule_of_the_case_comes_first_and_one_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    trace = reference(tmp_path / "r")
    rule = {"address": r"unet\.conv_in@.*:output", "require": "rel_l2 <= 1e-2", "reason": "known"}
    trace.manifest.case = {"schema": 1, "tolerance": [rule]}
    plant = planting("layers-float64", CONV, lambda t: t.__imul__(1.001))
    result = compare(trace, [candidate(tmp_path / "c", trace, plant)])
    found = pair(result, CONV, "semantics", "layers")
    assert (found.verdict, found.basis, found.limit) == ("MATCH", "case: known", "rel_l2 <= 1e-2")
    trace.manifest.case["tolerance"] = [rule | {"address": "unet"}]
    with pytest.raises(ToleranceError, match="matches no pair"):
        compare(trace, [candidate(tmp_path / "d", trace)])


def test_a_trace_of_another_case_or_recording_is_refused(ref: Trace, tmp_path: Path) -> None:
    stranger = candidate(tmp_path / "c", ref, reference_digest="0" * 32)
    with pytest.raises(TraceError, match="replayed from another trace"):
        compare(ref, [stranger])
    other = candidate(tmp_path / "d", ref)
    other.manifest.case_digest = "d" * 32
    with pytest.raises(TraceError, match="trace of another case"):
        compare(ref, [other])
    twice = candidate(tmp_path / "e", ref)
    again = candidate(tmp_path / "f", ref)
    with pytest.raises(TraceError, match="both have a run"):
        compare(ref, [twice, again])
    twice.manifest.status = "recording"
    with pytest.raises(TraceError, match="not complete"):
        compare(ref, [twice])
