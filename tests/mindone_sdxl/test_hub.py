"""Where `version:` points: folders and Hugging Face's local cache, never a network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("yaml", reason="needs the extra [mindspore]")

from mindone_sdxl.config_yaml import from_yaml
from mindone_sdxl.errors import ConfigError, InputError
from mindone_sdxl.models import find_model, tokenizers

pytestmark = [pytest.mark.torch, pytest.mark.mindspore]
CONFIG = "configs/inference/sd_xl_base.yaml"
SHIPPED = Path(__file__).parents[2] / "mindone_sdxl" / CONFIG


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
def test_a_version_is_found_in_the_local_cache_of_the_hub(variable, folder, tmp_path, monkeypatch):

    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    entry = tmp_path / ("hub" if variable == "HF_HOME" else "") / "models--openai--clip-vit-large-patch14"
    values = SimpleNamespace(tokenizer_path=None, config=CONFIG, pad_token_is_special=True)
    with pytest.raises(InputError, match=r"looked in openai/clip-vit-large-patch14, .*models--openai--clip.*HF_HOME"):
        tokenizers(values, CONFIG, find_model(CONFIG))
    shutil.copytree(folder / "tokenizer", entry / "snapshots" / "0123abc")
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text("0123abc")
    first, second = tokenizers(values, CONFIG, find_model(CONFIG))
    assert first(["the cat"])[0, 1:4].tolist() == second(["the cat"])[0, 1:4].tolist()
    assert (first.pad_id, second.pad_id) == (first.end_id, 0)


def test_a_version_is_a_folder_with_a_tokenizer_or_with_a_model(folder, tmp_path):

    text = SHIPPED.read_text()
    shutil.copytree(folder / "tokenizer", tmp_path / "clip")
    path = tmp_path / "own.yaml"
    path.write_text(text.replace("openai/clip-vit-large-patch14", "clip"))
    found = from_yaml(path)
    assert found.vocabulary == "clip"
    assert found.model.text_encoder.hidden_size == 768
    values = SimpleNamespace(tokenizer_path=None, config=str(path), pad_token_is_special=True)
    assert tokenizers(values, str(path), found)[0](["cat"]).shape == (1, 77)
    inner = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    (tmp_path / "clip" / "config.json").write_text(json.dumps({"text_config": inner | {"hidden_act": "gelu"}}))
    assert from_yaml(path).model.text_encoder.activation == "gelu"
    path.write_text(text.replace("openai/clip-vit-large-patch14", "absent"))
    with pytest.raises(ConfigError, match=r"version 'absent' is neither .* nor one of absent, .*models--absent"):
        from_yaml(path)
