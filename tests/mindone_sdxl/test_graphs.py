"""Networks that run as graphs: the same numbers as operator by operator, compared at the boundaries of stages."""

from __future__ import annotations

import numpy as np
import pytest

from support import NEGATIVE, PROMPTS, distance, widened

pytestmark = [pytest.mark.torch, pytest.mark.mindspore]


@pytest.fixture(scope="module")
def least(tmp_path_factory):
    """The smallest model of all kinds of blocks: compiling takes as long as there are cells."""
    from torch_refs.tiny import LEAST, build

    path = tmp_path_factory.mktemp("least")
    build(path, LEAST)
    return path


def test_a_whole_run_by_graphs_gives_the_numbers_of_a_run_without(least, mindspore):
    from mindone_sdxl.graphs import compile_networks
    from mindone_sdxl.guidance import VanillaCFG
    from mindone_sdxl.pipeline import StableDiffusionXL
    from mindone_sdxl.samplers import EulerAncestral

    plain, compiled = (StableDiffusionXL.from_diffusers(least, mindspore.float64) for _ in range(2))
    compile_networks(compiled.model)

    rng = np.random.default_rng(0)
    noise, noises = widened(rng, 2, 4, 8, 12), widened(rng, 2, 2, 4, 8, 12)
    image = mindspore.Tensor(widened(rng, 2, 3, 64, 96))
    found = []
    for pipeline in (plain, compiled):
        conditioning = pipeline.condition(PROMPTS, NEGATIVE, height=64, width=96)
        sampler = EulerAncestral(pipeline.schedule(2))
        latents = pipeline.sample(sampler, noise, conditioning, guider=VanillaCFG(5.0), noises=noises)
        found.append(
            [conditioning.context, conditioning.vector, latents, pipeline.decode(latents), pipeline.encode(image).mean]
        )
    assert all(distance(graph, eager) <= 2e-15 for eager, graph in zip(*found, strict=True))


@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_a_number_that_was_changed_is_exact_in_a_graph(eps, mindspore):
    """A number in a graph is float32: 1e-5 would be wrong by 3e-9 of itself."""
    from mindone_sdxl.layers import LayerNorm

    cell = LayerNorm(6, eps=1.0, dtype=mindspore.float64)
    cell.gamma.set_data(mindspore.Tensor(np.ones(6)))
    cell.beta.set_data(mindspore.Tensor(np.zeros(6)))
    cell.eps = eps
    x = widened(np.random.default_rng(2), 3, 6) * 1e-3
    centred = x - x.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    assert cell.eps == eps
    assert distance(mindspore.jit(cell.construct)(mindspore.Tensor(x)), expected) <= 1e-15


def test_a_text_ends_at_its_first_end_token_or_is_read_at_its_start(mindspore):
    from mindone_sdxl.text_encoders import end_positions

    ids = mindspore.Tensor(np.array([[7, 3, 9, 9, 0], [9, 1, 2, 3, 9], [1, 2, 3, 4, 5]], np.int32))
    assert end_positions(ids, 9).asnumpy().tolist() == [2, 0, 0]
    assert end_positions(ids, 2).asnumpy().tolist() == [2, 0, 4]


def test_what_is_inside_a_graph_is_listed_with_its_reason():
    from mindone_sdxl.candidate.rows import boundaries, rows
    from mindone_sdxl.config import SDXLConfig

    seen, hidden = boundaries(SDXLConfig())
    assert {row.path for row in seen if not row.function} == {"unet"}
    assert set(hidden.values()) == {"no counterpart", "identity"}
    assert {row.path for row in rows(SDXLConfig())} <= {row.path for row in seen} | set(hidden)
