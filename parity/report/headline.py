"""The sentences above everything else: what was run, what came out, why, and what was compared."""

from __future__ import annotations

from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from parity.address import path_of
from parity.report.differences import of_weights, taken_as
from parity.report.grouping import column_of, dtype_of, grouped, rank
from parity.report.verdicts import FAILING, GRAVITY, fails, shown, worst
from parity.report.words import SURE, after, as_table, count, joined, some, some_of, sure, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from parity.result import Cause, FirstDivergence, Pair, Result

__all__ = ["compared", "failures", "headline", "lead", "reference_is_off", "scope", "subject"]


_OFF: Final = {
    "reference-error": "the reference's working run is off, first at {} (reference-error)",
    "twin-error": "the reference's float64 run is off, first at {} (twin-error)",
}


class _Run(NamedTuple):
    """What pairs are told together, in the order of the stage table; the audits, whatever they look at, are one."""

    order: int
    question: str
    mode: str
    dtype: str


def headline(result: Result) -> str:
    """Return the first line: the first divergence, address first; else the verdict first."""
    if result.first_divergence is not None:
        return _diverges(result, result.first_divergence)
    return f"{result.verdict}: {_with_sameness(result)}"


def _with_sameness(result: Result) -> str:
    """Return the outcome, and how both sides are the same where they are: of a match that comes first."""
    same, outcome = visible(str(result.checks.get("same", ""))), _outcome(result)
    if result.verdict == "MATCH":
        return joined(same, outcome, by="; ")
    return joined(outcome, same, by="; ")


def _diverges(result: Result, found: FirstDivergence) -> str:
    """Return where the result first diverges, and why."""
    first = f"first divergence{after(' of ', visible(found.candidate))}"
    where = f"{first}, stage {visible(found.stage)}, {found.question}"
    told = joined(result.verdict, where, _known_cause(result, found), *reference_is_off(result), by="; ")
    return f"{visible(found.address)}: {told}"


def reference_is_off(result: Result) -> list[str]:
    """Return what is wrong with the reference itself, one clause for each of its runs that is off."""
    return [_OFF[cause.slug].format(visible(cause.address)) for cause in result.causes if cause.is_about_reference]


def _known_cause(result: Result, found: FirstDivergence) -> str:
    """Return the cause at the path of the first divergence, where one is known."""
    wanted = path_of(found.address), found.candidate
    for cause in result.causes:
        if (path_of(cause.address), cause.candidate) == wanted and not cause.is_about_reference:
            return f"{visible(cause.slug)}, {sure(cause)}"
    return ""


def _outcome(result: Result) -> str:
    """Return what a result without a divergence rests on, or what keeps it from a verdict."""
    if result.is_of_weights:
        return joined(of_weights(result), _unread(result), by="; ")
    if result.verdict == "MATCH":
        return f"{_agreement(result.pairs)}: {scope(result)}"
    if not result.pairs:
        return "nothing was compared"
    wrong = some_of(result.counts.get("findings", 0), "pair", "differ")
    records = joined(_told(result.counts, "MISSING"), _told(result.counts, "UNEXPECTED"))
    paths = some_of(len(result.coverage.unexplained), "path", "not compared without a reason")
    told = joined(*reference_is_off(result), wrong, records, paths, _unread(result), _platform(result), by="; ")
    return told or "see the pairs that fail"


def _platform(result: Result) -> str:
    """Return how many pairs only the candidate's platform may explain, and who decides whether it does."""
    undecided = result.counts.get("platform-undecided", 0)
    if not undecided:
        return ""
    may_be = f"{count(undecided, 'pair')} may be beyond the floor by the candidate's platform alone"
    obstacle = result.checks.get("undecided")
    if obstacle:
        return f"{may_be}, which could not be decided: {visible(str(obstacle))}"
    return f"{may_be}; nothing is blamed before `parity diagnose` decides"


def _unread(result: Result) -> str:
    """Return how much under the sides was not read, and what first, or nothing."""
    unread = result.coverage.unread
    first = visible(next(iter(unread), ""))
    return some_of(len(unread), "file", f"not read, such as {first}")


def _told(counts: dict[str, int], verdict: str) -> str:
    """Return how many pairs have a verdict, or nothing for none."""
    amount = counts.get(verdict, 0)
    return f"{amount} {verdict.lower()}" if amount else ""


