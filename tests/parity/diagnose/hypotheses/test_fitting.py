"""What fits share: on which outputs a formula is tried, and what all of them say."""

from __future__ import annotations

import numpy as np
import pytest

from parity.address import Address
from parity.diagnose.evidence import Failure
from parity.diagnose.hypotheses.fitting import Fit, agreed


@pytest.mark.parametrize(
    ("values", "expected"), [([], None), ([3], 3), ([3, 3], 3), ([3, 4], None)], ids=["none", "one", "alike", "several"]
)
def test_outputs_agree_on_a_value_that_each_of_them_has(values, expected):
    assert agreed(Fit(value, 0.0) for value in values) == expected


@pytest.mark.parametrize(
    ("candidate", "taken", "expected"),
    [
        ((2, 3), {"sample": (2, 3), "time": (2,)}, True),
        ((3, 2), {"sample": (2, 3)}, False),
        ((2, 3), {"sample": (1, 3)}, False),
        ((2, 3), {"time": (2,)}, False),
    ],
    ids=["alike", "another output", "another input", "input not recorded"],
)
def test_a_formula_is_tried_where_output_and_inputs_have_one_shape(candidate, taken, expected):
    failure = Failure(
        address=Address(path="net", port="output"),
        reference=np.zeros((2, 3)),
        candidate=np.zeros(candidate),
        inputs={name: np.zeros(shape) for name, shape in taken.items()},
    )
    assert failure.is_of_one_shape(("sample",)) is expected
