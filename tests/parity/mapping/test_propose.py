"""Proposals: the right counterpart, or no confidence in a wrong one."""

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parity.align import transform
from parity.errors import TraceError
from parity.mapping.propose import propose
from parity.trace import Row, Trace
from tests.parity.mapping import made

several = settings(
    max_examples=settings.default.max_examples // 8, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def fresh(tmp_path):
    """A new folder each time it is asked."""
    count = iter(range(1000))
    return lambda: tmp_path / str(next(count))


def names_of(mapping, back=None):
    """(path, call) -> (native, transform)."""
    back = {} if back is None else back
    return {(back.get(pair.path, pair.path), pair.call): (pair.native, pair.transform) for pair in mapping.counterparts}


def wrong_and_sure(mapping, reference, candidate):
    """Judged pairs whose tensors are not the same ones: what must never be."""
    mine, theirs = reference.run("float64"), candidate.run("free-float64")
    found = []
    for pair in filter(mapping.judged, mapping.counterparts):
        for step in range(made.STEPS):
            address = f"{pair.path}@step={step}" + (f",call={pair.call}" if pair.call is not None else "") + ":output"
            wanted = mine.tensor(address)
            got = theirs.tensor(f"{pair.native}@step={step},call={pair.native_call or 0}:output")
            got = transform(pair.transform, got, wanted.shape)
            if got.shape != wanted.shape or not np.allclose(got, wanted, rtol=1e-9, atol=1e-9):
                found.append((address, pair.native, pair.confidence))
    return found


def test_every_pair_of_the_network_is_found_with_its_layout(fresh):
    network = made.compute(3, 0)
    reference = made.reference_trace(fresh(), network)
    mapping = propose(reference, made.candidate_trace(fresh(), network, reference))
    assert names_of(mapping) == made.truth(3)
    assert all(map(mapping.judged, mapping.counterparts))
    assert mapping.counterparts[0].path == "unet.blocks.0.norm"  # in order of execution


def test_fused_transposed_and_reshaped_weights_are_told(fresh):
    network = made.compute(2, 0)
    reference = made.reference_trace(fresh(), network)
    mapping = propose(reference, made.candidate_trace(fresh(), network, reference))
    told = {pair.path: pair.weights for pair in mapping.counterparts}
    assert told["unet.blocks.0.norm"] == {"weight": "gamma"}
    assert told["unet.blocks.1.attn.to_k"] == {"weight": "weight"}
    assert told["unet.blocks.0.attn.to_out"] == {"weight": "weight transpose"}
    assert told["unet.blocks.0.ff.linear"] == {"weight": "weight"}


@several
@given(depth=st.integers(1, 5), seed=st.integers(0, 10_000))
def test_meaningless_names_change_nothing(tmp_path_factory, depth, seed):
    folder = tmp_path_factory.mktemp("shuffled")
    network = made.compute(depth, seed)
    names = made.shuffled(seed, depth)
    reference = made.reference_trace(folder / "reference", network, names)
    mapping = propose(reference, made.candidate_trace(folder / "candidate", network, reference))
    assert names_of(mapping, {new: old for old, new in names.items()}) == made.truth(depth)
    assert all(map(mapping.judged, mapping.counterparts))


@pytest.mark.parametrize("without", ["weights", "values", "steps", "both"])
def test_less_evidence_still_finds_them_but_order_alone_is_never_sure(fresh, without):
    network = made.compute(3, 4)
    reference = made.reference_trace(fresh(), network)
    candidate = made.candidate_trace(
        fresh(), network, reference, weights=without not in {"weights", "both"}, steps=without != "steps"
    )
    mapping = propose(reference, candidate, values=without not in {"values", "both"})
    right = {key: pair for key, pair in names_of(mapping).items() if made.truth(3)[key][0] == pair[0]}
    owned = {key for key in made.truth(3) if f"{key[0]}:weight" in reference.manifest.weights}
    if without in {"values", "steps"}:
        assert owned <= right.keys()
    if without == "weights":  # nobody says that one projection is three, so those three have no counterpart
        assert {key for key in owned if key[0].rpartition("_")[2] not in {"q", "k", "v"}} <= right.keys()
    if without == "both":
        assert not any(
            mapping.judged(pair) for pair in mapping.counterparts if pair.path in {path for path, _ in owned}
        )


@several
@given(depth=st.integers(2, 5), seed=st.integers(0, 10_000), data=st.data())
def test_a_block_that_the_candidate_lacks_makes_nothing_confidently_wrong(tmp_path_factory, depth, seed, data):
    folder = tmp_path_factory.mktemp("lacking")
    reference = made.reference_trace(folder / "reference", made.compute(depth, seed))
    lacking = data.draw(st.integers(0, depth - 1))
    network = made.compute(depth, seed, without=lacking)
    candidate = made.candidate_trace(folder / "candidate", network, reference)
    mapping = propose(reference, candidate)
    for pair in mapping.counterparts:
        if pair.path.startswith(f"unet.blocks.{lacking}"):
            assert not mapping.judged(pair), pair
        elif mapping.judged(pair):
            assert (pair.native, pair.transform) == made.truth(depth)[pair.path, pair.call]


@several
@given(depth=st.integers(2, 5), seed=st.integers(0, 10_000), named=st.booleans())
def test_layers_with_the_same_weights_are_right_or_not_sure(tmp_path_factory, depth, seed, named):
    folder = tmp_path_factory.mktemp("identical")
    network = made.compute(depth, seed, identical=True)
    names = None if named else made.shuffled(seed, depth)
    reference = made.reference_trace(folder / "reference", network, names)
    candidate = made.candidate_trace(folder / "candidate", network, reference)
    mapping = propose(reference, candidate)
    assert wrong_and_sure(mapping, reference, candidate) == []
    blind = propose(reference, candidate, values=False, names=named)
    back = {} if names is None else {new: old for old, new in names.items()}
    for pair in filter(blind.judged, blind.counterparts):
        assert pair.native == made.truth(depth)[back.get(pair.path, pair.path), pair.call][0]


@several
@given(depth=st.integers(2, 4), seed=st.integers(0, 10_000), data=st.data())
def test_a_missing_one_of_identical_layers_is_never_confidently_wrong(tmp_path_factory, depth, seed, data):
    folder = tmp_path_factory.mktemp("one-of-many")
    reference = made.reference_trace(folder / "reference", made.compute(depth, seed, identical=True))
    network = made.compute(depth, seed, identical=True, without=data.draw(st.integers(0, depth - 1)))
    candidate = made.candidate_trace(folder / "candidate", network, reference)
    assert wrong_and_sure(propose(reference, candidate), reference, candidate) == []
    blind = propose(reference, candidate, values=False)
    assert not [pair for pair in blind.counterparts if _owns(pair) and blind.judged(pair)]


_SLICES = tuple(f"slice:{index}/3" for index in range(3))


def _owns(pair):
    return pair.weights != {}


def test_identical_layers_without_a_tensor_are_not_sure(fresh):
    network = made.compute(3, 5, identical=True)
    names = made.shuffled(1, 3)
    reference = made.reference_trace(fresh(), network, names)
    mapping = propose(reference, made.candidate_trace(fresh(), network, reference), values=False)
    assert not any(map(mapping.judged, mapping.counterparts))


def test_another_order_of_calls_is_found_by_weights_and_values(fresh):
    reference = made.reference_trace(fresh(), made.compute(3, 6, order="vkq"))
    candidate = made.candidate_trace(fresh(), made.compute(3, 6), reference)
    found = names_of(propose(reference, candidate))
    assert {key: native for key, (native, _) in found.items()} == {
        k: native for k, (native, _) in made.truth(3).items()
    }


def as_candidate(trace, reference):
    """A trace of the reference's kind as a candidate under native names."""
    manifest = msgspec.structs.replace(trace.manifest, side="candidate", reference_digest=reference.digest)
    return Trace(trace.folder, manifest, {"float64": trace.run("float64")}, plain=False)


def test_exchanged_weights_whose_names_say_otherwise_are_left_to_a_person(fresh):
    """The candidate's to_q holds what the reference's to_k holds: a defect, or other names? Nobody can tell."""
    reference = made.reference_trace(fresh(), made.compute(2, 7))
    other = made.reference_trace(fresh(), made.compute(2, 7, exchanged=True))
    mapping = propose(reference, as_candidate(other, reference))
    for pair in mapping.counterparts:
        if pair.path.endswith((".attn.to_q", ".attn.to_k")):
            assert not mapping.judged(pair), pair
        elif _owns(pair):
            assert pair.native == pair.path
            assert mapping.judged(pair)


def test_exchanged_names_do_not_outweigh_weights_values_and_order(fresh):
    network = made.compute(1, 7)
    reference = made.reference_trace(fresh(), network)
    names = {"unet.blocks.0.attn.to_q": "unet.blocks.0.attn.to_k", "unet.blocks.0.attn.to_k": "unet.blocks.0.attn.to_q"}
    other = made.reference_trace(fresh(), network, names)
    mapping = propose(reference, as_candidate(other, reference))
    assert {pair.path: pair.native for pair in mapping.counterparts}.items() >= names.items()
    assert all(map(mapping.judged, mapping.counterparts))


def test_a_defect_does_not_hide_behind_the_mapping(fresh):
    """A wrong module and all that follows from it are still paired, so that the comparer sees them.

    Where the layout differs too, nothing tells which layout is meant, and a person has to.
    """
    reference = made.reference_trace(fresh(), made.compute(4, 8))
    broken = made.compute(4, 8, change=lambda role, block, x: 1.3 * x if (role, block) == ("out", 1) else x)
    mapping = propose(reference, made.candidate_trace(fresh(), broken, reference))
    owned = [pair for pair in mapping.counterparts if _owns(pair)]
    assert all(mapping.judged(pair) for pair in owned if pair.transform in {None, *_SLICES})
    assert {(pair.path, pair.call): pair.native for pair in owned}.items() <= {
        key: native for key, (native, _) in made.truth(4).items()
    }.items()


def test_a_trace_that_is_aligned_already_is_refused(fresh):
    network = made.compute(1, 0)
    reference = made.reference_trace(fresh(), network)
    candidate = made.candidate_trace(fresh(), network, reference)
    candidate.manifest.alignment = [Row(path="unet", native="net")]
    with pytest.raises(TraceError, match="has an alignment table already"):
        propose(reference, candidate)


def test_hundreds_of_modules_take_seconds(fresh):
    import time

    network = made.compute(40, 3)
    reference = made.reference_trace(fresh(), network)
    candidate = made.candidate_trace(fresh(), network, reference)
    started = time.process_time()
    mapping = propose(reference, candidate)
    assert time.process_time() - started < 60.0
    assert names_of(mapping) == made.truth(40)
