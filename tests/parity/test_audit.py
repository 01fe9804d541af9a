"""Audits of weights and attributes name what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from parity.audit import audit_attributes, audit_weights, same_attribute
from parity.compare import compare
from parity.digests import digest
from tests.parity.compare.traces import Run, WeightDigests, candidate, manifest, reference

if TYPE_CHECKING:
    from pathlib import Path

    from parity.result import Pair

LAYOUTS = ("identity", "transpose", "flip0", "flip1")


def digests(name: str, shape: tuple[int, ...] = (4, 4)) -> WeightDigests:
    """What a recorder stores of a parameter; the digests are stand-ins for hashes."""
    variants = {
        f"{layout}/{rounding}": f"{name} {layout} {rounding}"
        for layout in LAYOUTS
        for rounding in ("own", "float16", "bfloat16")
    }
    return WeightDigests(shape=shape, dtype="float32", digests=variants)


def loaded(mark: str, shape: tuple[int, ...] = (4, 4), **fields: Any) -> WeightDigests:
    return WeightDigests(shape=shape, dtype="float32", digests={"identity/own": mark}, native="net.w", **fields)


def audit(found: dict[str, WeightDigests], **fields: Any) -> dict[str, Pair]:
    ours = {f"unet.{name}:weight": digests(name) for name in ("a", "b")}
    pairs = audit_weights(manifest("reference", weights=ours), manifest("candidate", weights=found, **fields))
    return {pair.address: pair for pair in pairs}


@pytest.mark.parametrize(
    ("mark", "verdict", "detail"),
    [
        ("a identity own", "MATCH", ""),
        ("a transpose own", "MISMATCH", "equals the reference's transpose"),
        ("a flip1 own", "MISMATCH", "equals the reference's flipped along axis 1"),
        ("a identity float16", "MISMATCH", "the reference's value rounded to float16"),
        ("a transpose bfloat16", "MISMATCH", "equals the reference's transpose, rounded to bfloat16"),
        ("b identity own", "MISMATCH", "equals the reference's unet.b:weight"),
        ("b transpose own", "MISMATCH", "equals the reference's unet.b:weight, equals the reference's transpose"),
        ("something", "MISMATCH", "different, kind unknown"),
    ],
)
def test_a_wrong_weight_is_named(mark: str, verdict: str, detail: str) -> None:
    found = audit({"unet.a:weight": loaded(mark), "unet.b:weight": loaded("b identity own")})["unet.a:weight"]
    assert (found.verdict, found.detail, found.stage, found.question) == (verdict, detail, "weights", "audit")
    assert found.native == "net.w"


def test_missing_unexpected_unloaded_and_misshapen_weights() -> None:
    pairs = audit({"unet.a:weight": loaded("a identity own", (2, 8)), "unet.c:weight": loaded("c")})
    assert pairs["unet.a:weight"].verdict == "INCOMPARABLE"
    assert pairs["unet.a:weight"].detail == "shape [2, 8]; the reference has [4, 4]"
    assert pairs["unet.b:weight"].verdict == "MISSING"
    assert pairs["unet.c:weight"].verdict == "UNEXPECTED"
    initial = audit({"unet.a:weight": loaded("x", initial=True)}, not_compared={"unet.b": "no counterpart"})
    assert initial["unet.a:weight"].detail == "still at its initial value"
    assert set(initial) == {"unet.a:weight"}


def test_names_with_dots_alone_are_the_same_parameters() -> None:
    ours = manifest("reference", weights={"unet.a.weight": digests("a")})
    (pair,) = audit_weights(ours, manifest("candidate", weights={"unet.a:weight": loaded("a identity own")}))
    assert (pair.address, pair.verdict) == ("unet.a:weight", "MATCH")


def test_buffers_are_compared_where_the_candidate_has_them() -> None:
    ours = manifest("reference", weights={"unet.a:weight": digests("a")}, buffers={"unet.e:ids": digests("e")})
    right = {"unet.a:weight": loaded("a identity own")}
    verdicts = {"e identity own": "MATCH", "e flip0 own": "MISMATCH"}
    (alone,) = audit_weights(ours, manifest("candidate", weights=right))
    assert (alone.address, alone.verdict) == ("unet.a:weight", "MATCH")
    for mark, verdict in verdicts.items():
        _, pair = audit_weights(ours, manifest("candidate", weights=right | {"unet.e:ids": loaded(mark)}))
        assert (pair.address, pair.verdict) == ("unet.e:ids", verdict)


@pytest.mark.parametrize(("value", "detail"), [(0, "all zeros"), (1, "all ones"), (2, "different, kind unknown")])
def test_a_parameter_of_one_number_looks_never_loaded(value: int, detail: str) -> None:
    told = loaded(digest(np.full((4, 4), value, np.float32)))
    found = audit({"unet.a:weight": told, "unet.b:weight": loaded("b identity own")})["unet.a:weight"]
    assert (found.verdict, found.detail) == ("MISMATCH", detail)
    assert found.change == ("different" if value == 2 else "initial")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (1e-5, 9.999999747378752e-06, True),
        (1e-5, 1e-6, False),
        (0.0, 1e-12, False),
        (5, 5.0, True),
        (True, 1, False),
        (None, None, True),
        (None, 0, False),
        ([1, 2], (1, 2), True),
        ([1, 2], [2, 1], False),
        ("silu", "silu", True),
        ("gelu", "gelu_tanh", False),
    ],
)
def test_attributes_are_equal_up_to_float32(first: object, second: object, same) -> None:
    assert same_attribute(first, second) is same


def test_only_attributes_that_both_report_are_compared() -> None:
    ours = manifest("reference", attributes={"unet.norm": {"eps": 1e-5, "groups": 32}, "unet.act": {"kind": "silu"}})
    theirs = manifest("candidate", attributes={"unet.norm": {"eps": 1e-6, "extra": 1}})
    (pair,) = audit_attributes(ours, theirs)
    assert (pair.address, pair.verdict, pair.stage) == ("unet.norm:attribute.eps", "MISMATCH", "attributes")
    assert pair.detail == "eps is 1e-06; the reference has 1e-05"
    assert pair.worst is not None
    assert (pair.worst.reference, pair.worst.candidate) == (1e-5, 1e-6)


@pytest.mark.parametrize("works", [True, False])
def test_an_attribute_without_effect_is_equivalent(tmp_path: Path, works) -> None:
    def plant(name: str, tensors: Run) -> None:
        if name.startswith("layers") and not works:
            tensors["unet.conv_in@step=0:output"] *= 2

    trace = reference(tmp_path / "r", attributes={"unet.conv_in": {"padding": "same"}})
    result = compare(trace, [candidate(tmp_path / "c", trace, plant, attributes={"unet.conv_in": {"padding": [1, 1]}})])
    found = result.pairs[0]
    assert (found.stage, found.verdict) == ("attributes", "MISMATCH")
    assert found.flags == (["equivalent"] if works else [])
    assert result.verdict == ("MATCH" if works else "MISMATCH")
    assert result.first_divergence is None or result.first_divergence.address == found.address


def test_weights_come_first(tmp_path: Path) -> None:
    def plant(name: str, tensors: Run) -> None:
        if name.startswith("layers"):
            tensors["tokenizer:output"] = tensors["tokenizer:output"] + 1

    trace = reference(tmp_path / "r", weights={"unet.conv_in:weight": digests("a")})
    wrong = candidate(tmp_path / "c", trace, plant, weights={"unet.conv_in:weight": loaded("a transpose own")})
    result = compare(trace, [wrong])
    assert result.first_divergence is not None
    assert (result.first_divergence.address, result.first_divergence.stage) == ("unet.conv_in:weight", "weights")
    assert result.coverage.parameter_owners == result.coverage.parameter_owners_compared == 1
