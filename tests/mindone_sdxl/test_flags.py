"""Numbers on the command line of `sample` have ranges."""

from __future__ import annotations

import pytest

from mindone_sdxl.errors import InputError
from mindone_sdxl.flags import _RANGES, FLAGS, parse

NUMBERS = [name for name, flag in FLAGS.items() if flag.text and flag.kind in {int, float} and flag.choices is None]


def test_every_number_that_is_used_has_a_range():
    assert set(NUMBERS) == set(_RANGES)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["-1", "nan", "-inf", "9" * 40])
def test_what_lies_outside_is_refused(name, value):
    if FLAGS[name].kind is int and not value.lstrip("-").isdigit():
        with pytest.raises(SystemExit):
            parse([f"--{name}={value}"])
        return
    # Any noise level may be above all others.
    words = "--s_tmax has no effect" if (name, value) == ("s_tmax", "9" * 40) else rf"--{name} is .*, expected .* to "
    with pytest.raises(InputError, match=words):
        parse([f"--{name}={value}"])


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 200_000, "maybe"])
def test_what_is_neither_true_nor_false_ends_in_an_error_of_usage(text, capsys):
    with pytest.raises(SystemExit):
        parse([f"--deterministic={text}"])
    assert "neither True nor False" in capsys.readouterr().err
