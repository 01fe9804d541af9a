"""The published JSON Schema is that of the code, and what is written obeys it."""

import json

import msgspec
import pytest

from parity import result as results
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


def test_a_result_of_before_several_candidates_is_still_read(tmp_path):
    result = made.make("small", tmp_path)
    old = msgspec.to_builtins(result)
    del old["candidates"]
    for cause in old["causes"]:
        del cause["candidate"]
    (tmp_path / "result.json").write_bytes(msgspec.json.encode(old))
    assert results.read(tmp_path) == result


def test_what_is_no_result_is_one_error(tmp_path):
    (tmp_path / "result.json").write_text('{"verdict": "PERHAPS"}')
    with pytest.raises(InputError, match="is not a result"):
        results.read(tmp_path)
    with pytest.raises(InputError, match="is not there"):
        results.read(tmp_path / "nowhere")
