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

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from parity.compare.several import split
from parity.report import card, charts, columns, facts, platform, price, several, several_charts, summary, words
from parity.result import MEASURES

if TYPE_CHECKING:
    from parity.result import Cause, Result

__all__ = ["page", "write"]

_CHART_TITLES: Final = {"depth": "Error over depth", "steps": "Error over steps", "heat": "Layers and steps"}
_SEVERAL_READ: Final = {
    "depth": "One curve for each candidate over the modules in the order of execution, worst over steps: in float64 the "
    "error relative to the exact reference, in the working types multiples of each candidate's own floor. A cross fails "
    "by itself. An exact zero has no place on this scale and is not drawn.",
    "steps": "The latents after each step: in the free run the error accumulates; in the step replay every step starts "
    "from the reference.",
}
_PNG: Final = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")
_HINTS: Final = {
    "MATCH": "within its limit",
    "MISMATCH": "beyond its limit",
    "INCOMPARABLE": "the tensors cannot be compared",
    "MISSING": "the candidate has no such record",
    "UNEXPECTED": "the reference has no such record",
    "INCOMPLETE": "something is missing or not explained",
    "undecided": "differs, and only a float64 run could tell whether it may",
    "inherited": "fails only because of what it was given",
    "contains": "fails only because of a module inside it",
    "equivalent": "differs without any effect on an output",
    "not measured": "nothing was compared",
}


def write(result: Result, path: Path) -> None:
    """Write the page of `result`."""
    path.write_text(page(result), encoding="utf-8", newline="\n")


def page(result: Result) -> str:
    """Return the page of `result`; several candidates stand side by side."""
    environment = Environment(
        loader=PackageLoader("parity.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": words.visible, "number": words.number, "plain": words.plain}
    together = bool(result.candidates)
    figures = several_charts.figures(result) if together else charts.figures(result)
    return environment.get_template("several.html.j2" if together else "report.html.j2").render(
        **(_together(result) if together else _summary(result)),
        charts=[
            {
                "name": name,
                "title": _CHART_TITLES[name],
                "questions": list(by_question),
                "read": _SEVERAL_READ.get(name),
            }
            for name, by_question in figures.items()
        ],
        figures_json=Markup(columns.page_json(figures)),  # noqa: S704 - page_json leaves no markup
        pairs_json=Markup(columns.page_json(columns.columns(result.pairs))),  # noqa: S704 - page_json leaves no markup
        plotly=Markup(_plotly() if figures else ""),  # noqa: S704 - the installed package's own script
        asset=_asset,
    )


def _together(result: Result) -> dict[str, Any]:
    """Return everything in the page of several candidates that is text."""
    views = split(result)
    seen = {words.visible(label): view for label, view in views.items()}
    firsts = {label: (view, card.first_pair(view)) for label, view in seen.items()}
    coverages = [dict(facts.coverage(view)) for view in seen.values()]
    rows = dict.fromkeys(what for coverage in coverages for what in coverage)
    return {
        "result": result,
        "sides": words.count(len(views), "candidate"),
        "subject": summary.subject(result),
        "lead": several.lead(result),
        "labels": list(seen),
        "hints": _HINTS,
        "overview": several.overview(result),
        "cards": [(label, card.of(view, pair)) for label, (view, pair) in firsts.items() if pair is not None],
        "causes": [(label, [_cause(cause) for cause in view.causes]) for label, view in seen.items() if view.causes],
        "stages": several.stages(result),
        "price": several.priced(result),
        "pictures": [(label, found) for label, view in seen.items() if (found := _pictures(view))],
        "coverage": [
            several.Line(what=what, texts=[coverage.get(what, words.NOTHING) for coverage in coverages])
            for what in rows
        ],
        "unexplained": [
            (label, view.coverage.unexplained) for label, view in seen.items() if view.coverage.unexplained
        ],
        "provenance": several.provenance(result),
        "facts": _facts(result),
        "gaps": [(label, facts.not_measured(view)) for label, view in seen.items()],
        "commands": [
            (name if not label else f"{name}, {label}", words.visible(command))
            for label, commands in (("", result.commands), *((label, view.commands) for label, view in seen.items()))
            for name, command in commands.items()
            if not label or name != "repeat"
        ],
    }


def _summary(result: Result) -> dict[str, Any]:
    """Return everything in the page that is text."""
    pair = card.first_pair(result)
    return {
        "result": result,
        "sides": card.sides(result),
        "subject": summary.subject(result),
        "lead": summary.lead(result),
        "tiles": _tiles(result),
        "meters": _meters(result),
        "card": card.of(result, pair) if pair is not None else None,
        "causes": [_cause(cause) for cause in result.causes],
        "stages": summary.stages(result),
        "columns": summary.COLUMNS,
        "number_columns": [(known.name, known.column, "number") for known in MEASURES if known.column],
        "hints": _HINTS,
        "coverage": result.coverage,
        "compared": summary.compared(result),
        "reasons": _reasons(result),
        "price": (prices := price.price(result)),
        "measures": list(dict.fromkeys(name for table in prices for line in table.lines for name in line.measures)),
        "pictures": _pictures(result),
        "gaps": facts.not_measured(result),
        "provenance": facts.provenance(result),
        "facts": _facts(result),
        "platform": platform.costs(result.platform),
        "blamed": platform.flagged(result),
        "islands": [facts.flat(island) for island in result.islands],
        "commands": {words.visible(name): words.visible(command) for name, command in result.commands.items()},
    }


def _tiles(result: Result) -> list[dict[str, str]]:
    """Return the numbers that stand under the verdict."""
    told = summary.failures(result).replace(f" of {words.count(len(result.pairs), 'pair')}", "")
    tiles = [_tile("pairs compared", f"{len(result.pairs):,}", told)]
    for question, label, note in (
        ("semantics", "worst error, float64", "local, relative; limit 1e-9"),
        ("precision", "worst error, working type", "local, of its floor; limit 3x"),
    ):
        worst = summary.worst(pair for pair in result.pairs if (pair.question, pair.mode) == (question, "layers"))
        if worst:
            tiles.append(_tile(label, worst, note))
    covered = result.coverage
    tiles.append(
        _tile(
            "paths compared",
            f"{covered.compared:,} of {covered.paths:,}",
            f"{len(covered.unexplained):,} without a reason",
        )
    )
    for table in price.price(result):
        if "float64" not in table.what:
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
        "confidence": f"{cause.confidence:.0%}",
        "evidence": [words.visible(sentence) for sentence in cause.evidence],
        "before": words.number(cause.before) if cause.before is not None else "",
        "after": words.number(cause.after) if cause.after is not None else "",
        "repair": words.visible(cause.repair),
        "others": facts.listed(cause.others),
    }


def _reasons(result: Result) -> list[tuple[str, list[str]]]:
    """Return each reason why paths were not compared, with those paths."""
    by_reason: dict[str, list[str]] = {}
    for path, reason in sorted(result.coverage.not_compared.items()):
        by_reason.setdefault(words.visible(reason), []).append(words.visible(path))
    return sorted(by_reason.items())


def _pictures(result: Result) -> list[dict[str, str]]:
    """Return the image rows that are complete and are PNG data, in order."""
    pictures = []
    for place in range(len(result.images)):
        row = {name: result.images.get(f"{name}_{place}", "") for name in ("reference", "candidate", "difference")}
        if all(_PNG.fullmatch(uri) for uri in row.values()):
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
