"""The driver of the original's conversion refuses what it cannot use before it runs anything."""

import pytest

pytest.importorskip("yaml", reason="needs the extra [mindspore]")

from ms_candidates.gm.convert import main
from tests.ms_candidates.gm.test_checkout import made_checkout


@pytest.mark.parametrize(("source", "words"), [(None, "give --source DIR"), ("here", "is no diffusers folder")])
def test_unusable_input_is_one_error_and_exit_code_2(tmp_path, capsys, source, words):
    options = ["--source", str(made_checkout(tmp_path / "gm"))] if source else []
    assert main([str(tmp_path / "model"), str(tmp_path / "out.ckpt"), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert not (tmp_path / "out.ckpt").exists()
