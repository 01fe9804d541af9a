"""Without the frameworks, and what comes with them, every file of tests is read; what needs one is skipped with the reason."""

import subprocess
import sys

from tests.conftest import ROOT

ABSENT = ("torch", "diffusers", "transformers", "accelerate", "mindspore", "safetensors", "tokenizers", "PIL", "yaml")
COLLECT = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT!r}))  # importing one raises ModuleNotFoundError
import pytest
sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", "tests"]))
"""
RUN = COLLECT.replace('"--collect-only"', '"-rs"').replace('"tests"', '"tests/mindone_sdxl/test_kernels.py"')


def test_all_tests_are_collected():
    finished = subprocess.run([sys.executable, "-c", COLLECT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout[-3000:]
    assert "error" not in finished.stdout.rpartition("tests collected")[2]
    assert "tests/parity/compare/test_judge.py::test_without_rules_the_verdicts_stay" in finished.stdout


def test_what_needs_one_is_skipped_with_the_reason():
    finished = subprocess.run([sys.executable, "-c", RUN], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout[-3000:]
    assert "needs the extra [mindspore]: mindspore cannot be imported" in finished.stdout
    assert " passed" not in finished.stdout
