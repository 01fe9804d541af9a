"""The networks against diffusers in float64, and their working types against that."""

from __future__ import annotations

import numpy as np
import pytest

from support import distance, widened

pytestmark = [pytest.mark.torch, pytest.mark.mindspore]
LIMITS = {
    "float64": {"unet": 1e-13, "text": 1e-14, "vae": 1e-13},
    "float32": {"unet": 3e-6, "text": 2e-6, "vae": 3e-6},
    "float16": {"unet": 1e-2, "text": 1e-2, "vae": 3e-6},
}
TYPES = list(LIMITS)


@pytest.fixture(scope="module")
def unet_case(reference):
    import torch

    rng = np.random.default_rng(0)
    latents, context, pooled = widened(rng, 2, 4, 12, 8), widened(rng, 2, 77, 160), widened(rng, 2, 96)
    ids = np.array([[131, 104, 3, 5, 96, 80], [1031, 1999, 7, 0, 1024, 512]], dtype=np.float64)
    tensors = [torch.from_numpy(value) for value in (latents, context, pooled, ids)]
    with torch.no_grad():
        output = reference.unet(
            tensors[0],
            torch.tensor(667.0, dtype=torch.float64),
            encoder_hidden_states=tensors[1],
            added_cond_kwargs={"text_embeds": tensors[2], "time_ids": tensors[3]},
        ).sample
    return latents, context, pooled, ids, output.numpy()


@pytest.mark.parametrize("dtype", TYPES)
def test_the_unet_agrees_with_diffusers(dtype, unet_case, pipelines, mindspore):
    latents, context, pooled, ids, expected = unet_case
    pipeline = pipelines[dtype]
    kind = getattr(mindspore, dtype)
    context, pooled, latents = (mindspore.Tensor(value).astype(kind) for value in (context, pooled, latents))
    vector = pipeline.vector(pooled, ids)
    output = pipeline.model.unet(latents, mindspore.Tensor(np.full(2, 667.0)), context, vector)
    assert output.dtype == kind
    assert distance(output, expected) <= LIMITS[dtype]["unet"]


@pytest.mark.parametrize("dtype", TYPES)
def test_the_text_encoders_agree_with_transformers(dtype, reference, pipelines):
    import torch

    pipeline = pipelines[dtype]
    ids, ids_2 = pipeline.tokenize(["a cat", "the " * 100])
    with torch.no_grad():
        first = reference.text_encoder(torch.from_numpy(ids).long(), output_hidden_states=True)
        second = reference.text_encoder_2(torch.from_numpy(ids_2).long(), output_hidden_states=True)
    embeddings = pipeline.encode_ids(ids, ids_2)
    context = torch.cat((first.hidden_states[-2], second.hidden_states[-2]), -1).numpy()
    assert distance(embeddings.context, context) <= LIMITS[dtype]["text"]
    assert distance(embeddings.pooled, second.text_embeds.numpy()) <= LIMITS[dtype]["text"]


@pytest.mark.parametrize("dtype", TYPES)
def test_the_autoencoder_agrees_with_diffusers_both_ways(dtype, reference, pipelines, mindspore):
    import torch

    rng = np.random.default_rng(1)
    latents, image = widened(rng, 2, 4, 6, 4), widened(rng, 1, 3, 40, 24)
    with torch.no_grad():
        decoded = reference.vae.decode(torch.from_numpy(latents) / 0.13025).sample.numpy()
        posterior = reference.vae.encode(torch.from_numpy(image)).latent_dist
    pipeline = pipelines[dtype]
    kind = mindspore.float64 if dtype == "float64" else mindspore.float32
    assert distance(pipeline.decode(mindspore.Tensor(latents, kind)), decoded) <= LIMITS[dtype]["vae"]
    encoded = pipeline.encode(mindspore.Tensor(image, kind))
    assert distance(encoded.mean, posterior.mean.numpy()) <= LIMITS[dtype]["vae"]
    noise = widened(rng, *encoded.mean.shape)
    expected = posterior.mean.numpy() + np.exp(0.5 * posterior.logvar.numpy()) * noise
    assert distance(encoded.sample(mindspore.Tensor(noise, kind)), expected) <= LIMITS[dtype]["vae"]


