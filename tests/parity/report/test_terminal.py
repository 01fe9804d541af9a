"""The first line on stdout names the first divergence; nothing of a trace is read as markup."""

import io
import subprocess
import sys

import pytest
from rich.console import Console

from parity.report import terminal

from . import made


def printed(kind, folder, files=(), **options):
    console = Console(file=io.StringIO(), **({"width": 100} | options))
    terminal.render(made.make(kind, folder), console, files)
    return console.file.getvalue()


def test_the_first_line_names_the_first_divergence_however_narrow_the_window_is(tmp_path):
    first = printed("local", tmp_path, width=40).splitlines()[0]
    assert first.startswith("unet.down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0@step=0:output: MISMATCH")


def test_a_match_says_on_what_it_rests(tmp_path):
    text = printed("match", tmp_path)
    for words in (
        "MATCH: 7,663 pairs",
        "semantics, layers, float64: 1,304 MATCH",
        "precision, free, float32: 1,304 MATCH",
        "paths compared: 389 of 412",
        "final latents, float32: candidate, from float64: 3.6e-06 of the largest value",
        "image, float32: candidate, from float64: 5.5e-06",
        "not measured",
        "identity: 9 paths",
    ):
        assert words in text, words


def test_a_mismatch_says_card_cause_both_numbers_repair_and_price(tmp_path):
    text = printed("transposed", tmp_path, [tmp_path / "report.html"])
    for words in (
        "cause: transposed-weight at text_encoder_2.text_projection:weight (confirmed by a counterfactual replay)",
        "4.0e-01 before the repair, 9.1e-16 after it",
        "repair: transpose",
        "1212/1212 ~",
        "candidate, from reference: 0.209 of the largest value",
        "report.html",
    ):
        assert words in text, words


def test_an_incomplete_result_says_what_is_missing(tmp_path):
    text = printed("incomplete", tmp_path)
    assert text.startswith("INCOMPLETE: 2 missing, 1 unexpected; 2 paths not compared without a reason")
    assert "semantics: there is no float64 run" in text


def test_a_reference_that_is_off_is_named_as_such_and_no_port_is_blamed(tmp_path):
    text = printed("off", tmp_path)
    assert text.startswith("INCOMPLETE: the reference's working run is off, first at unet.conv_in@step=1:output")
    assert "about the reference: reference-error at unet.conv_in@step=1:output" in text
    assert "look at the reference, not at the port" in text
    assert "MISMATCH" not in text
    assert "not confirmed" not in text


@pytest.mark.parametrize("options", [{}, {"force_terminal": True, "color_system": "truecolor"}])
def test_a_hostile_result_prints_no_control_sequence_of_its_own(options, tmp_path):
    text = printed("hostile", tmp_path, **options)
    assert "\x1b[31m" not in text.replace("\x1b[1;31m", "")
    assert "\\x1b[31m" in text
    assert "[red]" in text


def test_a_table_is_wide_in_a_pipe_and_fits_a_window(tmp_path):
    assert "1212/1212 ~ 1.2e-01" in printed("transposed", tmp_path, width=60)
    lines = printed("transposed", tmp_path, width=60, force_terminal=True, color_system=None).splitlines()
    stage = next(place for place, line in enumerate(lines) if line.startswith("stage"))
    assert all(len(line) <= 60 for line in lines[stage : stage + 12])


def test_what_only_the_page_needs_is_not_imported_for_the_terminal():
    told = "import sys, parity.report.terminal, parity.report.show; print(*{'jinja2', 'markupsafe', 'plotly'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
