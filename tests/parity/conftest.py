"""What the tests of the core share: a program in numpy that was recorded once, and its port's replay of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parity.case import load
from parity.record import record
from tests.parity import numpy_program
from tests.parity.numpy_candidate import replayed

if TYPE_CHECKING:
    from parity.trace import Trace


@pytest.fixture(scope="session")
def program_case(tmp_path_factory):
    """The case of `numpy_program`, with its weights."""
    return load(numpy_program.write(tmp_path_factory.mktemp("program")))


@pytest.fixture(scope="session")
def program(program_case, tmp_path_factory) -> Trace:
    """The recorded program: the reference."""
    return record(program_case, numpy_program.reference, tmp_path_factory.mktemp("program") / "reference")


@pytest.fixture(scope="session")
def port(program, tmp_path_factory) -> Trace:
    """The whole replay of the program by its healthy port."""
    return replayed(program, tmp_path_factory.mktemp("port") / "candidate")