def _agreement(pairs: Sequence[Pair]) -> str:
    """Return how many pairs agree within their limits, and how many are beyond them by the platform's precision."""
    coarse = sum("platform-precision" in pair.flags for pair in pairs)
    agree = f"{count(len(pairs) - coarse, 'pair')} agree within their limits"
    return joined(agree, some(coarse, "are beyond them by the platform's precision alone"))


def scope(result: Result) -> str:
    """Return under which questions, replays and types the pairs stand."""
    modes: dict[tuple[str, str], list[str]] = {}
    for run in sorted(grouped(result.pairs, key=_run_of), key=attrgetter("order")):
        modes.setdefault((run.question, run.dtype), []).append(run.mode)
    told = []
    for (question, dtype), replays in modes.items():
        told.append(f"{question} in {dtype} ({', '.join(replays)})" if dtype else question)
    return "; ".join(told)


def compared(result: Result) -> list[str]:
    """Return one sentence per (question, mode, type): how many pairs, how many of each verdict."""
    sentences = []
    for run, pairs in sorted(grouped(result.pairs, key=_run_of).items()):
        told = joined(_tally(pairs), after("worst ", worst(pairs)), by="; ")
        sentences.append(f"{joined(run.question, run.mode, run.dtype)}: {told}")
    return sentences


def _run_of(pair: Pair) -> _Run:
    """Return what a pair is told under."""
    order = rank(column_of(pair))
    if pair.question == "audit":
        return _Run(order, "audits", "", "")
    return _Run(order, pair.question, pair.mode, dtype_of(pair))


def _tally(pairs: Iterable[Pair]) -> str:
    """Return how many pairs read as each verdict, the least grave first."""
    tally = Counter(map(shown, pairs))
    return joined(*(some(tally[verdict], verdict) for verdict in reversed(GRAVITY)))


def failures(result: Result) -> str:
    """Return how many pairs fail by themselves and how many only because of others, as one sentence."""
    tally = Counter(map(shown, result.pairs))
    platform = sum("platform-undecided" in pair.flags for pair in result.pairs)
    alone = sum(tally[verdict] for verdict in FAILING)
    fail, them = ("fails by itself", "it") if alone == 1 else ("fail by themselves", "them")
    return joined(
        f"{alone:,} of {count(len(result.pairs), 'pair')} {fail}",
        some(tally["inherited"] + tally["contains"], f"only because of {them}"),
        some(tally["equivalent"], "without effect"),
        some(tally["undecided"] - platform, "cannot be decided without a float64 run"),
        some(platform, "may be the candidate's platform"),
        some(tally["reference off"], "cannot be judged because the reference is off there"),
    )


def lead(result: Result) -> str:
    """Return two or three sentences for the top of the page: what happened, why, and what follows from it."""
    sentences = [_first(result)]
    if result.first_divergence is not None:
        sentences += [f"{clause[0].upper()}{clause[1:]}." for clause in reference_is_off(result)]
    causes = [cause for cause in result.causes if not cause.is_about_reference]
    if causes:
        sentences.append(_because(causes))
    if any(map(fails, result.pairs)):
        sentences.append(f"{failures(result)}.")
    taken = taken_as(result)
    if taken:
        sentences.append(f"{taken[0].upper()}{taken[1:]}.")
    return " ".join(sentences)


def _first(result: Result) -> str:
    """Return the sentence about the first divergence, or about what came out without one."""
    found = result.first_divergence
    if found is None:
        return f"{_with_sameness(result)}."
    return f"The first divergence is {visible(found.address)} (stage {visible(found.stage)}, {found.question})."


def _because(causes: Sequence[Cause]) -> str:
    """Return the sentence about the first cause, and how many there are."""
    first = causes[0]
    sure = "confirmed by running the candidate again with the repair" if first.confirmed else SURE[False]
    which = "Its cause" if len(causes) == 1 else f"{len(causes)} causes were found; the first"
    return f"{which} is {visible(first.slug)}, {sure}."


def subject(result: Result) -> str:
    """Return what was run, as far as the case holds it: the model, the sampler and its steps, the size."""
    model = as_table(result.case.get("model"))
    sampling = as_table(result.case.get("sampling"))
    size = as_table(result.case.get("size"))
    files = str(model.get("folder") or model.get("file") or "")
    steps = pixels = ""
    if "steps" in sampling:
        steps = f"{sampling['steps']} steps"
    if {"width", "height"} <= set(size):
        pixels = f"{size['width']} x {size['height']} pixels"
    parts = files, joined(str(sampling.get("sampler", "")), steps), pixels
    return joined(*map(visible, parts), by=" \N{MIDDLE DOT} ")
