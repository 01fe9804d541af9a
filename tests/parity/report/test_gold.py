"""The renderers write what a person has approved."""

import pytest

from .gold import FOLDER, texts


@pytest.fixture(scope="module")
def written():
    return texts()


def test_every_gold_file_is_written_by_a_renderer(written):
    assert sorted(written) == sorted(path.name for path in FOLDER.iterdir())


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.iterdir()))
def test_what_is_written_is_the_gold_file(name, written):
    gold = (FOLDER / name).read_text(encoding="utf-8")
    assert written[name] == gold, "differs from gold; python -m tests.parity.report.update writes it anew"
