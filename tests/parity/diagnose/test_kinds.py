"""The table of causes, and what is told of each."""

import re

from parity.diagnose.kinds import BY_SLUG, KINDS
from tests.conftest import ROOT
from tests.parity.diagnose.faults import FAULTS


def test_every_cause_has_a_page_and_every_page_a_cause():
    pages = {path.stem for path in (ROOT / "docs" / "causes").glob("*.md")}
    assert pages == set(BY_SLUG)
    assert {name.partition(" ")[0] for name in FAULTS} <= set(BY_SLUG)


def test_every_kind_has_one_row_and_one_setting_one_kind():
    assert len(BY_SLUG) == len(KINDS)
    names = [name for kind in KINDS for name in kind.settings]
    assert len(names) == len(set(names))


def test_a_page_names_its_cause():
    for slug in BY_SLUG:
        assert f"\nSlug: `{slug}`\n" in (ROOT / "docs" / "causes" / f"{slug}.md").read_text(encoding="utf-8")


def test_every_planted_fault_is_in_the_document_with_a_cause_that_there_is():
    document = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \|[^|]*\| (?:\[([\w-]+)\])?", document, re.MULTILINE))
    assert set(rows) == {path.stem for path in (ROOT / "fixtures" / "faults").glob("*.py")}
    assert set(filter(None, rows.values())) <= set(BY_SLUG)
