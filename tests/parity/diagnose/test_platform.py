"""What the platform's kernels are to blame for is told from what the port does wrong."""

from __future__ import annotations

import pytest

from parity.address import path_of
from parity.compare import awaits_decision, compare, judge
from parity.compare.platform import excesses_inside, suspects
from parity.compare.summary import is_finding
from parity.diagnose import diagnose
from parity.report.headline import headline
from parity.trace import Manifest, Row
from tests.parity.numpy_candidate import NumpySystem, replayed

ATTENTION = r"unet\.attn@.*"
OFF = (
    "    own, single = port.cells['net.attn'], port.dtype == 'float32'\n"
    "    port.cells['net.attn'] = lambda x: own(x) * x.dtype.type(1.001 if single else 1)\n"
)
"""Behind the plant of a platform: a port whose attention is off in float32 alone."""


def diagnosed(program, folder, plant, modes=("layers",), **options):
    """Replay in both types with a fault, compare and diagnose."""
    trace = replayed(program, folder / "candidate", plant=plant, modes=modes, **options)
    before = compare(program, [trace])
    return before.verdict, diagnose(before, folder, progress=lambda *_: None)


def coarse(*kinds):
    """Return the plant of a platform whose kernels of these kinds are poor."""
    return f"def model(port):\n    port.coarse = {set(kinds)!r}\n"


def flagged(result):
    """Return the places that the platform explains, by mode."""
    return _with_flag(result, "platform-precision")


def undecided(result):
    """Return the places that the platform may explain, by mode."""
    return _with_flag(result, "platform-undecided")


def _with_flag(result, flag):
    return {(pair.mode, path_of(pair.address)) for pair in result.pairs if flag in pair.flags}


def test_a_poor_kernel_is_named_and_what_it_explains_matches(program, tmp_path, here):
    before, result = diagnosed(program, tmp_path, coarse("softmax"))
    assert (before, result.verdict) == ("INCOMPLETE", "MATCH")
    assert (undecided(result), result.checks.get("undecided")) == (set(), None)
    (cause,) = result.causes
    assert (cause.slug, cause.address, cause.others, cause.confirmed) == (
        "platform-precision",
        "unet.attn",
        ["unet"],
        True,
    )
    assert cause.edits == [{"kind": "precision", "operators": ("softmax",)}]
    assert flagged(result) == {("layers", "unet.attn"), ("layers", "unet")}
    details = [pair.detail for pair in result.pairs if "platform-precision" in pair.flags]
    assert all("with softmax in float64 its rms error is" in detail for detail in details)
    assert not any("may be the platform's" in detail for detail in details)
    assert cause.after < 1e-6 < cause.before


def test_what_failed_in_the_free_and_the_step_replay_matches_too(program, tmp_path, here):
    before, result = diagnosed(program, tmp_path, coarse("softmax"), modes=("free", "steps", "layers"))
    assert (before, result.verdict) == ("INCOMPLETE", "MATCH")
    assert {mode for mode, _ in flagged(result)} == {"free", "steps", "layers"}
    assert undecided(result) == set()


def test_what_the_platform_may_explain_is_undecided_until_the_diagnosis(program, tmp_path):
    """Comparing alone blames nobody: not the module, not what contains it, not what follows it in a longer replay."""
    plant = coarse("softmax")
    trace = replayed(program, tmp_path / "candidate", plant=plant)
    result = compare(program, [trace])
    assert (result.verdict, result.first_divergence, result.counts["findings"]) == ("INCOMPLETE", None, 0)
    assert awaits_decision(result)
    assert {path for mode, path in undecided(result) if mode == "layers"} == {"unet.attn", "unet"}
    assert {mode for mode, _ in undecided(result)} == {"free", "steps", "layers"}
    assert "postprocess" in {path for mode, path in undecided(result) if mode == "free"}
    (told,) = {pair.detail.rpartition("; ")[2] for pair in result.pairs if "platform-undecided" in pair.flags}
    assert told == "may be the platform's softmax (parity diagnose decides)"
    assert judge(result, []) == result


