"""The core loads no framework, and the command line answers without one."""

import subprocess
import sys

import pytest

FRAMEWORKS = ("torch", "mindspore", "diffusers", "transformers")
CORE = (
    "parity", "parity.cli", "parity.report", "parity.diagnose", "parity.audit", "parity.compare", "parity.record",
    "parity.replay", "parity.align", "parity.repair", "parity.trace", "parity.case", "parity.adoption",
)  # fmt: skip


def loaded_after(code):
    show = f"import sys\n{code}\nprint([name for name in {FRAMEWORKS!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("module", CORE)
def test_importing_the_core_loads_no_framework(module):
    assert loaded_after(f"import {module}") == "[]"


def test_the_check_says_no_when_a_framework_is_loaded():
    assert loaded_after("import sys, types; sys.modules['torch'] = types.ModuleType('torch')") == "['torch']"


def test_an_alignment_is_made_without_a_framework():
    code = (
        "from mindone_sdxl.candidate.rows import rows; from mindone_sdxl.config import SDXLConfig; rows(SDXLConfig())"
    )
    assert loaded_after(code) == "[]"


def test_help_names_every_command_and_loads_no_framework():
    code = "import sys; sys.argv = ['parity', '--help']\nfrom parity.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass"
    shown = loaded_after(code)
    assert shown.endswith("[]")
    for command in (
        "record",
        "replay",
        "compare",
        "diagnose",
        "run",
        "report",
        "show",
        "judge",
        "verify",
        "pack",
        "explain",
        "doctor",
        "calibrate",
        "selftest",
    ):
        assert command in shown
