"""The published JSON Schema is that of the code, and what is written obeys it."""

import json
import re

import pytest
from typer.testing import CliRunner

from parity import result as results
from parity.cli.commands import app
from parity.errors import InputError
from tests.conftest import ROOT
from tests.parity.report import made

SCHEMA = ROOT / "docs" / "result.schema.json"


def test_the_published_schema_is_the_code_s():
    again = "python -c 'import sys; from parity import result; sys.stdout.buffer.write(result.json_schema())'"
    assert SCHEMA.read_bytes() == results.json_schema(), f"{again} > docs/result.schema.json writes it anew"


def unknown(value, schema, root, where=""):
    """Yield the keys of a JSON value that its schema does not name, and those it demands that are missing."""
    if "anyOf" in schema:
        options = [each for each in schema["anyOf"] if "$ref" in each or each.get("type") in {"object", "array"}]
        schema = options[0] if options and isinstance(value, (dict, list)) else {}
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if isinstance(value, dict):
        known = schema.get("properties")
        yield from (f"{where}: {name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, inner in value.items():
            if known is not None and name not in known:
                yield f"{where}: {name} is unknown"
            inside = (known or {}).get(name) or schema.get("additionalProperties")
            yield from unknown(inner, inside if isinstance(inside, dict) else {}, root, f"{where}.{name}")
    elif isinstance(value, list):
        inside = schema.get("items")
        for item in value:
            yield from unknown(item, inside if isinstance(inside, dict) else {}, root, f"{where}[]")


@pytest.mark.parametrize("kind", ["small", "several", "incomplete", "empty"])
def test_what_is_written_obeys_the_schema(kind, tmp_path):
    results.write(made.make(kind, tmp_path), tmp_path / "result.json")
    schema = json.loads(SCHEMA.read_bytes())
    written = json.loads((tmp_path / "result.json").read_bytes())
    assert list(unknown(written, schema, schema)) == []
    assert list(unknown(written | {"surprise": 1}, schema, schema)) == [": surprise is unknown"]
    del written["verdict"]
    assert list(unknown(written, schema, schema)) == [": verdict is missing"]


def test_what_is_written_is_read_back_and_written_the_same(tmp_path):
    result = made.make("several", tmp_path)
    results.write(result, tmp_path / "result.json")
    assert results.read(tmp_path) == result
    assert results.encode(results.read(tmp_path)) == (tmp_path / "result.json").read_bytes()


ALTERED = {
    "a verdict": lambda data: data.replace(b'"verdict": "MISMATCH"', b'"verdict": "MATCH"', 1),
    "a number of a pair": lambda data: re.sub(rb'"rel_l2": [^,]*', b'"rel_l2": 0.0', data, count=1),
    "a cause": lambda data: re.sub(rb'"confidence": [^,]*', b'"confidence": 3.0', data, count=1),
    "a key that nobody reads": lambda data: data.replace(b"{", b'{"by": "hand",', 1),
    "no seal": lambda data: re.sub(rb',\s*"seal": "[0-9a-f]*"', b"", data),
    "an empty seal": lambda data: re.sub(rb'"seal": "[0-9a-f]*"', b'"seal": ""', data),
    "a second seal": lambda data: data.replace(b"{", b'{"seal": "' + b"0" * 32 + b'",', 1),
    "cut and closed": lambda data: data[: data.rindex(b",")] + b"}",
}


@pytest.fixture
def written(tmp_path):
    """The file of a small result."""
    results.write(made.make("small", tmp_path), tmp_path / "result.json")
    return tmp_path / "result.json"


@pytest.mark.parametrize("change", ALTERED.values(), ids=ALTERED)
def test_an_altered_result_is_one_error(change, written):
    whole = written.read_bytes()
    written.write_bytes(change(whole))
    assert written.read_bytes() != whole
    with pytest.raises(InputError, match=rf"{written} is damaged or was changed since .*; compare the traces again"):
        results.read(written)


@pytest.mark.parametrize("command", ["judge", "explain", "report", "diagnose", "show"])
def test_nobody_reads_an_altered_result(command, written):
    written.write_bytes(ALTERED["a verdict"](written.read_bytes()))
    rules = written.with_name("rules.toml")
    rules.write_text("tolerance = []")
    more = ["--tolerances", str(rules)] if command == "judge" else []
    done = CliRunner().invoke(app, [command, str(written.parent), *more])
    assert isinstance(done.exception, InputError), done.output
    assert "was changed since it was written" in str(done.exception)


def test_what_is_no_result_is_one_error(tmp_path):
    (tmp_path / "result.json").write_text('{"verdict": "PERHAPS"}')
    with pytest.raises(InputError, match="is not a result"):
        results.read(tmp_path)
    with pytest.raises(InputError, match="is not there"):
        results.read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stage": "attribute"}, "is of stage 'attribute'"),
        ({"question": "audit"}, "audit layers"),
        ({"mode": "audit"}, "semantics audit"),
    ],
)
def test_a_pair_that_no_comparison_writes_is_refused(tmp_path, change, words):
    result = made.make("small", tmp_path)
    pair = next(pair for pair in result.pairs if (pair.question, pair.mode) == ("semantics", "layers"))
    for name, value in change.items():
        setattr(pair, name, value)
    results.write(result, tmp_path / "result.json")
    with pytest.raises(InputError, match=rf"result\.json is not a result: .*{words}.*, which no comparison writes"):
        results.read(tmp_path)