def test_what_was_decided_stays_decided_when_it_is_judged_again(program, tmp_path, here):
    _, right = diagnosed(program, tmp_path / "right", coarse("softmax"))
    assert judge(right, []).pairs == right.pairs
    assert flagged(judge(right, [])) == flagged(right) != set()
    _, wrong = diagnosed(program, tmp_path / "wrong", coarse("softmax") + OFF)
    assert (wrong.verdict, judge(wrong, []).pairs) == ("MISMATCH", wrong.pairs)


@pytest.mark.parametrize("off", [1.0004, 1.1])
def test_an_excess_as_large_as_the_platforms_is_the_ports_if_it_stays(program, tmp_path, here, off):
    """Within what the poor kernel may explain it is undecided, beyond a finding at once; after the replay both are findings."""
    before, result = diagnosed(program, tmp_path, coarse("softmax") + OFF.replace("1.001", str(off)), only=ATTENTION)
    assert (before, result.verdict) == ("INCOMPLETE" if off < 1.01 else "MISMATCH", "MISMATCH")
    assert (flagged(result), undecided(result)) == (set(), set())
    assert result.first_divergence.address == "unet.attn@step=0:output"


def test_what_is_wrong_in_float64_is_not_undecided(program, tmp_path):
    plant = coarse("softmax") + "    port.settings['unet.attn']['scale'] = 0.5 * (1 + 1e-4)\n"
    result = compare(program, [replayed(program, tmp_path / "candidate", plant=plant, modes=("layers",))])
    assert (result.verdict, undecided(result)) == ("MISMATCH", set())


def test_without_a_replay_in_float64_nothing_is_excused(program, tmp_path):
    options = {"modes": ("layers",), "dtypes": ("float32",)}
    result = compare(program, [replayed(program, tmp_path / "candidate", plant=coarse("softmax"), **options)])
    assert (result.verdict, undecided(result)) == ("MISMATCH", set())


def test_a_module_in_which_no_poor_operator_runs_is_not_undecided(program, tmp_path):
    """The platform's softmax is poor; a linear layer that errs as much is the port's fault."""
    plant = coarse("softmax") + OFF.replace("net.attn", "net.ff")
    result = compare(program, [replayed(program, tmp_path / "candidate", plant=plant, modes=("layers",))])
    assert result.verdict == "MISMATCH"
    assert {path_of(pair.address) for pair in result.pairs if is_finding(pair)} == {"unet.ff"}


def test_of_two_poor_kernels_each_is_named_for_what_it_explains(program, tmp_path, here):
    _, result = diagnosed(program, tmp_path, coarse("softmax", "gelu"), only=r"unet\.attn@.*|unet@.*")
    explained = {cause.address: cause.edits[0]["operators"] for cause in result.causes}
    assert explained["unet.attn"] == ("softmax",)
    assert result.verdict == "MATCH"


def test_an_excess_that_remains_in_float64_is_the_ports(program, tmp_path, here):
    """The platform has a poor kernel, but the fault is another's."""
    before, result = diagnosed(program, tmp_path, coarse("gelu") + OFF, only=ATTENTION)
    assert (before, result.verdict) == ("MISMATCH", "MISMATCH")
    assert flagged(result) == set()
    assert [arguments for arguments in here if "float64-gelu" in " ".join(arguments)]


def test_where_no_operator_is_suspected_nothing_is_replayed_for_the_platform(program, tmp_path, here):
    _, result = diagnosed(program, tmp_path, "def model(port):\n" + OFF, only=ATTENTION)
    assert (result.verdict, flagged(result)) == ("MISMATCH", set())
    assert [arguments for arguments in here if "platform" in " ".join(arguments)] == []


def test_a_wrong_formula_is_no_matter_of_precision(program, tmp_path, here):
    plant = coarse("softmax") + "    port.settings['unet.attn']['scale'] = 0.25\n"
    _, result = diagnosed(program, tmp_path, plant)
    assert flagged(result) == set()
    assert [cause.slug for cause in result.causes] == ["attention-scale"]


