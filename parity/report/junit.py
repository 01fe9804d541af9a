"""`junit.xml`: what a continuous-integration server shows of a result.

One suite per stage (of each candidate, where there are several), one case per path, question, mode and type: a path is one case over all its steps and
ports. A case fails when one of its pairs counts against the whole verdict, and the failure carries the five
lines of the worst ones. A case whose failing pairs are all explained elsewhere (inherited) is skipped with
that reason, so that the number of failures is the number of places to look at.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from parity.address import STAGES, path_of
from parity.compare.several import split
from parity.report import card
from parity.report.summary import FAILING, excess, excused, headline
from parity.report.words import count, plain, visible

if TYPE_CHECKING:
    from pathlib import Path

    from parity.result import Pair, Result

__all__ = ["document", "write"]

_CARDS_PER_CASE: Final = 3
Group = tuple[str, str, str, str]


def write(result: Result, path: Path) -> None:
    """Write the document of `result`."""
    path.write_bytes(document(result))


def document(result: Result) -> bytes:
    """Return the document as UTF-8 XML; the same result gives the same bytes."""
    root = ET.Element("testsuites", name="parity")
    _properties(root, result)
    sums = []
    for label, view in split(result).items():
        suites: dict[str, dict[Group, list[Pair]]] = defaultdict(lambda: defaultdict(list))
        for pair in view.pairs:
            suites[pair.stage][path_of(pair.address), pair.question, pair.mode, pair.dtype or ""].append(pair)
        known = [stage for stage in STAGES if stage in suites]
        prefix = f"{label}: " if label else ""
        mine = [
            _suite(root, view, prefix + stage, suites[stage]) for stage in [*known, *sorted(set(suites) - set(known))]
        ]
        sums += [*mine, _whole(root, view, prefix, any(failures for _, failures, _ in mine))]
    for place, name in enumerate(("tests", "failures", "skipped")):
        root.set(name, str(sum(amounts[place] for amounts in sums)))
    root.set("errors", "0")
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'.encode()


def _text(text: str) -> str:
    """Return text that XML 1.0 can hold, lines kept: `visible` also escapes lone surrogates and non-characters."""
    return "\n".join(visible(line) for line in text.split("\n"))


def _properties(root: ET.Element, result: Result) -> None:
    """Write the verdict, the first divergence and both sides' provenance."""
    properties = ET.SubElement(root, "properties")
    values = {
        "verdict": result.verdict,
        "headline": headline(result),
        "sides": card.sides(result),
        "schema": str(result.schema),
    }
    for role in ("reference", *(result.candidates or ("candidate",))):
        side = result.provenance.get(role)
        for key, value in side.items() if isinstance(side, dict) else ():
            values[f"{role}.{key}"] = plain(value)
    values |= {f"{label}.verdict": view.verdict for label, view in result.candidates.items()}
    for name, value in values.items():
        ET.SubElement(properties, "property", name=_text(visible(name)), value=visible(value))


def _suite(root: ET.Element, result: Result, name: str, groups: dict[Group, list[Pair]]) -> tuple[int, int, int]:
    """Write one suite; return how many cases it has, how many failed, how many were skipped."""
    suite = ET.SubElement(root, "testsuite", name=visible(name))
    failures = skipped = 0
    for (path, question, mode, dtype), pairs in groups.items():
        title = (
            visible(path)
            + " ["
            + ", ".join(part for part in (question, mode if mode != question else "", dtype) if part)
            + "]"
        )
        case = ET.SubElement(suite, "testcase", classname=f"parity.{visible(name)}", name=title)
        wrong = [pair for pair in pairs if pair.verdict in FAILING]
        counted = [pair for pair in wrong if not excused(pair)]
        if counted:
            failures += 1
            _failure(case, result, counted, len(pairs))
        elif wrong:
            skipped += 1
            flags = ", ".join(sorted({flag for pair in wrong for flag in pair.flags}))
            ET.SubElement(
                case,
                "skipped",
                message=f"{count(len(wrong), 'pair')} of {len(pairs)} explained by another one: {flags}",
            )
    for key, value in (("tests", len(groups)), ("failures", failures), ("errors", 0), ("skipped", skipped)):
        suite.set(key, str(value))
    return len(groups), failures, skipped


def _failure(case: ET.Element, result: Result, wrong: list[Pair], total: int) -> None:
    """Write the failure of one case: the cards of its worst pairs."""
    ranked = sorted(wrong, key=lambda pair: (pair.verdict != "INCOMPARABLE", -(excess(pair) or 0.0), pair.order))
    kind = ranked[0].verdict
    failure = ET.SubElement(
        case,
        "failure",
        type=kind,
        message=f"{count(len(wrong), 'pair')} of {total}: {visible(ranked[0].address)} {kind}",
    )
    cards = ["\n".join(card.of(result, pair)) for pair in ranked[:_CARDS_PER_CASE]]
    if len(ranked) > len(cards):
        cards.append(f"and {count(len(ranked) - len(cards), 'more pair')} of this module")
    failure.text = _text("\n" + "\n\n".join(cards) + "\n")


def _whole(root: ET.Element, result: Result, prefix: str, failed: bool) -> tuple[int, int, int]:  # noqa: FBT001 - one caller
    """Write the suite of the verdict itself, which fails for what belongs to no pair, such as an uncompared path."""
    suite = ET.SubElement(root, "testsuite", name=visible(f"{prefix}verdict"), tests="1", errors="0", skipped="0")
    case = ET.SubElement(
        suite, "testcase", classname=visible(f"parity.{prefix}verdict"), name="every path is compared or has a reason"
    )
    gaps = [f"{visible(path)}: not compared, no reason" for path in result.coverage.unexplained]
    if not result.pairs:
        gaps.append("nothing was compared")
    if result.verdict != "MATCH" and not failed and not gaps:
        gaps.append(headline(result))
    if gaps:
        failure = ET.SubElement(case, "failure", type=result.verdict, message=gaps[0])
        failure.text = _text("\n".join(gaps))
    suite.set("failures", str(int(bool(gaps))))
    return 1, int(bool(gaps)), 0
