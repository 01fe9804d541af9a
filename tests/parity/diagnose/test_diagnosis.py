"""A fault built into the port in numpy is named, located and proven by a replay of its own, as in any other candidate."""

from __future__ import annotations

import pytest

from parity.address import path_of
from parity.compare import compare
from parity.diagnose import diagnose
from parity.record import record
from tests.parity import numpy_program
from tests.parity.numpy_candidate import replayed

EXACT = 1e-9


def diagnosed(program, folder, plant, **options):
    """Replay with a fault, compare and diagnose."""
    chosen = {"modes": ("free", "layers"), "dtypes": ("float64",)} | options
    trace = replayed(program, folder / "candidate", plant=plant, **chosen)
    return diagnose(compare(program, [trace]), folder, progress=lambda *_: None)


def model(*lines):
    """Return the text of a plant that changes the loaded port."""
    return "\n    ".join(("import numpy as np\ndef model(port):", *lines)) + "\n"


def checkpoint(*lines):
    """Return the text of a plant that changes the port's weights."""
    return "\n    ".join(("import numpy as np\ndef checkpoint(state):", *lines)) + "\n"


# the plant -> slug, place, whether a repair can be tried
FAULTS = {
    "a transposed matrix": (
        checkpoint("state['net.attn.q'] = state['net.attn.q'].T"), "transposed-weight", "unet.attn.to_q", True,
    ),
    "a flipped matrix": (
        checkpoint("state['net.outp.matrix'] = state['net.outp.matrix'][:, ::-1]"), "flipped-weight", "unet.conv_out", True,
    ),
    "a bias flipped": (
        checkpoint("state['net.ff.bias'] = state['net.ff.bias'][::-1]"), "flipped-weight", "unet.ff:bias", True,
    ),
    "a norm's epsilon that is reported": (
        model("port.settings['unet.norm']['eps'] = 1e-4"), "norm-epsilon", "unet.norm", True,
    ),
    "an activation's variant": (
        model("port.settings['unet.act']['approximate'] = 'tanh'"), "activation-variant", "unet.act", True,
    ),
    "an attention's scale": (model("port.settings['unet.attn']['scale'] = 0.25"), "attention-scale", "unet.attn", True),
    "a guidance scale": (
        model("port.settings['guidance']['guidance_scale'] = 4.5"), "attribute-differs", "guidance", True,
    ),
    "noise one step late": (model("port.noise_late = 1"), "noise-step-shifted", "scheduler.step", True),
    "a matrix of another layer": (
        checkpoint("state['net.attn.k'] = state['net.attn.v']"), "swapped-weight", "unet.attn.to_k", False,
    ),
    "a parameter that nothing filled": (
        model("port.state['net.ff.matrix'] = np.ones_like(port.state['net.ff.matrix'])", "port.unloaded = {'net.ff.matrix'}"),
        "weight-not-loaded", "unet.ff", False,
    ),
    "half a precision inside": (
        model("own = port.cells['net.told']", "port.cells['net.told'] = lambda x: own(x).astype(np.float16).astype(x.dtype)"),
        "half-precision-grid", "unet.context", False,
    ),
    "a factor": (
        model("own = port.cells['net.ln']", "port.cells['net.ln'] = lambda x: own(x) * x.dtype.type(1.01)"),
        "scaled-output", "unet.norm", False,
    ),
    "nobody knows what": (
        model("own = port.cells['net.ff']", "port.cells['net.ff'] = lambda x: own(x) + np.sin(own(x)) / 50"),
        "unknown", "unet.ff", False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_located_and_proven(program, tmp_path, here, name):
    plant, slug, place, repairable = FAULTS[name]
    result = diagnosed(program, tmp_path, plant)
    (cause,) = result.causes
    assert (cause.slug, cause.address, cause.confirmed) == (slug, place, repairable)
    assert cause.evidence
    if repairable:
        assert cause.before > EXACT > cause.after
        assert result.price["repaired"]["image"]["float64"]["candidate"]["max_over_largest"] < EXACT
    else:
        assert cause.edits == []


def test_what_is_at_work_is_told_when_it_begins_and_when_it_is_done(program, tmp_path, here):
    told = []
    trace = replayed(program, tmp_path / "candidate", plant=FAULTS["a transposed matrix"][0], modes=("layers",))
    diagnose(compare(program, [trace]), tmp_path, progress=lambda *each: told.append(each))
    assert told == [(what, done, 1) for what in ("fit hypotheses", "replay with the repairs") for done in (0, 1)]


def test_a_healthy_port_has_no_cause_and_nothing_is_replayed(program, tmp_path, here):
    result = diagnosed(program, tmp_path, "")
    assert (result.verdict, result.causes, here) == ("MATCH", [], [])


def test_a_module_that_only_contains_the_fault_is_flagged_so(program, tmp_path, here):
    result = diagnosed(program, tmp_path, FAULTS["a transposed matrix"][0])
    failing = {
        path_of(pair.address): pair for pair in result.pairs if (pair.mode, pair.verdict) == ("layers", "MISMATCH")
    }
    assert set(failing) == {"unet", "unet.attn", "unet.attn.to_q"}
    assert {path for path, pair in failing.items() if "contains" in pair.flags} == {"unet", "unet.attn"}


def test_two_faults_are_two_causes_in_the_order_of_their_stages(program, tmp_path, here):
    plant = FAULTS["noise one step late"][0] + FAULTS["a transposed matrix"][0]
    causes = diagnosed(program, tmp_path, plant).causes
    assert [(cause.slug, cause.confirmed) for cause in causes] == [
        ("transposed-weight", True),
        ("noise-step-shifted", True),
    ]


def test_a_fault_that_no_repair_removes_stays_unconfirmed(program, tmp_path, here):
    """The cell has its own epsilon: what is reported, and set by the repair, is another one's."""
    plant = model(
        "from tests.parity.numpy_candidate import normal",
        "gain, bias = port.state['net.ln.gain'], port.state['net.ln.bias']",
        "port.cells['net.ln'] = lambda x: normal(x, 1e-3) * gain + bias",
    )
    (cause,) = diagnosed(program, tmp_path, plant).causes
    assert (cause.slug, cause.address, cause.confirmed) == ("norm-epsilon", "unet.norm", False)
    assert "eps = 0.001" in cause.evidence[0]
    assert cause.evidence[-1].endswith("still differs")
    assert cause.after == pytest.approx(cause.before)
    assert cause.confidence == 0.5


def test_a_repair_that_the_port_cannot_take_leaves_its_cause_unconfirmed_and_the_others_proven(program, tmp_path, here):
    """The activation is no setting of this port: what its tensors show cannot be set back."""
    plant = FAULTS["a transposed matrix"][0] + model(
        "del port.settings['unet.act']",
        "port.cells['net.act1'] = port.cells['net.act2'] = lambda x: x / (1 + np.exp(-1.702 * x))",
    )
    causes = {cause.slug: cause for cause in diagnosed(program, tmp_path, plant).causes}
    assert len(here) == 2  # with all edits, then with the one that was taken and a substitution for the other
    assert causes["transposed-weight"].confirmed
    refused = causes["activation-variant"]
    assert (refused.address, refused.confirmed, refused.edits) == ("unet.act", False, [])
    assert "the repair could not be tried: unet.act has no attribute 'approximate' here" in refused.evidence


def test_a_trace_without_a_command_has_causes_and_no_proof(program, tmp_path, here):
    (cause,) = diagnosed(program, tmp_path, FAULTS["a transposed matrix"][0], command=()).causes
    assert (cause.slug, cause.confirmed, cause.before) == ("transposed-weight", False, None)
    assert here == []


def test_several_candidates_are_diagnosed_each_by_itself(program, port, tmp_path, here):
    plant = FAULTS["a transposed matrix"][0]
    wrong = replayed(program, tmp_path / "wrong", plant=plant)
    result = diagnose(compare(program, [port, wrong]), tmp_path, progress=lambda *_: None)
    (cause,) = result.causes
    assert (cause.slug, cause.address, cause.confirmed) == ("transposed-weight", "unet.attn.to_q", True)
    assert "plant" in cause.candidate
    (folder,) = tmp_path.glob("*/counterfactual")
    assert "plant" in folder.parent.name


def test_a_reference_that_is_off_stays_a_finding_beside_the_cause_in_the_port(
    program_case, tmp_path, monkeypatch, here
):
    part = numpy_program.PARTS["unet.conv_out"]

    def coarse(program, path, hidden_states):
        output = part.compute(program, path, hidden_states)
        return output * output.dtype.type(1.05) if program.dtype == "float32" else output

    monkeypatch.setitem(numpy_program.PARTS, "unet.conv_out", part._replace(compute=coarse))
    recorded = record(program_case, numpy_program.reference, tmp_path / "reference")
    plant = checkpoint("state['net.attn.q'] = state['net.attn.q'].T")
    result = diagnosed(recorded, tmp_path, plant, dtypes=("float64", "float32"))
    about, cause = result.causes
    assert (about.slug, path_of(about.address)) == ("reference-error", "unet.conv_out")
    assert (cause.slug, path_of(cause.address), cause.confirmed) == ("transposed-weight", "unet.attn.to_q", True)
    assert here
    right = diagnosed(recorded, tmp_path / "right", "", dtypes=("float64", "float32"))
    assert ([each.slug for each in right.causes], right.verdict) == (["reference-error"], "INCOMPLETE")