def test_pixels_are_rounded_and_not_truncated(pipelines, mindspore):
    levels = np.array([-2.0, -1.0, 0.0, 0.999, 1.0, 3.0]) / 1.0
    image = np.tile(levels.reshape(1, 1, 1, -1), (1, 3, 2, 1))
    pixels = pipelines["float64"].postprocess(mindspore.Tensor(image))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (1, 2, 6, 3)
    assert pixels[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255, 255]


@pytest.mark.parametrize("kernel", [(3, 1, 1), (3, 2, 1), (3, 2, 0), (1, 1, 0)])
def test_the_convolution_by_matmul_equals_torch_for_every_stride_and_padding(kernel, mindspore):
    import torch

    from mindone_sdxl.layers import Conv2d

    size, stride, padding = kernel
    rng = np.random.default_rng(2)
    x, weight, bias = widened(rng, 3, 5, 9, 7), widened(rng, 4, 5, size, size), widened(rng, 4)
    cell = Conv2d(5, 4, size, stride=stride, padding=padding, dtype=mindspore.float64)
    cell.weight.set_data(mindspore.Tensor(weight))
    cell.bias.set_data(mindspore.Tensor(bias))
    tensors = (torch.from_numpy(value) for value in (x, weight, bias))
    expected = torch.nn.functional.conv2d(*tensors, stride=stride, padding=padding).numpy()
    assert distance(cell(mindspore.Tensor(x)), expected) <= 1e-15


@pytest.mark.parametrize("kernel", [(3, 1, 1), (3, 2, 1), (3, 2, 0)])
def test_the_float32_convolution_is_the_same_by_matmul_and_by_its_kernel(kernel, mindspore, monkeypatch):
    from mindone_sdxl import layers

    size, stride, padding = kernel
    rng = np.random.default_rng(4)
    cell = layers.Conv2d(5, 4, size, stride=stride, padding=padding, dtype=mindspore.float32)
    for parameter in cell.get_parameters():
        parameter.set_data(mindspore.Tensor(widened(rng, *parameter.shape), mindspore.float32))
    x = mindspore.Tensor(widened(rng, 2, 5, 9, 7), mindspore.float32)
    monkeypatch.setattr(layers, "convolution_is_slow", lambda: False)
    by_kernel = cell(x).asnumpy()
    monkeypatch.setattr(layers, "convolution_is_slow", lambda: True)
    assert distance(cell(x), by_kernel) <= 1e-6


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_both_forms_of_gelu_equal_torch_in_float64(approximate, mindspore):
    import torch

    from mindone_sdxl.layers import GELU

    x = np.linspace(-6, 6, 1001)
    expected = torch.nn.functional.gelu(torch.from_numpy(x), approximate=approximate).numpy()
    assert distance(GELU(approximate)(mindspore.Tensor(x)), expected) <= 1e-15


def test_attention_in_pieces_equals_attention_at_once(mindspore, monkeypatch):
    from mindone_sdxl import attention

    rng = np.random.default_rng(3)
    query, key, value = (mindspore.Tensor(widened(rng, 2, count, 12)) for count in (10, 7, 7))
    mask, scale = mindspore.Tensor(widened(rng, 1, 1, 10, 7)), mindspore.Tensor(np.array(0.5))
    whole = attention.attend(query, key, value, 3, scale, mask).asnumpy()
    monkeypatch.setattr(attention, "_SCORES", 2 * 3 * 7 * 4)
    assert distance(attention.attend(query, key, value, 3, scale, mask), whole) <= 1e-15


@pytest.mark.parametrize(("dtype", "limit"), [("float32", 1.5e-7), ("float64", 3e-13)])
def test_sinusoids_of_whole_numbers_are_exact_to_a_rounding(dtype, limit, mindspore):
    from mindone_sdxl.layers import Sinusoid

    timesteps = np.arange(4097)
    angles = timesteps[:, None] * np.exp(-np.log(10000.0) * np.arange(160) / 160)
    output = Sinusoid(320, dtype=getattr(mindspore, dtype))(mindspore.Tensor(timesteps.astype(dtype))).asnumpy()
    assert np.abs(output - np.concatenate([np.cos(angles), np.sin(angles)], axis=1)).max() < limit
