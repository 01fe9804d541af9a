"""The alignment of mindone, derived from the reference's modules alone."""

import pytest

from ms_candidates.mindone.rows import FUNCTIONS, native_of, path_of, rows
from parity.address import Address
from parity.align import Alignment
from parity.trace import Trace


@pytest.fixture(scope="module")
def reference(recorded):
    return Trace.open(recorded)


@pytest.fixture(scope="module")
def table(reference):
    return rows(reference.manifest.modules, guided=True)


def outputs(reference):
    """(path, port) of every output of a module that the reference recorded."""
    addresses = (Address.parse(record.address) for record in reference.run("float32").records)
    return {(address.path, address.port) for address in addresses if address.port.startswith("output")}


def test_every_recorded_output_of_a_module_has_exactly_one_row(reference, table):
    modules = reference.manifest.modules
    recorded = {place for place in outputs(reference) if place[0] in modules}
    listed = [(row.path, row.port) for row in table if not row.function]
    assert len(listed) == len(set(listed))
    assert recorded <= set(listed)


def test_rows_that_the_reference_did_not_record_are_of_modules_that_it_never_called(reference, table):
    called = {path for path, _ in outputs(reference)}
    missing = {(row.path, row.port) for row in table if not row.function} - outputs(reference)
    assert {path for path, _ in missing} & called == set()


def test_every_recorded_function_has_a_row(reference, table):
    functions = {path for path, _ in outputs(reference) if path not in reference.manifest.modules}
    assert functions == {row.path for row in table if row.function} == set(FUNCTIONS)


def test_the_table_is_accepted_as_an_alignment(reference, table):
    known = {*reference.manifest.modules, *FUNCTIONS}
    assert len(Alignment(table, {}, known).natives) > 800


def test_native_paths_are_the_reference_s_but_in_the_text_encoder_without_projection(reference):
    modules = reference.manifest.modules
    for path in modules:
        native = native_of(path, modules)
        assert path_of(native, modules) == path
        assert (native == path) == (not path.startswith("text_encoder."))
    older = {"text_encoder": "CLIPTextModel", "text_encoder.text_model": "CLIPTextTransformer"}
    assert native_of("text_encoder.text_model", older) == "text_encoder.text_model"


def test_without_guidance_there_is_no_such_function(reference):
    assert "guidance" not in {row.path for row in rows(reference.manifest.modules, guided=False)}
