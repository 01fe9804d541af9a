"""The name table against the modules and cells that exist, and weights through it."""

from __future__ import annotations

import re

import numpy as np
import pytest

COMPONENTS = ("unet", "vae", "text_encoder", "text_encoder_2")


@pytest.fixture(scope="module")
def entries(folder):
    from mindone_sdxl.config import from_diffusers
    from mindone_sdxl.names import module_table

    return module_table(from_diffusers(folder))


@pytest.mark.torch
def test_every_module_that_owns_a_parameter_or_computes_has_a_row(reference, entries):
    rows = {entry.diffusers for entry in entries}
    modules = {
        f"{component}.{path}" if path else component: module
        for component in COMPONENTS
        for path, module in getattr(reference, component).named_modules()
    }
    assert rows <= modules.keys()
    missing = {re.sub(r"\d+", "N", path) for path in modules.keys() - rows}
    containers = r"(layers|blocks|resnets|attentions|(down|up)samplers|to_out|net)"
    assert {path for path in missing if not re.search(containers + "$", path)} == {
        "vae",
        "text_encoder.encoder",
        "text_encoder_N.text_model",
        "text_encoder_N.text_model.embeddings",
        "text_encoder_N.text_model.encoder",
    }


@pytest.mark.mindspore
def test_every_cell_without_children_has_a_row(pipelines, entries):
    from mindone_sdxl.layers import Identity

    cells = dict(pipelines["float64"].model.cells_and_names())
    rows = {entry.native for entry in entries}
    assert rows <= cells.keys()
    leaves = {path for path, cell in cells.items() if not list(cell.cells()) and not isinstance(cell, Identity)}
    assert leaves <= rows


@pytest.mark.torch
def test_a_round_trip_of_the_weights_is_bit_identical(folder):
    from mindone_sdxl import config, files, weights

    state, model = files.read_diffusers(folder), config.from_diffusers(folder)
    there = weights.diffusers_to_mindspore(state, model)
    back = weights.mindspore_to_diffusers(there, model)
    assert back.keys() == state.keys()
    assert all(
        value.dtype == state[name].dtype and value.tobytes() == state[name].tobytes() for name, value in back.items()
    )


@pytest.mark.torch
def test_the_projection_is_transposed_and_the_attention_fused(folder):
    from mindone_sdxl import config, files, weights

    state, model = files.read_diffusers(folder), config.from_diffusers(folder)
    there = weights.diffusers_to_mindspore(state, model)
    projection = there["conditioner.embedders.1.model.text_projection"]
    assert np.array_equal(projection, state["text_encoder_2.text_projection.weight"].T)
    fused = there["conditioner.embedders.1.model.transformer.resblocks.1.attn.in_proj_weight"]
    key = state["text_encoder_2.text_model.encoder.layers.1.self_attn.k_proj.weight"]
    assert np.array_equal(fused[96:192], key)
    assert there["first_stage_model.encoder.mid.attn_1.proj_out.weight"].shape == (128, 128, 1, 1)
    assert there["conditioner.embedders.1.model.positional_embedding"].shape == (77, 96)
    assert "model.diffusion_model.input_blocks.3.1.transformer_blocks.0.norm1.gamma" in there


@pytest.mark.torch
def test_names_of_older_files_are_accepted(folder):
    from mindone_sdxl import config, files, weights

    state, model = files.read_diffusers(folder), config.from_diffusers(folder)

    def older(name):
        name = name.replace("text_encoder.", "text_encoder.text_model.")
        if name.startswith("vae") and ".attentions." in name:
            for new, old in ((".to_q.", ".query."), (".to_out.0.", ".proj_attn.")):
                name = name.replace(new, old)
        return name.replace("text_encoder_2.text_model.", "text_encoder_2.")

    old = {older(name): value for name, value in state.items()}
    old["text_encoder.text_model.embeddings.position_ids"] = np.arange(77).reshape(1, -1)
    assert old.keys() != state.keys()
    there, expected = (weights.diffusers_to_mindspore(values, model) for values in (old, state))
    assert there.keys() == expected.keys()


@pytest.mark.torch
@pytest.mark.mindspore
def test_loading_names_everything_that_does_not_fit(folder, mindspore):
    from mindone_sdxl import config, files, weights
    from mindone_sdxl.errors import WeightsError
    from mindone_sdxl.model import SDXLModel

    settings = config.from_diffusers(folder)
    state = weights.diffusers_to_mindspore(files.read_diffusers(folder), settings)
    model = SDXLModel(settings, dtype=mindspore.float32)
    missing, narrow = "model.diffusion_model.out.2.bias", "first_stage_model.quant_conv.weight"
    del state[missing]
    state[narrow] = state[narrow][:4]
    state["extra.weight"] = np.zeros(3)
    state["conditioner.embedders.1.model.logit_scale"] = np.zeros(())
    with pytest.raises(WeightsError) as caught:
        weights.load(model, state, settings)
    message = str(caught.value)
    assert f"missing {missing} (4,)" in message
    assert f"shape of {narrow}: file (4, 8, 1, 1), model (8, 8, 1, 1)" in message
    assert "unexpected extra.weight" in message
    assert "logit_scale" not in message
    assert message.startswith("3 tensors")


@pytest.mark.torch
def test_a_diffusers_state_with_wrong_names_is_refused(folder):
    from mindone_sdxl import config, files, weights
    from mindone_sdxl.errors import WeightsError

    state = files.read_diffusers(folder)
    state["unet.conv_inn.weight"] = state.pop("unet.conv_in.weight")
    with pytest.raises(WeightsError, match=r"(?s)missing unet.conv_in.weight.*unexpected unet.conv_inn.weight"):
        weights.diffusers_to_mindspore(state, config.from_diffusers(folder))
