"""How much of the reference was compared, and why the rest was not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parity.compare import compare
from tests.parity.compare.traces import Run, addresses, candidate, manifest, write

if TYPE_CHECKING:
    from pathlib import Path

    from parity.trace import Trace


def test_a_path_with_a_reason_is_not_missed(ref: Trace, tmp_path: Path) -> None:
    def drop(_: str, tensors: Run) -> None:
        for address in list(tensors):
            if address.startswith("unet.conv_in@"):
                del tensors[address]

    dropped = candidate(tmp_path / "c", ref, drop, not_compared={"unet.conv_in": "no counterpart"})
    result = compare(ref, [dropped])
    assert result.verdict == "MATCH"
    assert result.coverage.not_compared == {"unet.conv_in": "no counterpart"}
    assert (result.coverage.paths, result.coverage.compared) == (8, 7)
    without = compare(ref, [candidate(tmp_path / "d", ref, drop)])
    assert without.verdict == "INCOMPLETE"
    assert without.coverage.unexplained == ["unet.conv_in"]


def test_nothing_compared_is_incomplete(ref: Trace, tmp_path: Path) -> None:
    everything = dict.fromkeys(
        {address.partition("@")[0].partition(":")[0] for address in addresses()}, "no counterpart"
    )
    described = manifest("candidate", reference_digest=ref.digest, not_compared=everything)
    result = compare(ref, [write(tmp_path / "c", described, {"layers-float64": ("layers", "float64", {})})])
    assert (result.verdict, result.pairs) == ("INCOMPLETE", [])
    assert compare(ref, []).verdict == "INCOMPLETE"


def test_a_partial_replay_answers_only_for_what_it_was_asked(ref: Trace, tmp_path: Path) -> None:
    def keep(_: str, tensors: Run) -> None:
        for address in list(tensors):
            if not address.startswith("unet.conv_in"):
                del tensors[address]

    partial = candidate(tmp_path / "c", ref, keep, names=("layers-float64",), only=r"unet\.conv_in@.*")
    result = compare(ref, [partial])
    assert (result.verdict, len(result.pairs)) == ("MATCH", 3)
    assert (result.coverage.paths, result.coverage.unexplained) == (1, [])
