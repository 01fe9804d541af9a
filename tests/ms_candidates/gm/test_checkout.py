"""Finding the original's source, and the errors when it is not there."""

import pytest

pytest.importorskip("yaml", reason="needs the extra [mindspore]")

from ms_candidates.gm import checkout
from ms_candidates.gm.candidate import candidate
from ms_candidates.gm.checkout import INFERENCE, explicit_casts, find
from parity.errors import FrameworkMissingError, InputError
from parity.replay import Request
from parity.trace import Manifest
from tests.conftest import run_parity
from tests.meta.test_bad_input import refused, small_trace

MARKS = ("gm/models/diffusion.py", "gm/modules/diffusionmodules/sampler.py", "configs/inference/sd_xl_base.yaml")


def made_checkout(folder):
    for mark in MARKS:
        (folder / mark).parent.mkdir(parents=True, exist_ok=True)
        (folder / mark).write_text("")
    return folder


def test_a_checkout_is_found_by_its_root_and_by_its_example_folder(tmp_path):
    example = made_checkout(tmp_path / "examples" / "stable_diffusion_xl")
    assert find(tmp_path) == find(example) == example.resolve()


def test_no_source_is_an_error_that_says_what_to_give():
    with pytest.raises(InputError, match=r"give --source DIR, a checkout of mindone at commit a24c0eb7"):
        find(None)


def test_a_folder_that_lacks_a_file_of_the_checkout_is_an_error_that_names_the_file(tmp_path):
    checkout = made_checkout(tmp_path)
    (checkout / MARKS[1]).unlink()
    with pytest.raises(InputError, match=r"sampler\.py") as error:
        find(checkout)
    assert str(checkout) in str(error.value)


def test_packages_that_are_not_installed_are_named_together(monkeypatch):
    monkeypatch.setattr(checkout, "PACKAGES", ("json", "no_such_package", "nor_this_one"))
    with pytest.raises(FrameworkMissingError, match=r"needs no_such_package, nor_this_one, not installed; pip install"):
        checkout.require_packages()


def test_places_where_the_source_names_a_type_are_listed_with_file_and_line(tmp_path):
    for name in INFERENCE:
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("import mindspore as ms\n")
    (tmp_path / "gm/modules/attention.py").write_text(
        "import mindspore as ms\n\nx = y.astype(ms.float32)\nz = 'float32'\n"
    )
    assert explicit_casts(tmp_path) == ["gm/modules/attention.py:3"]


@pytest.mark.parametrize(
    ("dtype", "sampling", "words"),
    [
        ("float16", {}, "the type float16 is not replayed in gm"),
        ("float64", {"sampler": "HeunEDM"}, "the sampler HeunEDM is not replayed in gm"),
        ("float64", {"discretization": "EDM"}, "the discretization EDM is not replayed in gm"),
    ],
    ids=["type", "sampler", "discretization"],
)
def test_what_is_not_replayed_is_refused_before_the_source_is_imported(tmp_path, dtype, sampling, words):
    case = {"sampling": {"sampler": "EulerAncestral", "discretization": "DiffusersDDPM", "guidance": 5.0} | sampling}
    manifest = Manifest(side="reference", name="r", case=case, case_digest="c")
    request = Request(
        model=tmp_path, weights=None, folder=tmp_path, dtype=dtype, device="CPU", manifest=manifest,
        source=made_checkout(tmp_path),
    )  # fmt: skip
    with pytest.raises(InputError) as error:
        candidate.alignment(request)
    assert words in str(error.value)


@pytest.mark.parametrize("source", [(), ("--source", "no-such-folder")], ids=["none", "not there"])
def test_replaying_without_the_source_is_one_clear_error(tmp_path, source):
    small_trace(tmp_path / "reference")
    model = tmp_path / "m"
    model.mkdir()
    out = tmp_path / "out"
    finished = run_parity(tmp_path, "replay", tmp_path / "reference", "--candidate", "gm", "--out", out, *source)

    class Result:
        returncode, stderr = finished.code, finished.stderr

    refused(Result, "a checkout of mindone at commit a24c0eb7")
    assert not out.exists()
