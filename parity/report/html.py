"""`report.html`: the whole result in one file that needs no network and no server.

The page is drawn from a Jinja2 template beside this module; styles and scripts are written into it, and so
is Plotly's own script, read from the installed package. Its content security policy forbids every request,
so that a hostile address could not make one either. The same result gives the same bytes: nothing in the
page depends on when or where it was rendered.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from parity.compare.several import split
from parity.report import card, charts, columns, facts, headline, platform, several, several_charts, words
from parity.report.grouping import COLUMNS, grouped
from parity.report.price_table import price_tables
from parity.report.stages import stages
from parity.report.verdicts import worst_local
from parity.result import MEASURES

if TYPE_CHECKING:
    from parity.report.axes import Figure
    from parity.report.price_table import PriceTable
    from parity.result import Cause, Result

__all__ = ["page"]

_CHART_TITLES: Final = {"depth": "Error over depth", "steps": "Error over steps", "heat": "Layers and steps"}
_SEVERAL_READ: Final = {
    "depth": "One curve for each candidate over the modules in the order of execution, worst over steps: in float64 the "
    "error relative to the exact reference, in the working types multiples of each candidate's own floor. A cross fails "
    "by itself. An exact zero has no place on this scale and is not drawn.",
    "steps": "The latents after each step: in the free run the error accumulates; in the step replay every step starts "
    "from the reference.",
}
_LOCAL: Final = (
    ("semantics", "worst error, float64", "local, relative; limit 1e-9"),
    ("precision", "worst error, working type", "local, of its floor; limit 3x"),
)
_PICTURES: Final = ("reference", "candidate", "difference")
_PNG: Final = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")
_HINTS: Final = {
    "MATCH": "within its limit",
    "MISMATCH": "beyond its limit",
    "INCOMPARABLE": "the tensors cannot be compared",
    "MISSING": "the candidate has no such record",
    "UNEXPECTED": "the reference has no such record",
    "INCOMPLETE": "something is missing, not explained or undecided",
    "reference off": "a run of the reference is off here, so that nothing is said of the candidate",
    "undecided": "differs, and only a float64 run, or for the platform's operators `parity diagnose`, tells whether it may",
    "inherited": "fails only because of what it was given",
    "contains": "fails only because of a module inside it",
    "equivalent": "differs without any effect on an output",
    "not measured": "nothing was compared",
}


class _View(msgspec.Struct, frozen=True, kw_only=True):
    """What the page says of one candidate, as texts; the template leaves out what is empty."""

    label: str
    card: list[str]
    causes: list[dict[str, Any]]
    pictures: list[dict[str, str]]
    unexplained: list[str]
    unread: list[str]
    notes: list[str]
    gaps: list[str]
    commands: dict[str, str]


def page(result: Result) -> str:
    """Return the page of `result`; several candidates stand side by side."""
    if result.candidates:
        return _rendered("several.html.j2", result, several_charts.figures(result), _several(result))
    return _rendered("report.html.j2", result, charts.figures(result), _one(result))


def _rendered(template: str, result: Result, figures: dict[str, dict[str, Figure]], texts: dict[str, Any]) -> str:
    """Return a template filled with texts, figures, and what both pages have."""
    environment = Environment(
        loader=PackageLoader("parity.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": words.visible, "number": words.number, "plain": words.plain}
    return environment.get_template(template).render(
        **texts,
        result=result,
        subject=headline.subject(result),
        hints=_HINTS,
        makes_images=facts.makes_images(result),
        facts=_facts(result),
        charts=list(map(_chart, figures, figures.values())),
        figures_json=Markup(columns.page_json(figures)),  # noqa: S704 - page_json leaves no markup
        pairs_json=Markup(columns.page_json(columns.columns(result.pairs))),  # noqa: S704 - page_json leaves no markup
        plotly=Markup(_plotly() if figures else ""),  # noqa: S704 - the installed package's own script
        asset=_asset,
    )


def _chart(name: str, by_question: dict[str, Figure]) -> dict[str, Any]:
    """Return what stands around a figure."""
    return {
        "name": name,
        "title": _CHART_TITLES[name],
        "questions": list(by_question),
        "read": _SEVERAL_READ.get(name),
    }


def _several(result: Result) -> dict[str, Any]:
    """Return everything in the page of several candidates that is text."""
    views = [_view(label, view) for label, view in split(result).items()]
    return {
        "sides": words.count(len(views), "candidate"),
        "lead": several.lead(result),
        "labels": [view.label for view in views],
        "views": views,
        "overview": several.overview(result),
        "stages": several.stages(result),
        "price": several.priced(result),
        "coverage": several.coverage(result),
        "provenance": several.provenance(result),
        "commands": _commands_of_all(result, views),
    }


def _one(result: Result) -> dict[str, Any]:
    """Return everything in the page of one candidate that is text."""
    prices = price_tables(result)
    return {
        "sides": card.sides(result),
        "lead": headline.lead(result),
        "view": _view("", result),
        "tiles": _tiles(result, prices),
        "meters": _meters(result),
        "stages": stages(result),
        "columns": COLUMNS,
        "number_columns": [(known.name, known.column, "number") for known in MEASURES if known.column],
        "compared": headline.compared(result),
        "reasons": _reasons(result),
        "price": prices,
        "measures": _measures(prices),
        "provenance": facts.provenance(result),
        "platform": platform.costs(result.platform),
        "blamed": platform.flagged(result),
        "islands": list(map(facts.flat, result.islands)),
    }


def _view(label: str, result: Result) -> _View:
    """Return what the page says of one candidate."""
    return _View(
        label=words.visible(label),
        card=card.first(result),
        causes=list(map(_cause, result.causes)),
        pictures=_pictures(result),
        unexplained=result.coverage.unexplained,
        unread=facts.unread(result),
        notes=list(map(words.visible, result.coverage.notes)),
        gaps=facts.not_measured(result),
        commands=_commands(result),
    )


def _commands(result: Result) -> dict[str, str]:
    """Return the commands that give the result again."""
    return {words.visible(name): words.visible(command) for name, command in result.commands.items()}


def _commands_of_all(result: Result, views: list[_View]) -> dict[str, str]:
    """Return the commands of the whole, then those of each candidate; one command repeats them all."""
    commands = _commands(result)
    for view in views:
        commands |= {f"{name}, {view.label}": text for name, text in view.commands.items() if name != "repeat"}
    return commands


def _tiles(result: Result, prices: list[PriceTable]) -> list[dict[str, str]]:
    """Return the numbers that stand under the verdict."""
    covered, unexplained = result.coverage, len(result.coverage.unexplained)
    pairs = words.count(len(result.pairs), "pair")
    told = headline.failures(result).replace(f" of {pairs}", "")
    paths = f"{covered.compared:,} of {covered.paths:,}"
    return [
        _tile("pairs compared", f"{len(result.pairs):,}", told),
        *_local_tiles(result),
        _tile("paths compared", paths, f"{unexplained:,} without a reason"),
        *_price_tiles(prices),
    ]


def _local_tiles(result: Result) -> list[dict[str, str]]:
    """Return the worst error that a module makes by itself, of each question that measured one."""
    tiles = []
    for question, label, note in _LOCAL:
        worst = worst_local(result.pairs, question)
        if worst:
            tiles.append(_tile(label, worst, note))
    return tiles


def _price_tiles(prices: list[PriceTable]) -> list[dict[str, str]]:
    """Return what the candidate costs in the working type, a tile for each place."""
    tiles = []
    for table in prices:
        if not table.exact:
            value, name, _ = table.shortest
            tiles.append(_tile(f"price: {table.what}", value, name))
    return tiles


def _tile(label: str, value: str, note: str) -> dict[str, str]:
    """Return one number with its label and what it means."""
    return {"label": label, "value": value, "note": note}


def _meters(result: Result) -> list[dict[str, Any]]:
    """Return the shares of the coverage."""
    found = result.coverage
    return [
        {"what": "paths compared", "done": found.compared, "all": found.paths},
        {
            "what": "modules that own a parameter compared",
            "done": found.parameter_owners_compared,
            "all": found.parameter_owners,
        },
    ]


def _measures(prices: list[PriceTable]) -> list[str]:
    """Return the names of all measures that the price has, as heads of columns."""
    names: dict[str, None] = {}
    for table in prices:
        for line in table.lines:
            names |= dict.fromkeys(line.measures)
    return list(names)


def _facts(result: Result) -> list[tuple[str, dict[str, str]]]:
    """Return the tables that are folded under the provenance."""
    return [
        ("The case", facts.flat(result.case)),
        ("What the recorder proved about itself", facts.flat(result.checks, nothing="not measured")),
        ("Traces", facts.flat(result.traces)),
        ("Time", {words.visible(name): f"{value:.1f} s" for name, value in result.wall_s.items()}),
    ]


def _cause(cause: Cause) -> dict[str, Any]:
    """Return one cause as texts."""
    return {
        "slug": words.visible(cause.slug),
        "address": words.visible(cause.address),
        "confirmed": cause.confirmed,
        "is_about_reference": cause.is_about_reference,
        "sure": words.sure(cause),
        "confidence": f"{cause.confidence:.0%}",
        "evidence": list(map(words.visible, cause.evidence)),
        "before": words.number(cause.before, nothing=""),
        "after": words.number(cause.after, nothing=""),
        "repair": words.visible(cause.repair),
        "others": facts.listed(cause.others),
    }


def _reasons(result: Result) -> dict[str, list[str]]:
    """Return each reason why paths were not compared, with those paths."""
    left_out = result.coverage.not_compared
    by_reason = grouped(sorted(left_out), key=lambda path: words.visible(left_out[path]))
    return {reason: list(map(words.visible, by_reason[reason])) for reason in sorted(by_reason)}


def _pictures(result: Result) -> list[dict[str, str]]:
    """Return the image rows that are complete and are PNG data, in order."""
    pictures = []
    for place in range(len(result.images)):
        row = {name: result.images.get(f"{name}_{place}", "") for name in _PICTURES}
        if all(map(_PNG.fullmatch, row.values())):
            caption = words.visible(result.images.get(f"caption_{place}", ""))
            pictures.append({**row, "caption": caption, "place": str(place)})
    return pictures


def _asset(name: str) -> Markup:
    """Return a style sheet or script of this package."""
    text = (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 - our own file


def _plotly() -> str:
    """Return Plotly's script from the installed package, without importing the package."""
    found = find_spec("plotly")
    if found is None or found.origin is None:
        message = "plotly is not installed; the report draws its figures with it: pip install plotly"
        raise ImportError(message)
    script = (Path(found.origin).parent / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
    return script.replace("</script", "<\\/script")
