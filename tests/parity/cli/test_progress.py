"""What is said on stderr."""

from __future__ import annotations

from parity.cli.progress import say


def test_what_is_said_is_one_line_that_a_terminal_may_be_given(capsys):
    say("no rule excuses unet.\x1b]0;x\x07\nb\u202e:output")
    assert capsys.readouterr().err == "no rule excuses unet.\\x1b]0;x\\x07\\nb\\u202e:output\n"
