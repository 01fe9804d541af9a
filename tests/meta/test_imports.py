"""The core loads no framework, and the command line answers without one."""

import shutil
import subprocess
import sys
import tomllib

import pytest

from tests.conftest import ROOT

FRAMEWORKS = ("torch", "mindspore", "diffusers", "transformers")
CORE = (
    "parity", "parity.cli", "parity.report", "parity.diagnose", "parity.audit", "parity.compare", "parity.record",
    "parity.replay", "parity.align", "parity.repair", "parity.trace", "parity.case", "parity.adoption",
)  # fmt: skip


def loaded_after(code):
    show = f"import sys\n{code}\nprint([name for name in {FRAMEWORKS!r} if sys.modules.get(name)])"
    return subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("module", CORE)
def test_importing_the_core_loads_no_framework(module):
    assert loaded_after(f"import {module}") == "[]"


def test_the_check_says_no_when_a_framework_is_loaded():
    assert loaded_after("import sys, types; sys.modules['torch'] = types.ModuleType('torch')") == "['torch']"


def test_an_alignment_is_made_without_a_framework():
    pytest.importorskip("yaml", reason="needs the extra [mindspore]")
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


@pytest.mark.parametrize("package", ["torch_refs", "mindone_sdxl"])
@pytest.mark.parametrize("forbidden", ["torch", "mindspore"])
def test_the_contract_keeps_each_side_from_the_other_framework(package, forbidden, tmp_path):
    """A file that imports the other side's framework breaks the contract, one that imports its own does not."""
    (contract,) = [each for each in contracts() if package in each["source_modules"] and each["type"] == "forbidden"]
    shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / package / "planted.py").write_text(f"import {forbidden}\n")
    lines = [
        "[importlinter]",
        "root_packages =",
        f"  {package}",
        "include_external_packages = True",
        "[importlinter:contract:1]",
        "name = side",
        "type = forbidden",
        f"source_modules = {package}",
        f"allow_indirect_imports = {contract.get('allow_indirect_imports', 'False')}",
        "forbidden_modules =",
    ]
    lines += [f"  {name}" for name in contract["forbidden_modules"]]
    (tmp_path / ".importlinter").write_text("\n".join(lines) + "\n")
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    own = {"torch_refs": "torch", "mindone_sdxl": "mindspore"}[package]
    assert ran.returncode == (0 if forbidden == own else 1), ran.stdout + ran.stderr


def contracts():
    """The import contracts of pyproject.toml."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [{"source_modules": [], **each} for each in settings["tool"]["importlinter"]["contracts"]]
