"""What the platform's kernels are to blame for is told from what the port does wrong."""

from __future__ import annotations

import pytest

from parity.address import path_of
from parity.compare import compare
from parity.diagnose import diagnose
from parity.diagnose.platform import suspects
from parity.trace import Manifest
from tests.parity.numpy_candidate import NumpySystem, replayed


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
    return {(pair.mode, path_of(pair.address)) for pair in result.pairs if "platform-precision" in pair.flags}


def test_a_poor_kernel_is_named_and_what_it_explains_matches(program, tmp_path, here):
    before, result = diagnosed(program, tmp_path, coarse("softmax"))
    assert (before, result.verdict) == ("MISMATCH", "MATCH")
    (cause,) = result.causes
    assert (cause.slug, cause.address, cause.others, cause.confirmed) == (
        "platform-precision",
        "unet.attn",
        ["unet"],
        True,
    )
    assert cause.edits == [{"kind": "precision", "operators": ("softmax",)}]
    assert flagged(result) == {("layers", "unet.attn"), ("layers", "unet")}
    assert all(
        "with softmax in float64 its rms error is" in pair.detail
        for pair in result.pairs
        if "platform-precision" in pair.flags
    )
    assert cause.after < 1e-6 < cause.before


def test_what_failed_in_the_free_and_the_step_replay_matches_too(program, tmp_path, here):
    before, result = diagnosed(program, tmp_path, coarse("softmax"), modes=("free", "steps", "layers"))
    assert (before, result.verdict) == ("MISMATCH", "MATCH")
    assert {mode for mode, _ in flagged(result)} == {"free", "steps", "layers"}


def test_of_two_poor_kernels_each_is_named_for_what_it_explains(program, tmp_path, here):
    _, result = diagnosed(program, tmp_path, coarse("softmax", "gelu"), only=r"unet\.attn@.*|unet@.*")
    explained = {cause.address: cause.edits[0]["operators"] for cause in result.causes}
    assert explained["unet.attn"] == ("softmax",)
    assert result.verdict == "MATCH"


def test_an_excess_that_remains_in_float64_is_the_ports(program, tmp_path, here):
    """The platform has a poor kernel, but the fault is another's."""
    plant = coarse("gelu") + (
        "    own, single = port.cells['net.attn'], port.dtype == 'float32'\n"
        "    port.cells['net.attn'] = lambda x: own(x) * x.dtype.type(1.001 if single else 1)\n"
    )
    before, result = diagnosed(program, tmp_path, plant, only=r"unet\.attn@.*")
    assert (before, result.verdict) == ("MISMATCH", "MISMATCH")
    assert flagged(result) == set()
    assert [arguments for arguments in here if "float64-gelu" in " ".join(arguments)]


def test_a_wrong_formula_is_no_matter_of_precision(program, tmp_path, here):
    plant = coarse("softmax") + "    port.settings['unet.attn']['scale'] = 0.25\n"
    _, result = diagnosed(program, tmp_path, plant)
    assert flagged(result) == set()
    assert [cause.slug for cause in result.causes] == ["attention-scale"]


def test_a_port_that_refuses_to_compute_in_float64_is_not_excused(program, tmp_path, here, monkeypatch):
    from parity.errors import RepairError

    def apply(_self, _edit):
        message = "no operator can be replaced here"
        raise RepairError(message)

    monkeypatch.setattr(NumpySystem, "apply", apply)
    before, result = diagnosed(program, tmp_path, coarse("softmax"))
    assert (before, result.verdict, flagged(result)) == ("MISMATCH", "MISMATCH", set())


def test_without_a_command_nothing_can_be_asked(program, tmp_path, here):
    before, result = diagnosed(program, tmp_path, coarse("softmax"), command=())
    assert (before, result.verdict, here) == ("MISMATCH", "MISMATCH", [])


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
