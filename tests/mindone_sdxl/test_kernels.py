"""The quick spellings move and add the same numbers as the plain ones."""

from __future__ import annotations

import numpy as np
import pytest

from support import widened

pytestmark = pytest.mark.mindspore
TYPES = ["float64", "float32", "float16"]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (3, 5, 7), (1, 5, 2, 2)])
def test_adding_to_channels_and_rows(shape, kind, mindspore):
    from mindone_sdxl.kernels import add_channels, add_rows

    rng = np.random.default_rng(0)
    x, one, each = (widened(rng, *size).astype(kind) for size in (shape, (5,), (shape[0], 5)))
    ones = (1,) * (len(shape) - 2)
    tensor = mindspore.Tensor(x)
    assert np.array_equal(add_channels(tensor, mindspore.Tensor(one)).asnumpy(), x + one.reshape(1, 5, *ones))
    assert np.array_equal(add_channels(tensor, mindspore.Tensor(each)).asnumpy(), x + each.reshape(*each.shape, *ones))
    rows, last = x.reshape(-1, shape[-1]), widened(rng, shape[-1]).astype(kind)
    assert np.array_equal(add_rows(mindspore.Tensor(rows), mindspore.Tensor(last)).asnumpy(), rows + last)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("heads", [1, 3])
def test_heads_are_split_and_joined(heads, kind, mindspore):
    from mindone_sdxl.kernels import join_heads, split_heads

    x = widened(np.random.default_rng(1), 2, 7, 12).astype(kind)
    split = split_heads(mindspore.Tensor(x), heads)
    assert np.array_equal(split.asnumpy(), x.reshape(2, 7, heads, 12 // heads).swapaxes(1, 2))
    assert np.array_equal(join_heads(split).asnumpy(), x)


@pytest.mark.parametrize("kind", TYPES)
def test_halves_of_the_last_axis(kind, mindspore):
    from mindone_sdxl.kernels import halves

    x = widened(np.random.default_rng(2), 3, 5, 8).astype(kind)
    first, second = halves(mindspore.Tensor(x))
    assert np.array_equal(first.asnumpy(), x[..., :4])
    assert np.array_equal(second.asnumpy(), x[..., 4:])


def test_one_component_is_loaded_by_itself_and_strictly(folder, pipelines, mindspore):
    from mindone_sdxl import files
    from mindone_sdxl.errors import WeightsError
    from mindone_sdxl.model import SDXLModel
    from mindone_sdxl.weights import diffusers_to_mindspore, load

    config = pipelines["float32"].config
    whole = files.read_diffusers(folder)
    own = {name: value for name, value in whole.items() if name.startswith("unet.")}
    state = diffusers_to_mindspore(own, config, components=("unet",))
    model = SDXLModel(config, dtype=mindspore.float32)
    load(model, state, config, components=("unet",))
    assert not any(parameter.has_init for parameter in model.unet.get_parameters())
    assert all(parameter.has_init for parameter in model.vae.get_parameters())
    with pytest.raises(WeightsError, match=r"unexpected vae\."):
        diffusers_to_mindspore(whole, config, components=("unet",))
    with pytest.raises(WeightsError, match=r"missing model\.diffusion_model\.out\.0\.gamma"):
        load(model, {name: value for name, value in state.items() if not name.endswith("out.0.gamma")}, config,
             components=("unet",))  # fmt: skip
    with pytest.raises(WeightsError, match=r"missing first_stage_model"):
        load(model, state, config)


def test_loading_a_file_makes_no_copy_of_it(folder, mindspore):
    """The model's memory is the mapped file's; writing to it does not change the file."""
    from mindone_sdxl import files

    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    before = path.read_bytes()
    value = files.read(path)["decoder.conv_in.weight"]
    tensor = mindspore.Tensor.from_numpy(value)
    value[...] = 3.0
    assert (tensor.asnumpy() == 3.0).all()
    assert path.read_bytes() == before
