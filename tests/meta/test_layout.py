"""tests/README.md says where a module is tested that has no file of its own, and names nothing that is not there."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

README = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
PACKAGES = ("parity", "mindone_sdxl", "torch_refs", "ms_candidates")
ROWS = dict(re.findall(r"^\| `([\w/]+)` \| (.+) \|$", README, re.MULTILINE))


def mirrored(module):
    """Tell whether a module, or its folder as a whole, has a test file of its name, or the module a folder of them."""
    folder = ROOT / "tests" / module.parent
    name = module.stem.rstrip("_")
    whole = folder.with_name(f"test_{folder.name}.py")
    return any(place.exists() for place in (folder / f"test_{name}.py", folder / name, whole))


def modules():
    """Return every module by its path in the repository."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return [path.relative_to(ROOT) for path in found if path.name not in {"__init__.py", "__main__.py"}]


def test_a_module_has_a_file_of_tests_or_its_folder_has_a_row():
    lost = [str(module) for module in modules() if not mirrored(module) and str(module.parent) not in ROWS]
    assert lost == [], "write its tests in the file of its name, or say in tests/README.md where they are"


@pytest.mark.parametrize("folder", ROWS)
def test_a_row_is_of_a_folder_with_modules_that_have_no_file_of_their_own(folder):
    assert [module for module in modules() if str(module.parent) == folder and not mirrored(module)]


@pytest.mark.parametrize("folder", ROWS)
def test_a_row_names_files_that_are_there(folder):
    here = ROOT / "tests" / folder
    for name in re.findall(r"`(?:\w+/)*(test_\w+)`", ROWS[folder]):
        assert list(here.rglob(f"{name}.py")) or list(here.parent.glob(f"{name}.py")), name
    for path in re.findall(r"`(tests/[\w/]+\.py)`", ROWS[folder]):
        assert (ROOT / path).is_file(), path


def test_the_doubles_are_there():
    for path in re.findall(r"`((?:tests|fixtures)/[\w/]+(?:\.py)?)`", README):
        assert (ROOT / path).exists() or path == "fixtures/tiny", path
