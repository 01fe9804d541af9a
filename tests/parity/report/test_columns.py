"""The page's table holds every pair, exactly as the result names it."""

import json

import pytest

from parity.report import columns, words

from . import made


def spread(runs, step):
    return [
        first + step * next_ for first, length in zip(runs[::2], runs[1::2], strict=True) for next_ in range(length)
    ]


def text(found, name, row):
    """Read a cell as the page does."""
    if name in found["addresses"]["texts"]:
        row = spread(found["addresses"]["runs"], 1)[row]
        column = found["addresses"]["texts"][name]
    else:
        column = found["texts"][name]
    return column["values"][(column.get("at") or spread(column["runs"], 0))[row]]


@pytest.mark.parametrize("kind", ["small", "incomplete", "hostile", "empty"])
def test_every_pair_can_be_read_back(kind, tmp_path):
    result = made.make(kind, tmp_path)
    found = json.loads(columns.page_json(columns.columns(result.pairs)))
    assert found["count"] == len(result.pairs)
    for row in range(0, len(result.pairs), 41):
        pair = result.pairs[row]
        assert text(found, "path", row) + text(found, "rest", row) == words.visible(pair.address)
        assert (text(found, "verdict", row), text(found, "stage", row), text(found, "mode", row)) == (
            pair.verdict,
            pair.stage,
            pair.mode,
        )
        stored = found["numbers"]["rel_l2"].split(",")[row]
        assert stored == words.compact(pair.rel_l2)


def test_a_failing_pair_keeps_its_worst_element(tmp_path):
    result = made.make("local", tmp_path)
    found = columns.columns(result.pairs)
    rows = [row for row, pair in enumerate(result.pairs) if pair.verdict == "MISMATCH" and not pair.flags]
    assert rows
    assert all(row in found["worst"] and row in found["outside"] for row in rows)


@pytest.mark.parametrize("text", ["</script>", "<!--", "]]>", "&amp;", "\u2028", "a\nb"])
def test_json_in_the_page_cannot_leave_its_element(text):
    written = columns.page_json({text: text})
    assert not set("<>&\u2028") & set(written)
    assert json.loads(written) == {text: text}
