"""Every hypothesis names its own fault from the two traces, and stays silent on another's."""

import pytest

from tests.parity.diagnose.faults import FAULTS, IMAGE, causes, traces


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_and_located(tmp_path, name):
    modules, attributes, inputs, reference, candidate, place = FAULTS[name]
    (cause,) = causes(*traces(tmp_path, modules, attributes, inputs, reference, candidate))
    assert (cause.slug, cause.address) == (name.partition(" ")[0], place)
    assert cause.evidence
    assert not cause.confirmed


@pytest.mark.parametrize("name", FAULTS)
def test_without_a_fault_nothing_is_named(tmp_path, name):
    modules, attributes, inputs, reference, _, _ = FAULTS[name]
    assert causes(*traces(tmp_path, modules, attributes, inputs, reference, reference)) == []


def test_a_module_that_contains_the_fault_is_no_suspect(tmp_path):
    reference = {
        "vae.decoder.conv@call=0:output": IMAGE,
        "vae.decoder:output": 2 * IMAGE,
        "vae.decode:output": 2 * IMAGE,
    }
    wrong = 2.02 * IMAGE
    candidate = {
        "vae.decoder.conv@call=0:output": 1.01 * IMAGE,
        "vae.decoder:output": wrong,
        "vae.decode:output": wrong,
    }
    (cause,) = causes(*traces(tmp_path, {}, {}, {}, reference, candidate))
    assert cause.address == "vae.decoder.conv"
