"""Several candidates: who is one, what each is judged to be, and that joining loses nothing."""

import msgspec
import pytest

from parity.compare import Rule, compare, join, judge, split
from parity.compare.several import folder_name, named
from parity.errors import ToleranceError, TraceError
from parity.result import Result

from .traces import WeightDigests, candidate, reference

WRONG = "unet.conv_in@step=1:output"


def wrong(name, run):
    """A fault of one module, in every run."""
    run[WRONG] = (run[WRONG] * 1.5).astype(run[WRONG].dtype)


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    trace = reference(folder / "reference")
    healthy = candidate(folder / "healthy", trace, command=["--candidate=port"])
    planted = candidate(folder / "planted", trace, wrong, command=["--candidate=port", "--plant=half"])
    return trace, healthy, planted


@pytest.fixture
def result(traces):
    trace, *candidates = traces
    return compare(trace, candidates)


def test_a_planted_fault_and_the_type_tell_candidates_of_one_name_apart(result):
    assert list(result.candidates) == ["small candidate, float32", "small candidate (plant half), float32"]
    assert [view.verdict for view in result.candidates.values()] == ["MATCH", "MISMATCH"]


def test_the_whole_has_the_gravest_verdict_and_says_whose_the_first_divergence_is(result):
    assert result.verdict == "MISMATCH"
    assert (result.first_divergence.address, result.first_divergence.candidate) == (
        WRONG,
        "small candidate (plant half), float32",
    )
    assert result.stages["unet"] == "MISMATCH"
    assert result.stages["tokens"] == "MATCH"


def test_each_candidate_s_result_is_what_it_is_alone(traces, result):
    trace, *candidates = traces
    for opened, (label, view) in zip(candidates, split(result).items(), strict=True):
        alone = compare(trace, [opened])
        assert alone.candidates == {}
        assert {pair.candidate for pair in view.pairs} == {label}
        assert [msgspec.structs.replace(pair, candidate="") for pair in view.pairs] == alone.pairs
        for name in ("verdict", "counts", "coverage", "stages", "price", "provenance", "checks", "traces"):
            assert getattr(view, name) == getattr(alone, name), name


def test_several_traces_of_one_candidate_are_one_column(traces, tmp_path):
    trace = traces[0]
    parts = [
        candidate(tmp_path / dtype, trace, names=tuple(f"{mode}-{dtype}" for mode in ("layers", "steps", "free")))
        for dtype in ("float64", "float32")
    ]
    assert compare(trace, parts).candidates == {}


def test_one_candidate_in_two_working_types_is_two_columns_with_the_same_semantics(traces, tmp_path):
    trace, healthy, _ = traces
    half = candidate(tmp_path / "half", trace, names=("layers-float32",), command=["--candidate=port"])
    half.manifest.runs["layers-float16"] = half.manifest.runs.pop("layers-float32")
    half._runs["layers-float16"] = half._runs.pop("layers-float32")
    half.run("layers-float16").name = "layers-float16"
    half.manifest.runs["layers-float16"].dtype = "float16"
    views = split(compare(trace, [healthy, half]))
    assert list(views) == ["small candidate, float32", "small candidate, float16"]
    first, second = ([pair.address for pair in view.pairs if pair.question == "semantics"] for view in views.values())
    assert first == second
    assert first
    for label, view in views.items():
        assert {pair.dtype for pair in view.pairs if pair.question == "precision"} == {label.rpartition(" ")[2]}


def test_each_column_has_the_audit_of_the_trace_that_was_loaded_in_its_type(tmp_path):
    loaded = WeightDigests(shape=(2, 2), dtype="float32", digests={"identity/own": "a" * 32})
    rounded = WeightDigests(shape=(2, 2), dtype="float16", digests={"identity/own": "b" * 32})
    trace = reference(tmp_path / "reference", weights={"unet.conv_in:weight": loaded})
    wide = candidate(tmp_path / "wide", trace, weights={"unet.conv_in:weight": loaded})
    half = candidate(tmp_path / "half", trace, names=("layers-float32",), weights={"unet.conv_in:weight": rounded})
    half.manifest.runs["layers-float16"] = half.manifest.runs.pop("layers-float32")
    half._runs["layers-float16"] = half._runs.pop("layers-float32")
    half.run("layers-float16").name = "layers-float16"
    half.manifest.runs["layers-float16"].dtype = "float16"
    for order in ([wide, half], [half, wide]):
        views = split(compare(trace, order)).items()
        assert {label.rpartition(" ")[2]: view.stages["weights"] for label, view in views} == {
            "float32": "MATCH",
            "float16": "MISMATCH",
        }


def test_two_traces_of_the_same_candidate_with_the_same_run_are_refused(traces, tmp_path):
    trace, healthy, _ = traces
    again = candidate(tmp_path / "again", trace, command=["--candidate=port"])
    with pytest.raises(TraceError, match="are of the same candidate and both have a run"):
        compare(trace, [healthy, again])


def test_options_are_named_only_where_candidates_of_one_name_differ_in_them(traces):
    _, healthy, planted = traces
    healthy.manifest.command, planted.manifest.command = (
        ["--candidate=port", "--device=CPU", f"--weights={name}"] for name in ("a.ckpt", "b.ckpt")
    )
    try:
        assert list(named([healthy, planted])) == [
            "small candidate (weights a.ckpt)",
            "small candidate (weights b.ckpt)",
        ]
        assert list(named([healthy])) == ["small candidate"]
    finally:
        healthy.manifest.command = ["--candidate=port"]
        planted.manifest.command = ["--candidate=port", "--plant=half"]


def test_a_joined_result_survives_its_file_and_is_judged_again_for_each_candidate(result):
    again = msgspec.json.decode(msgspec.json.encode(result), type=Result)
    assert again == result
    rule = Rule(address=f"{WRONG[:-7]}:output", require="rel_l2 <= 1", reason="a test")
    judged = judge(again, [rule])
    assert [view.verdict for view in judged.candidates.values()] == ["MATCH", "MATCH"]
    assert judged.verdict == "MATCH"
    assert judged.wall_s == result.wall_s
    assert len(judged.pairs) == len(result.pairs)
    with pytest.raises(ToleranceError):
        judge(again, [Rule(address="nothing:output", require="rel_l2 <= 1", reason="a test")])


def test_splitting_and_joining_again_changes_nothing(result):
    assert join(split(result), before=result) == result


def test_a_candidate_of_which_nothing_was_compared_leaves_the_whole_incomplete(result):
    views = split(result)
    first = next(iter(views))
    empty = msgspec.structs.replace(views[first], pairs=[], verdict="INCOMPLETE")
    assert join({"a": views[first], "b": empty}).verdict == "INCOMPLETE"


def test_folders_of_candidates_are_plain_names():
    assert folder_name("gm (source ../x y), float32") == "gm-source-..-x-y-float32"
    assert folder_name("../..") == "candidate"
