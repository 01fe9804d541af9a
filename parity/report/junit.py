"""`junit.xml`: what a continuous-integration server shows of a result.

One suite per stage (of each candidate, where there are several), one case per path, question, mode and type: a path is one case over all its steps and
ports. A case fails when one of its pairs counts against the whole verdict, and the failure carries the five
lines of the worst ones. A case whose failing pairs are all explained elsewhere (inherited) or undecided is skipped with
that reason, so that the number of failures is the number of places to look at. A result that only undecided pairs keep
from a match has one error and no failure: nothing is blamed, and what is not proven does not pass either.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple
from xml.etree import ElementTree as ET

from parity.address import path_of
from parity.compare.several import split
from parity.compare.summary import is_about_reference, is_undecided
from parity.report import card
from parity.report.grouping import dtype_of, grouped, in_order
from parity.report.headline import headline, reference_is_off
from parity.report.verdicts import excess, fails, fails_alone, shown
from parity.report.words import as_table, count, joined, plain, visible

if TYPE_CHECKING:
    from parity.result import Pair, Result

__all__ = ["document"]

_CARDS_PER_CASE: Final = 3


class _Group(NamedTuple):
    """What the pairs of one case share."""

    path: str
    question: str
    mode: str
    dtype: str

    @property
    def title(self) -> str:
        """The name of the case."""
        asked = joined(*dict.fromkeys((self.question, self.mode, self.dtype)))  # an audit is its own replay
        return f"{visible(self.path)} [{asked}]"


class _Tally(NamedTuple):
    """How many cases there are, how many failed, were skipped, and could not be decided."""

    tests: int
    failures: int
    skipped: int
    errors: int = 0


def document(result: Result) -> bytes:
    """Return the document as UTF-8 XML; the same result gives the same bytes."""
    root = ET.Element("testsuites", name="parity")
    _properties(root, result)
    tallies: list[_Tally] = []
    for label, view in split(result).items():
        tallies += _candidate(root, view, label)
    total = _Tally(*map(sum, zip(*tallies, strict=True)))
    root.attrib.update(zip(total._fields, map(str, total), strict=True))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'.encode()


def _text(text: str) -> str:
    """Return text that XML 1.0 can hold, lines kept: `visible` also escapes lone surrogates and non-characters."""
    return "\n".join(map(visible, text.split("\n")))


def _properties(root: ET.Element, result: Result) -> None:
    """Write the verdict, the first divergence and the provenance of every side."""
    values = {
        "verdict": result.verdict,
        "headline": headline(result),
        "sides": card.sides(result),
        "schema": str(result.schema),
    }
    values |= _provenance(result)
    for label, view in result.candidates.items():
        values[f"{label}.verdict"] = view.verdict
    properties = ET.SubElement(root, "properties")
    for name, value in values.items():
        ET.SubElement(properties, "property", name=_text(visible(name)), value=visible(value))


def _provenance(result: Result) -> dict[str, str]:
    """Return what the numbers of each side depend on, as `SIDE.KEY`."""
    values = {}
    for role in ("reference", *(result.candidates or ["candidate"])):
        known = as_table(result.provenance.get(role))
        for key, value in known.items():
            values[f"{role}.{key}"] = plain(value)
    return values


def _candidate(root: ET.Element, view: Result, label: str) -> list[_Tally]:
    """Write the suites of one candidate, the last one for the verdict itself; return what each counts."""
    by_stage = grouped(view.pairs, key=lambda pair: pair.stage)
    tallies = [_suite(root, view, joined(label, stage, by=": "), by_stage[stage]) for stage in in_order(by_stage)]
    failures = sum(tally.failures for tally in tallies)
    gaps = _gaps(view, told_elsewhere=failures > 0)
    outcome = "error" if is_undecided(view) else "failure"
    return [*tallies, _verdict(root, view, joined(label, "verdict", by=": "), gaps, outcome)]


def _suite(root: ET.Element, result: Result, name: str, pairs: list[Pair]) -> _Tally:
    """Write the suite of one stage; return what it counts."""
    suite = ET.SubElement(root, "testsuite", name=visible(name))
    written: list[str] = []
    for group, members in grouped(pairs, key=_group).items():
        case = ET.SubElement(suite, "testcase", classname=f"parity.{visible(name)}", name=group.title)
        written.append(_outcome(case, result, members))
    tally = _Tally(tests=len(written), failures=written.count("failure"), skipped=written.count("skipped"))
    for key in ("tests", "failures", "errors", "skipped"):
        suite.set(key, str(getattr(tally, key)))
    return tally


def _group(pair: Pair) -> _Group:
    """Return which case a pair belongs to."""
    return _Group(path_of(pair.address), pair.question, pair.mode, dtype_of(pair))


def _outcome(case: ET.Element, result: Result, pairs: list[Pair]) -> str:
    """Write under a case why it failed or was skipped; return which, or nothing for one that passed."""
    wrong, alone = list(filter(fails, pairs)), list(filter(fails_alone, pairs))
    if alone:
        _failure(case, result, alone, len(pairs))
        return "failure"
    if wrong:
        flags = sorted(set(chain.from_iterable(map(attrgetter("flags"), wrong))))
        how = "undecided" if any(shown(pair) == "undecided" for pair in wrong) else "explained by another one"
        how = "where the reference is off" if all(map(is_about_reference, wrong)) else how
        explained = f"{count(len(wrong), 'pair')} of {len(pairs)} {how}"
        ET.SubElement(case, "skipped", message=f"{explained}: {', '.join(flags)}")
        return "skipped"
    return ""


def _failure(case: ET.Element, result: Result, wrong: list[Pair], total: int) -> None:
    """Write the failure of one case: the cards of its worst pairs."""
    ranked = sorted(wrong, key=_gravity)
    first = ranked[0]
    message = f"{count(len(wrong), 'pair')} of {total}: {visible(first.address)} {first.verdict}"
    failure = ET.SubElement(case, "failure", type=first.verdict, message=message)
    # A wrong module fails at every step and port: the first cards say all that the others would.
    cards = ["\n".join(card.of(result, pair)) for pair in ranked[:_CARDS_PER_CASE]]
    if len(ranked) > len(cards):
        cards.append(f"and {count(len(ranked) - len(cards), 'more pair')} of this module")
    failure.text = _text("\n" + "\n\n".join(cards) + "\n")


def _gravity(pair: Pair) -> tuple[bool, float, int]:
    """Return what failing pairs are sorted by: what cannot be compared, then the furthest over its limit."""
    return pair.verdict != "INCOMPARABLE", -(excess(pair) or 0.0), pair.order


def _verdict(root: ET.Element, result: Result, name: str, gaps: list[str], outcome: str) -> _Tally:
    """Write the suite of the verdict itself; its `outcome` tells what belongs to no failing pair, such as an uncompared path."""
    name = visible(name)
    tells = Counter([outcome] if gaps else [])
    tally = _Tally(tests=1, failures=tells["failure"], skipped=0, errors=tells["error"])
    suite = ET.SubElement(root, "testsuite", name=name, tests="1", errors=str(tally.errors), skipped="0")
    suite.set("failures", str(tally.failures))
    case = ET.SubElement(suite, "testcase", classname=f"parity.{name}", name="every path is compared or has a reason")
    if gaps:
        told = ET.SubElement(case, outcome, type=result.verdict, message=gaps[0])
        told.text = _text("\n".join(gaps))
    return tally


def _gaps(result: Result, *, told_elsewhere: bool) -> list[str]:
    """Return what keeps the whole from a match and belongs to no pair, or else whatever does and no case tells."""
    gaps = [f"{visible(path)}: not compared, no reason" for path in result.coverage.unexplained]
    gaps += [f"not read: {visible(name)} {visible(reason)}" for name, reason in result.coverage.unread.items()]
    gaps += reference_is_off(result)
    if not result.pairs:
        gaps.append("nothing was compared")
    if result.verdict != "MATCH" and not told_elsewhere and not gaps:
        gaps.append(headline(result))
    return gaps
