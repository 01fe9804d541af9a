"""The tiny SDXL: deterministic, and built so that no fault hides in it."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from parity.case import load  # noqa: E402
from tests.torch_refs.support import relative  # noqa: E402
from torch_refs.diffusers.functions import module_paths  # noqa: E402
from torch_refs.tokenizer_files import merges, vocabulary  # noqa: E402

pytestmark = pytest.mark.torch


def _hashes(folder):
    """Return the digest of every file by its name below the folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_it_is_the_same_bytes_every_time(folder, tmp_path):
    from torch_refs.tiny import main

    main([str(tmp_path / "again")])
    assert _hashes(tmp_path / "again") == _hashes(folder / "tiny")


def test_the_vocabulary_is_clips():
    words = vocabulary(merges())
    assert len(words) == 49408
    assert [words[token] for token in ("!", "a</w>", "<|startoftext|>", "<|endoftext|>", "astronaut</w>")] == [
        0, 320, 49406, 49407, 18376,
    ]  # fmt: skip


def test_the_folder_has_the_tokenizer_files_of_sdxl(folder):
    for name, pad in (("tokenizer", "<|endoftext|>"), ("tokenizer_2", "!")):
        files = {path.name for path in (folder / "tiny" / name).iterdir()}
        assert files == {"vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json"}
        assert json.loads((folder / "tiny" / name / "special_tokens_map.json").read_text())["pad_token"] == pad


def test_a_prompt_of_the_main_job_reaches_77_tokens(pipeline):
    case = load("fixtures/cases/tiny.toml").case
    lengths = [len(ids) for ids in pipeline.tokenizer(list(case.prompt.positive)).input_ids]
    assert max(lengths) >= 77 > min(lengths)
    assert pipeline.tokenizer_2(["a"], padding="max_length", max_length=77).input_ids[0][:5] == [
        49406,
        320,
        49407,
        0,
        0,
    ]


def test_every_parameter_is_random_norms_and_biases_too(pipeline):
    for path, module in module_paths(pipeline).items():
        for name, parameter in module.named_parameters(recurse=False):
            some = parameter.detach().flatten()[:512]
            assert some.unique().numel() > 0.9 * some.numel(), f"{path}:{name}"


def test_heads_groups_and_projection_have_telling_sizes(pipeline):
    for module in module_paths(pipeline).values():
        if isinstance(module, torch.nn.GroupNorm):
            assert 1 < module.num_groups < module.num_channels
        heads = getattr(module, "num_heads", None) or getattr(module, "heads", None)
        if heads is not None:
            assert heads != (getattr(module, "head_dim", None) or module.inner_dim // module.heads)
    rows, columns = pipeline.text_encoder_2.text_projection.weight.shape
    assert rows == columns


def test_the_residual_streams_of_the_text_encoders_are_small(trace):
    run = trace.run("float64")
    for name, prefix in (("text_encoder", ""), ("text_encoder_2", "text_model.")):
        for layer in range(4):
            std = run.wide(f"{name}.{prefix}encoder.layers.{layer}@call=0:output").std()
            assert 0.02 < std < 0.045, (name, layer, std)


def test_latents_shrink_and_the_image_is_not_saturated(trace):
    run = trace.run("float64")
    stds = [run.wide(f"scheduler.step@step={step}:output").std() for step in range(3)]
    assert run.wide("prepare_latents:output").std() > stds[0] > stds[-1]
    assert 0.3 < stds[-1] < 5.0
    image = run.wide("postprocess:output")
    assert np.mean((image > 0) & (image < 1)) > 0.9
    assert image.std() > 0.1


def _embeddings(pipeline):
    """Return the second text encoder's pooled and hidden output for a fixed prompt."""
    ids = pipeline.tokenizer_2(["two foxes"], padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        found = pipeline.text_encoder_2(ids, output_hidden_states=True)
    return found.text_embeds, found.hidden_states[-2]


def _transpose(module):
    """Transpose a square weight in place."""
    with torch.no_grad():
        module.weight.copy_(module.weight.T.clone())


def _layer_norm_epsilon(text_encoder):
    """Give every LayerNorm another epsilon."""
    for module in text_encoder.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-7


def _tanh_gelu(text_encoder):
    """Give every MLP the other GELU."""
    for module in text_encoder.modules():
        if hasattr(module, "activation_fn"):
            module.activation_fn = torch.nn.GELU(approximate="tanh")


@pytest.mark.parametrize(
    "plant",
    [
        pytest.param(lambda model: _transpose(model.text_projection), id="text_projection"),
        pytest.param(lambda model: _transpose(model.text_model.encoder.layers[0].self_attn.q_proj), id="q_proj"),
        pytest.param(lambda model: _transpose(model.text_model.encoder.layers[4].self_attn.out_proj), id="out_proj"),
        pytest.param(_layer_norm_epsilon, id="epsilon"),
        pytest.param(_tanh_gelu, id="tanh"),
    ],
)
def test_a_fault_in_the_second_text_encoder_shows(pipeline, plant):
    before = _embeddings(pipeline)
    plant(pipeline.text_encoder_2)
    after = _embeddings(pipeline)
    assert max(relative(new, old) for new, old in zip(after, before, strict=True)) > 1e-4


def test_a_transposed_square_weight_of_the_unet_shows(pipeline):
    unet = pipeline.unet
    generator = torch.Generator().manual_seed(1)
    inputs = {
        "sample": torch.randn(1, 4, 8, 4, generator=generator),
        "timestep": torch.tensor(501.0),
        "encoder_hidden_states": 0.03 * torch.randn(1, 77, 160, generator=generator),
        "added_cond_kwargs": {"text_embeds": torch.randn(1, 96, generator=generator), "time_ids": torch.ones(1, 6)},
    }
    names = [
        name
        for name, module in unet.named_modules()
        if isinstance(module, torch.nn.Linear) and module.in_features == module.out_features
    ]
    with torch.no_grad():
        before = unet(**inputs).sample
        for name in names[:: len(names) // 12]:
            module = unet.get_submodule(name)
            _transpose(module)
            assert relative(unet(**inputs).sample, before) > 1e-4, name
            _transpose(module)
