"""Comparing through a mapping: what is sure is judged, what is not is not, and a person decides."""

import msgspec
import numpy as np
import pytest

from parity import result as results
from parity.compare import compare
from parity.errors import AlignmentError
from parity.mapping import Mapping, encode, excluded, explain, mapped, read
from parity.mapping.propose import propose
from parity.trace import Row
from tests.conftest import run_parity
from tests.parity.mapping import made

DEPTH = 2


@pytest.fixture
def both(tmp_path):
    """A reference's trace and a healthy candidate's."""
    network = made.compute(DEPTH, 0)
    reference = made.reference_trace(tmp_path / "reference", network)
    return reference, made.candidate_trace(tmp_path / "candidate", network, reference)


def judged(reference, candidate, mapping):
    """The result of comparing through a mapping, as the command does it."""
    result = compare(reference, [mapped(candidate, mapping, reference)], excludes=excluded(mapping), jobs=1)
    explain(result.pairs, mapping)
    return result


def changed(mapping, place, **fields):
    """The mapping with other fields in the pairs of one path."""
    pairs = [msgspec.structs.replace(pair, **fields) if pair.path == place else pair for pair in mapping.counterparts]
    return msgspec.structs.replace(mapping, counterparts=pairs)


def test_a_healthy_candidate_matches_under_its_proposed_mapping(both):
    reference, candidate = both
    result = judged(reference, candidate, propose(reference, candidate))
    assert result.verdict == "MATCH"
    assert result.coverage.unexplained == []
    assert result.coverage.parameter_owners == result.coverage.parameter_owners_compared == len(made.OWNERS) * DEPTH
    assert result.counts["MATCH"] == len(reference.run("float64")) + len(made.OWNERS) * DEPTH
    assert {pair.native for pair in result.pairs if ".attn.to_q" in pair.address and pair.mode == "free"} == {
        "net.stages.0.attn.in_proj", "net.stages.1.attn.in_proj",
    }  # fmt: skip


def test_a_candidate_that_tells_no_steps_is_compared_call_by_call(tmp_path):
    network = made.compute(DEPTH, 0)
    reference = made.reference_trace(tmp_path / "reference", network)
    candidate = made.candidate_trace(tmp_path / "candidate", network, reference, steps=False)
    assert judged(reference, candidate, propose(reference, candidate)).verdict == "MATCH"


def test_a_defect_is_found_at_its_place(tmp_path):
    reference = made.reference_trace(tmp_path / "reference", made.compute(DEPTH, 0))
    broken = made.compute(DEPTH, 0, change=lambda role, block, x: x + 1e-6 if (role, block) == ("out", 1) else x)
    candidate = made.candidate_trace(tmp_path / "candidate", broken, reference)
    result = judged(reference, candidate, propose(reference, candidate))
    assert result.verdict == "MISMATCH"
    assert result.first_divergence.address == "unet.blocks.1.attn.to_out@step=0:output"


@pytest.mark.parametrize("broken", [False, True], ids=["healthy", "broken"])
def test_a_pair_of_low_confidence_is_not_judged_until_a_person_accepts_it(tmp_path, broken):
    """Right or wrong: below the threshold nothing is said about it, and that is no match."""
    reference = made.reference_trace(tmp_path / "reference", made.compute(DEPTH, 0))
    last = {"change": lambda role, block, x: x * 1.01 if (role, block) == ("block", 1) else x} if broken else {}
    candidate = made.candidate_trace(tmp_path / "candidate", made.compute(DEPTH, 0, **last), reference)
    low = changed(propose(reference, candidate), "unet.blocks.1", confidence=0.5, accepted=False)
    result = judged(reference, candidate, low)
    assert result.verdict == "INCOMPLETE"
    assert result.coverage.unexplained == ["unet.blocks.1"]
    missing = [pair for pair in result.pairs if pair.verdict == "MISSING"]
    assert [pair.address for pair in missing] == [f"unet.blocks.1@step={step}:output" for step in range(made.STEPS)]
    assert all("confidence 0.5 below 0.9; accept or correct it" in pair.detail for pair in missing)
    accepted = judged(reference, candidate, changed(low, "unet.blocks.1", accepted=True))
    assert accepted.verdict == ("MISMATCH" if broken else "MATCH")


def test_the_same_through_the_files_and_commands(both, tmp_path):
    reference, candidate = both
    file = tmp_path / "mapping.toml"
    proposed = run_parity(tmp_path, "map", reference.folder, candidate.folder, "--out", file)
    assert proposed.code == 0, proposed.stderr
    text = file.read_text()
    mark = text.index("confidence", text.index('path = "unet.blocks.1.attn.to_out"'))
    end = text.index("\n", mark)
    compare_it = ("compare", reference.folder, candidate.folder, "--mapping", file, "--out", tmp_path / "result")
    for line, code, verdict in (
        ("confidence = 0.4", 1, "INCOMPLETE"),
        ("confidence = 0.4\naccepted = true", 0, "MATCH"),
        ("confidence = 0.95", 0, "MATCH"),
        ("confidence = 7", 2, None),
    ):
        file.write_text(text[:mark] + line + text[end:])
        finished = run_parity(tmp_path, *compare_it)
        assert finished.code == code, finished.stderr
        if verdict is not None:
            assert results.read(tmp_path / "result").verdict == verdict