def test_a_port_that_refuses_to_compute_in_float64_is_neither_excused_nor_blamed(program, tmp_path, here, monkeypatch):
    from parity.errors import RepairError

    def apply(_self, _edit):
        message = "no operator can be replaced here"
        raise RepairError(message)

    monkeypatch.setattr(NumpySystem, "apply", apply)
    before, result = diagnosed(program, tmp_path, coarse("softmax"))
    assert (before, result.verdict, flagged(result)) == ("INCOMPLETE", "INCOMPLETE", set())
    assert {path for _, path in undecided(result)} == {"unet.attn", "unet"}
    assert result.checks["undecided"] == "no operator can be replaced here"
    assert "which could not be decided: no operator can be replaced here" in headline(result)


def test_without_a_command_nothing_can_be_asked(program, tmp_path, here):
    before, result = diagnosed(program, tmp_path, coarse("softmax"), command=())
    assert (before, result.verdict, here) == ("INCOMPLETE", "INCOMPLETE", [])
    assert result.checks["undecided"] == "the candidate's trace names no command that replays it"
    assert result.causes == []


def floors(**measured):
    """Return a manifest with these own errors in float32."""
    found = {kind: {"float32": {"rel_l2": error, "rel_max": error}} for kind, error in measured.items()}
    return Manifest(side="candidate", name="m", case={}, case_digest="c", floors=found)


@pytest.mark.parametrize(
    ("ours", "theirs", "kinds"),
    [
        ({"exp": 3e-7}, {"exp": 1e-7}, ["exp"]),
        ({"exp": 1.4e-7}, {"exp": 1e-7}, []),
        (
            {"exp": 2e-7, "softmax": 9e-7, "tanh": 1e-7},
            {"exp": 1e-7, "softmax": 1e-7, "tanh": 1e-7},
            ["softmax", "exp"],
        ),
        ({"exp": 1e-7}, {}, ["exp"]),
        ({}, {"exp": 1e-7}, []),
        ({"linear": 1e-3}, {"linear": 1e-7}, []),
    ],
    ids=["worse", "level", "the worst first", "unknown", "not measured", "no operator that can be widened"],
)
def test_suspected_is_what_errs_more_than_on_the_references_platform(ours, theirs, kinds):
    assert [each.kind for each in suspects(floors(**ours), floors(**theirs), "float32")] == kinds
    assert suspects(floors(**ours), floors(**theirs), "float16") == []


def test_a_suspect_says_both_errors():
    (suspect,) = suspects(floors(exp=3e-7), floors(exp=1e-7), "float32")
    assert str(suspect) == "exp by itself errs by 3.0e-07 of its rms, the reference's by 1.0e-07"
    (suspect,) = suspects(floors(exp=3e-7), floors(), "float32")
    assert str(suspect).endswith("the reference's by unknown")


def test_known_to_run_is_what_classes_activations_and_rows_tell():
    ours, theirs = floors(softmax=9e-7, silu=4e-7, exp=1e-6, tanh=1e-5), floors(softmax=1e-7, silu=1e-7, exp=1e-8)
    theirs.modules = {
        "net": "Net",
        "net.attn": "CrossAttention",
        "net.attn.to_q": "Linear",
        "net.act": "SiLU",
        "net.last": "Tanh",
    }
    theirs.modules |= {"net.mixed": "Act", "net.plain": "Act"}
    theirs.attributes = {"net.mixed": {"activation": "swish"}, "net.plain": {"activation": "relu"}}
    theirs.components, theirs.functions = {"net": "unet", "encode": "vae"}, {"encode": ("net.attn",)}
    ours.alignment = [
        Row(path="net.act", native="act", kind="silu"), Row(path="net.exponent", native="e", kind="exp"),
        Row(path="net.attn", native="attn"), Row(path="net.exponent.inner", native="i", kind="softmax"),
    ]  # fmt: skip
    inside = excesses_inside(ours, theirs, "float32")
    softmax, silu, exp = ({name: pytest.approx(times)} for name, times in (("softmax", 9), ("silu", 4), ("exp", 100)))
    assert inside == {
        "net": exp | softmax | silu,
        "pipeline": exp | softmax | silu,
        "net.attn": softmax,
        "encode": softmax,
        "net.mixed": silu,
    }
    assert next(iter(inside["net"])) == "exp"
    assert excesses_inside(ours, theirs, "float16") == {}
