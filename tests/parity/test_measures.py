"""One table says what is known of a pair: whatever bounds, shows or lists numbers has them from there."""

import io
import json
import re
import typing

import msgspec
import pytest
from rich.console import Console

from parity.compare.predicate import Predicate
from parity.distance.sums import Distances
from parity.errors import ToleranceError
from parity.report import columns, html, show, words
from parity.result import MEASURES, Pair

from .report import made

COLUMNS = [known for known in MEASURES if known.column]


def holds_numbers(kind):
    """Tell whether a field's type is a number, or one that may be missing."""
    kinds = typing.get_args(kind)
    return kind is int or (type(None) in kinds and not {int, float}.isdisjoint(kinds))


def test_every_number_of_a_pair_is_in_the_table_once():
    names = [known.name for known in MEASURES]
    assert len(set(names)) == len(names)
    numeric = {field.name for field in msgspec.structs.fields(Pair) if holds_numbers(field.type)}
    assert {known.name for known in MEASURES if known.of is None} == numeric - {"order"}


@pytest.mark.parametrize("known", MEASURES, ids=lambda known: known.name)
def test_a_measure_is_a_name_for_rules_or_says_why_not(known):
    if known.unruled:
        with pytest.raises(ToleranceError, match=f"names '{known.name}'"):
            Predicate.parse(f"{known.name} <= 1")
    else:
        assert Predicate.parse(f"{known.name} <= 1 and rel_l2 <= 1").names == {known.name, "rel_l2"}


@pytest.mark.parametrize("known", MEASURES, ids=lambda known: known.name)
def test_the_first_pass_finds_what_the_table_takes_from_it(known):
    if known.of is None and known.source in {"first pass", "working"}:
        assert hasattr(Distances, known.taken or known.name)
    else:
        assert not known.taken


@pytest.mark.parametrize("known", MEASURES, ids=lambda known: known.name)
def test_every_format_can_be_written(known):
    assert words.FORMATS[known.format](None) == words.NOTHING
    assert words.FORMATS[known.format](2) not in {"", words.NOTHING}


def test_a_column_is_a_flag_in_the_table(tmp_path):
    result = made.make("small", tmp_path)
    heads = [known.column for known in COLUMNS]
    assert {known.page for known in COLUMNS} == {"all"}, "a column without its numbers would be empty"
    page = html.page(result)
    assert re.findall(r'class="[a-z0-9-]+ number" aria-sort="none"><button[^>]*>([^<]*)<', page) == heads
    data = json.loads(re.search(r'id="data-pairs">(.*?)</script>', page, re.DOTALL)[1])
    assert [known["column"] for known in data["measures"] if known["column"]] == heads
    assert set(data["numbers"]) <= {known["name"] for known in data["measures"]}
    console = Console(width=400, file=io.StringIO())
    show._show_result(result, None, console, json=False)
    line = next(line for line in console.file.getvalue().splitlines() if "address" in line and "replay" in line)
    between = line.partition("verdict")[2].partition("limit")[0]
    assert re.split(r"\s{2,}", between.strip()) == heads


@pytest.mark.parametrize("name", ["pairs.js", "several.js"])
def test_the_page_s_scripts_name_no_list_of_measures(name):
    script = html._asset(name)
    named = {known.name for known in MEASURES if re.search(rf'"{known.name}"', script)}
    assert named <= {"rel_l2", "ratio_to_floor"}, "these two judge the two questions; the rest comes with the data"


def test_the_page_s_measures_are_those_that_it_holds():
    assert [known["name"] for known in columns.measures()] == [known.name for known in MEASURES if known.page]
