"""The alignment of the original, derived without it."""

import re

import pytest

pytest.importorskip("yaml", reason="needs the extra [mindspore]")

from mindone_sdxl.candidate.rows import FUNCTIONS, SIZES
from mindone_sdxl.candidate.rows import rows as port_rows
from mindone_sdxl.config import SDXLConfig
from mindone_sdxl.names import module_table, parameter_table
from ms_candidates.gm.rows import NUMBERED, POOLED, levels, not_compared, rows
from parity.align import NAMED_TRANSFORMS, REASONS, Alignment

CONFIG = SDXLConfig()
HIDDEN = re.compile(
    r"text_encoder_2\.text_model\.(encoder\.layers\.\d+\.self_attn\.[qkv]_proj|embeddings\.position_embedding)"
)


@pytest.fixture(scope="module")
def table():
    return rows(CONFIG)


def test_the_rows_cover_what_the_port_s_rows_cover_but_for_what_no_cell_computes(table):
    ours, theirs = {row.path for row in table}, {row.path for row in port_rows(CONFIG)}
    assert {path for path in theirs - ours if not HIDDEN.fullmatch(path)} == set()
    assert ours <= theirs


def test_every_owner_of_a_parameter_has_a_row_or_a_reason(table):
    paths = {row.path for row in table}
    reasons = not_compared(CONFIG)
    owners = {entry.diffusers.rpartition(".")[0] for entry in parameter_table(CONFIG)}
    assert owners <= paths | set(reasons)
    assert {reasons[path] for path in owners - paths} == {"no counterpart"}
    assert set(reasons.values()) <= set(REASONS)


def test_no_output_has_two_rows(table):
    seen = [(row.path, row.port, row.call) for row in table]
    assert len(seen) == len(set(seen))


def test_the_table_is_accepted_as_an_alignment(table):
    known = {entry.diffusers for entry in module_table(CONFIG)} | {row.path for row in table}
    alignment = Alignment(table, not_compared(CONFIG), known)
    assert {row.native for row in table if row.function} == {*FUNCTIONS, POOLED} - {"scheduler.scale_model_input"}
    assert POOLED not in alignment.natives


def test_an_activation_of_the_vae_is_read_where_its_convolution_takes_it(table):
    found = {row.call: row for row in table if row.path == "vae.encoder.down_blocks.0.resnets.0.nonlinearity"}
    assert {call: (row.native, row.take) for call, row in found.items()} == {
        0: ("first_stage_model.encoder.down.0.block.0.conv1", "input.0"),
        1: ("first_stage_model.encoder.down.0.block.0.conv2", "input.0"),
    }


def test_layers_that_are_sequence_first_are_turned_back(table):
    turned = {row.path for row in table if row.output == "sequence-first"}
    assert "text_encoder_2.text_model.encoder.layers.0.mlp.fc1" in turned
    assert "text_encoder.encoder.layers.0.mlp.fc1" not in turned
    assert {row.output.partition(":")[0] for row in table if row.output} <= {
        name.partition(":")[0] for name in NAMED_TRANSFORMS
    }


def test_a_level_of_the_vae_ends_with_its_resampling_where_it_has_one():
    cells = levels(CONFIG.vae)
    assert cells["vae.encoder.down_blocks.0"][-1] == "first_stage_model.encoder.down.0.downsample"
    assert cells["vae.encoder.down_blocks.3"][-1] == "first_stage_model.encoder.down.3.block.1"
    assert cells["vae.decoder.up_blocks.0"][0] == "first_stage_model.decoder.up.3.block.0"
    assert cells["vae.decoder.up_blocks.3"][-1] == "first_stage_model.decoder.up.0.block.2"


def test_a_reference_built_as_stability_s_package_gets_its_own_blocks_and_sinusoids(table):
    known = {NUMBERED, "unet", "unet.output_blocks.8", SIZES, "unet.down_blocks.0.resnets.0"}
    found = {(row.path, row.call): row.native for row in rows(CONFIG, known=known) if not row.function}
    assert {path for path, _ in found} == known | {"scheduler.scale_model_input"}
    assert found[NUMBERED, None] == "model.diffusion_model.input_blocks.0"
    assert [found[SIZES, call] for call in range(6)] == [
        f"conditioner.embedders.{2 + call % 3}.timestep" for call in range(6)
    ]
    reasons = not_compared(CONFIG, known)
    assert reasons["unet.conv_in"] == "never called"
    assert "unet.down_blocks.0.resnets.0" not in reasons


def test_without_guidance_there_is_no_row_for_it():
    assert not [row for row in rows(CONFIG, guided=False) if row.path == "guidance"]