def test_a_native_recording_is_of_one_type(both, tmp_path):
    reference, _ = both
    types = ("--dtype", "float32", "--dtype", "float64")
    finished = run_parity(tmp_path, "replay", reference.folder, "--native", "--out", tmp_path / "native", *types)
    assert finished.code == 2
    assert "float32, float64 were asked for; write one for each" in finished.stderr


def test_diagnose_reads_the_candidate_through_the_same_mapping(tmp_path):
    reference = made.reference_trace(tmp_path / "reference", made.compute(DEPTH, 0))
    broken = made.compute(DEPTH, 0, change=lambda role, block, x: 1.5 * x if (role, block) == ("out", 1) else x)
    candidate = made.candidate_trace(tmp_path / "candidate", broken, reference)
    file = tmp_path / "mapping.toml"
    file.write_text(encode(propose(reference, candidate), "made"))
    folder = tmp_path / "result"
    assert (
        run_parity(folder, "compare", reference.folder, candidate.folder, "--mapping", file, "--out", folder).code == 1
    )
    finished = run_parity(folder, "diagnose", folder)
    assert finished.code == 1, finished.stderr
    file.unlink()
    refused = run_parity(folder, "diagnose", folder)
    assert refused.code == 2
    assert "parity map REFERENCE CANDIDATE" in refused.stderr


def test_an_output_that_nobody_has_is_left_out_with_a_reason(both):
    reference, candidate = both
    mapping = changed(propose(reference, candidate), "unet.blocks.1", native="", confidence=0.0)
    assert judged(reference, candidate, mapping).verdict == "INCOMPLETE"
    for name in ("unet.blocks.1", "unet.blocks.1:output"):
        excused = msgspec.structs.replace(mapping, not_compared={name: "no counterpart"})
        assert judged(reference, candidate, excused).verdict == "MATCH"


def test_a_matrix_that_was_loaded_transposed_is_no_layout(tmp_path):
    """It is square, so only the values tell it from one that is stored transposed."""
    reference = made.reference_trace(tmp_path / "reference", made.compute(DEPTH, 0))
    wrong = made.compute(DEPTH, 0, transposed="k")
    candidate = made.candidate_trace(tmp_path / "candidate", wrong, reference)
    mapping = propose(reference, candidate)
    result = judged(reference, candidate, mapping)
    audits = {pair.address: pair for pair in result.pairs if pair.mode == "audit"}
    wrong_one = audits["unet.blocks.0.attn.to_k:weight"]
    assert (wrong_one.verdict, wrong_one.detail) == ("MISMATCH", "equals the reference's transpose")
    assert result.first_divergence.address == wrong_one.address
    undecided = audits["unet.blocks.0.attn.to_out:weight"]  # stored transposed, and all its values are inherited
    assert undecided.verdict == "MISSING"
    assert "does not say which parameter" in undecided.detail


def test_the_mapped_tensors_are_the_reference_s_layout(both):
    reference, candidate = both
    trace = mapped(candidate, propose(reference, candidate), reference)
    mine, theirs = reference.run("float64"), trace.run("free-float64")
    assert set(theirs) == set(mine)
    for address in mine:
        assert theirs.record(address).shape == mine.record(address).shape
        assert np.allclose(theirs.tensor(address), mine.tensor(address), rtol=1e-12, atol=1e-12)
        assert theirs.tensor(address).flags.c_contiguous


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"path": "unet.blocks.7"}, "which the reference does not have"),
        ({"native": "net.stages.0.lm"}, "which .* does not have, did you mean 'net.stages.0.ln'"),
        ({"take": "output.1"}, "whose outputs are output"),
        ({"transform": "rotate"}, "not a layout transform"),
        ({"transform": "slice:0/7"}, "has no layout transform"),
        ({"weights": {"weight": "beta"}}, "parameter 'beta' of 'net.stages.0.ln'"),
        ({"weights": {"bias": "gamma"}}, "parameter 'bias' of 'unet.blocks.0.norm'"),
    ],
)
def test_a_mapping_that_does_not_fit_is_an_error(both, fields, words):
    reference, candidate = both
    mapping = changed(propose(reference, candidate), "unet.blocks.0.norm", **fields)
    with pytest.raises(AlignmentError, match=words):
        mapped(candidate, mapping, reference)


def test_a_path_cannot_be_judged_and_left_out(both):
    reference, candidate = both
    mapping = msgspec.structs.replace(propose(reference, candidate), not_compared={"unet.blocks.0.norm": "identity"})
    with pytest.raises(AlignmentError, match="remove one"):
        mapped(candidate, mapping, reference)


def test_a_candidate_with_a_table_of_its_own_needs_no_mapping(both):
    reference, candidate = both
    mapping = propose(reference, candidate)
    candidate.manifest.alignment = [Row(path="unet", native="net")]
    with pytest.raises(AlignmentError, match="compare it without --mapping"):
        mapped(candidate, mapping, reference)


def test_an_empty_mapping_judges_nothing(both):
    reference, candidate = both
    result = judged(reference, candidate, Mapping(counterparts=[]))
    assert result.verdict == "INCOMPLETE"
    assert result.counts["MATCH"] == 0


def test_the_file_of_a_proposal_reads_back(both, tmp_path):
    mapping = propose(*both)
    (tmp_path / "m.toml").write_text(encode(mapping, "made"))
    assert read(tmp_path / "m.toml") == msgspec.structs.replace(mapping, candidate_only=[])
