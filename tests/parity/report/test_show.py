"""`show` and `explain` find an address in a trace and in a result, and say when there is none."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from parity.errors import AddressError, InputError
from parity.report import show
from parity.result import write
from parity.trace import Manifest, TraceWriter

from . import made


def printed(action, *arguments, **options):
    console = Console(file=io.StringIO(), width=200)
    action(*arguments, console=console, **options)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trace") / "reference"
    writer = TraceWriter(folder, Manifest(side="reference", name="diffusers", case={}, case_digest=""))
    for name, dtype in (("float32", "float32"), ("float64", "float64")):
        with writer.run(name, mode="run", dtype=dtype) as run:
            run.tensor("unet.conv_in@step=0:output", np.array([[0.0, -3.0], [4.0, np.nan]], dtype=dtype))
            run.tensor("tokenizer:output.input_ids", np.arange(5))
    writer.finish()
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("result")
    write(made.make("small", folder), folder / "result.json")
    return folder


def test_a_trace_shows_its_runs(trace):
    text = printed(show.show, trace)
    assert "reference diffusers, complete" in text
    assert "float64" in text
    assert "recording changes nothing: not measured" in text


@pytest.mark.parametrize("address", ["unet.conv_in@step=0:output", "unet.conv_in", r"unet\..*:output"])
def test_a_tensor_shows_its_statistics_in_every_run(address, trace, capsys):
    show.show(trace, address, json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [row["run"] for row in rows] == ["float32", "float64"]
    assert rows[0] | {"rms": 0} == {
        "run": "float32",
        "address": "unet.conv_in@step=0:output",
        "shape": [2, 2],
        "dtype": "float32",
        "min": -3.0,
        "max": 4.0,
        "mean": pytest.approx(1 / 3),
        "rms": 0,
        "zeros": 1,
        "not_finite": 1,
        "first": [0.0, -3.0, 4.0, "nan"],
    }
    assert rows[0]["rms"] == pytest.approx(np.sqrt(25 / 3))
    assert "2x2" in printed(show.show, trace, address)


@pytest.mark.parametrize(
    ("array", "dtype", "rms"),
    [
        (np.array([3e300, 4e300]), "float64", 3.5355e300),
        (np.array([0x3F80, 0x4000], dtype=np.uint16), "bfloat16", 1.5811),
        (np.array([True, False]), "bool", 0.7071),
        (np.array([3 + 4j]), "complex64", 5.0),
        (np.zeros((0, 3)), "float32", None),
        (np.array(2.0), "float64", 2.0),
    ],
)
def test_statistics_are_right_for_every_type_and_scale(array, dtype, rms):
    assert show.statistics(array, dtype)["rms"] == (rms if rms is None else pytest.approx(rms, rel=1e-4))


def test_a_result_shows_what_fails(folder):
    text = printed(show.show, folder)
    assert text.startswith("text_encoder_2.text_projection:weight: MISMATCH")
    assert "inherited" in text
    assert " MATCH " not in text


def test_a_result_shows_one_address_in_all_its_modes(folder, capsys):
    show.show(folder, "unet.conv_in@step=2:output", json=True)
    modes = [(pair["question"], pair["mode"]) for pair in json.loads(capsys.readouterr().out)]
    assert modes == [
        (question, mode) for question in ("semantics", "precision") for mode in ("layers", "steps", "free")
    ]


def test_explain_names_the_cause_its_page_and_both_numbers(folder):
    text = printed(show.explain, folder)
    assert text.startswith("text_encoder_2.text_projection weight   MISMATCH")
    assert "docs/causes/transposed-weight.md" in text
    assert "9.1e-16" in text


def test_explain_of_an_inherited_failure_leads_to_the_first_divergence(folder):
    text = printed(show.explain, folder, "scheduler.step@step=3:output")
    assert "it fails only because of others; the first divergence is text_encoder_2.text_projection:weight" in text


def test_explain_of_a_path_that_is_not_compared_gives_its_reason(folder):
    assert "is not compared: identity" in printed(show.explain, folder, "unet.down_blocks.0.resnets.0.dropout")


@pytest.mark.parametrize("action", [show.show, show.explain])
def test_an_unknown_address_is_an_error_with_the_nearest_one(action, folder, trace):
    with pytest.raises(AddressError, match=r"did you mean 'unet.conv_in'"):
        action(folder, "unet.conv_inn")
    with pytest.raises(AddressError, match=r"did you mean 'unet.conv_in@step=0:output'"):
        show.show(trace, "unet.conv_in@step=1:output")


def test_a_folder_that_is_neither_is_an_error(tmp_path):
    with pytest.raises(InputError):
        show.show(tmp_path / "nothing")
    with pytest.raises(InputError, match="parity compare"):
        show.explain(tmp_path)
