"""docs/architecture.md says what pyproject.toml enforces: the same layers, in the same order."""

import re
import tomllib
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def enforced_layers():
    """The layers of the import contract, from the top, each a set of modules."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = [each for each in settings["tool"]["importlinter"]["contracts"] if each["type"] == "layers"]
    return [{name.strip() for name in layer.split("|")} for layer in contract["layers"]]


def told_layers(document):
    """The rows of the document's table of layers, from the top, each the modules named in its first column."""
    table = document.partition("| layer |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    return [re.findall(r"`parity\.(\w+)`", row) for row in rows]


def disagreements(told, enforced):
    """What a table of layers says otherwise than the contract."""
    depth = {name: number for number, layer in enumerate(enforced) for name in layer}
    named = [name for row in told for name in row]
    found = [f"{name} is in no layer" for name in named if name not in depth]
    found += [f"{name} is not told" for name in depth if name not in named and name != "__main__"]
    known = [name for name in named if name in depth]
    found += [f"{low} is told above {high}" for low, high in pairwise(known) if depth[low] > depth[high]]
    return found


def test_the_table_of_layers_is_the_contract():
    assert disagreements(told_layers(DOCUMENT), enforced_layers()) == []


def test_a_table_with_two_layers_exchanged_is_noticed():
    enforced = [{"cli"}, {"compare"}, {"audit"}]
    assert disagreements([["cli"], ["audit"], ["compare"]], enforced) == ["audit is told above compare"]


def test_a_layer_that_is_not_told_or_not_there_is_noticed():
    assert disagreements([["cli"], ["report"]], [{"cli"}, {"compare"}]) == [
        "report is in no layer",
        "compare is not told",
    ]


def test_every_module_of_the_core_is_in_a_layer():
    there = {path.stem for path in (ROOT / "parity").glob("*.py")} | {
        path.parent.name for path in (ROOT / "parity").glob("*/__init__.py")
    }
    assert there - {"__init__"} == set().union(*enforced_layers())
