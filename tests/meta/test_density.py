"""The code stays loose enough to be read line by line: at most 2.5 branches in ten lines of functions."""

from pathlib import Path

import pytest

from tests.meta.density import Density, add, measure

ROOT = Path(__file__).parents[2]
MOST = 2.5
PACKAGES = {
    "parity": MOST, "parity/compare": MOST, "mindone_sdxl": MOST, "torch_refs": MOST, "ms_candidates": MOST,
    "parity/distance": 2.7,  # one loop for each kind of number that is not like the others
}  # fmt: skip


@pytest.mark.parametrize("place", PACKAGES)
def test_a_package_has_at_most_a_quarter_of_a_branch_in_a_line(place):
    assert measure(ROOT / place).in_ten_lines <= PACKAGES[place]


def test_every_kind_of_branch_is_counted():
    total = Density()
    add(
        total,
        '''
def story(values):
    """Docstrings, blank lines and comments are no lines."""

    # as this one
    found = [value for value in values if value]
    if found and values:
        return 1 if found[0] else 2
    for value in values:
        while value:
            value -= 1
    try:
        return max(found)
    except ValueError:
        return 0
''',
    )
    assert (total.lines, total.branches, total.folded) == (11, 7, 2)
    assert total.in_ten_lines > MOST  # so that the limit says no to it


def test_a_nested_function_counts_once():
    total = Density()
    add(total, "def outer(x):\n    def inner(y):\n        return y if y else x\n    return inner\n")
    assert (total.lines, total.branches) == (4, 1)
