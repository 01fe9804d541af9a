"""The refiner by itself and after the base, against diffusers' pieces in float64."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs the extra [mindspore]")

from PIL import Image

from mindone_sdxl.config_yaml import from_yaml
from mindone_sdxl.errors import InputError
from support import NEGATIVE, PROMPTS, distance, widened

pytestmark = [pytest.mark.torch, pytest.mark.mindspore]
LOW, HIGH = 2.25, 6.5


@pytest.fixture(scope="module")
def refiner(refiner_folder, mindspore):
    from mindone_sdxl.pipeline import StableDiffusionXL

    return StableDiffusionXL.from_diffusers(refiner_folder, mindspore.float64)


@pytest.fixture(scope="module")
def refiner_reference(refiner_folder, reference):
    import torch
    from diffusers import StableDiffusionXLImg2ImgPipeline

    pipeline = StableDiffusionXLImg2ImgPipeline.from_pretrained(refiner_folder, dtype=torch.float64)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def encoded(pipeline):
    """Embeddings by diffusers of both prompts: positive, negative, pooled positive, pooled negative."""
    return pipeline.encode_prompt(PROMPTS, negative_prompt=NEGATIVE, do_classifier_free_guidance=True)


def test_conditioning_is_that_of_diffusers(refiner, refiner_reference):
    import torch

    sizes = {"original": (131, 104), "crop": (3, 5)}
    conditioning = refiner.condition(PROMPTS, NEGATIVE, height=96, width=80, scores=(LOW, HIGH), **sizes)
    positive, negative, pooled, negative_pooled = encoded(refiner_reference)
    assert distance(conditioning.context, torch.cat([negative, positive]).detach()) <= 1e-12
    ids, negative_ids = refiner_reference._get_add_time_ids(
        (131, 104), (3, 5), (96, 80), HIGH, LOW, (131, 104), (3, 5), (96, 80), torch.float64,
        text_encoder_projection_dim=96,
    )  # fmt: skip
    assert conditioning.vector.shape == (4, 96 + 5 * 32)
    embedding = refiner_reference.unet.add_time_proj
    for half, scores, pool in ((0, negative_ids, negative_pooled), (1, ids, pooled)):
        vector = torch.cat([pool, embedding(scores.repeat(2, 1).flatten()).reshape(2, -1)], -1)
        assert distance(conditioning.vector[2 * half : 2 * half + 2], vector.detach()) <= 1e-12


def test_no_negative_prompt_is_the_encoded_empty_one(refiner):
    negative, _ = refiner.encode_prompts(["cat"])
    empty, _ = refiner.encode_prompts(["cat"], [""])
    assert np.array_equal(negative.context.asnumpy(), empty.context.asnumpy())
    assert negative.context.asnumpy().any()


def test_the_network_is_that_of_diffusers(refiner, refiner_reference, mindspore):
    import torch

    rng = np.random.default_rng(5)
    x, context, pooled = widened(rng, 2, 4, 16, 8), widened(rng, 2, 77, 96), widened(rng, 2, 96)
    ids = np.array([[131.0, 104, 3, 5, LOW], [131, 104, 3, 5, HIGH]])
    added = {"text_embeds": torch.from_numpy(pooled), "time_ids": torch.from_numpy(ids)}
    with torch.no_grad():
        expected = refiner_reference.unet(
            torch.from_numpy(x), 199, torch.from_numpy(context), added_cond_kwargs=added, return_dict=False
        )[0]
    vector = refiner.vector(mindspore.Tensor(pooled), ids)
    timesteps = mindspore.Tensor(np.array([199.0, 199.0]))
    found = refiner.model.unet(mindspore.Tensor(x), timesteps, mindspore.Tensor(context), vector)
    assert distance(found, expected) <= 1e-12


def test_the_refiner_goes_on_where_the_base_stopped(refiner, refiner_reference):
    """Against denoising_start of diffusers, whose scheduler keeps float32: the distance is its rounding."""
    import torch

    from mindone_sdxl.guidance import VanillaCFG
    from mindone_sdxl.samplers import EulerEDM

    strength, steps = 0.5, 8
    whole = refiner.schedule(steps)
    first, last = whole.head(strength), whole.tail(strength)
    assert first.sigmas[-1] == last.sigmas[0]
    assert np.array_equal(np.concatenate((first.sigmas[:-1], last.sigmas)), whole.sigmas)
    latents = widened(np.random.default_rng(6), 1, 4, 16, 8) * float(last.sigmas[0])
    conditioning = refiner.condition(["cat"], ["blurry"], height=128, width=64)
    import mindspore

    found = refiner.denoise(EulerEDM(last), mindspore.Tensor(latents), conditioning, guider=VanillaCFG(4.0))
    expected = refiner_reference(
        "cat", negative_prompt="blurry", image=torch.from_numpy(latents), denoising_start=1 - last.steps / steps,
        num_inference_steps=steps, guidance_scale=4.0, output_type="latent", original_size=(128, 64),
        target_size=(128, 64),
    ).images  # fmt: skip
    assert distance(found, expected) <= 1e-6


@pytest.mark.parametrize("strength", [0.0, 0.1, 1.0])
def test_a_part_without_steps_is_refused(strength, refiner):
    with pytest.raises(
        InputError, match=r"keeps none of 5 steps|of 5 steps are the second model's, which leaves none to the first"
    ):
        refiner.schedule(5).head(strength)


def test_weights_of_every_layout_lead_back(refiner_folder, tmp_path):
    from mindone_sdxl import convert, files

    single, checkpoint, back = (tmp_path / name for name in ("single.safetensors", "ms.safetensors", "back"))
    convert.convert(refiner_folder, single, layout="stability")
    assert "conditioner.embedders.0.model.transformer.resblocks.0.ln_1.weight" in files.read(single)
    convert.convert(single, checkpoint, config=refiner_folder)
    convert.convert(checkpoint, back, config=refiner_folder)
    one, other = files.read_diffusers(back), files.read_diffusers(refiner_folder)
    assert one.keys() == other.keys()
    assert all(np.array_equal(value, other[name]) for name, value in one.items())


def test_the_shipped_configuration_is_the_refiner():
    from pathlib import Path

    found = from_yaml(Path(__file__).parents[2] / "mindone_sdxl" / "configs" / "inference" / "sd_xl_refiner.yaml")
    assert found.model.refiner
    assert found.version == "SDXL-refiner-1.0"
    assert found.model.unet.transformer_layers == (0, 4, 4, 0)
    assert found.model.unet.vector_size == 1280 + 5 * 256
    assert not found.model.force_zeros_for_empty_prompt


@pytest.fixture
def sample(folder, refiner_folder, tmp_path, capsys):
    from mindone_sdxl import sample as module

    def call(*arguments, size=("--height", 64, "--width", 64, "--sample_step", 3)):
        base = ["--config", folder, "--device_target", "CPU", "--ms_amp_level", "O0", "--save_path", tmp_path / "out"]
        status = module.main([str(value) for value in [*base, *size, "--prompt", "cat", *arguments]])
        captured = capsys.readouterr()
        return np.asarray(Image.open(captured.out.strip())) if status == 0 else captured.err

    return call


def test_the_command_line_runs_the_base_and_then_the_refiner(sample, refiner_folder, tmp_path):
    second = ["--add_pipeline", True, "--pipeline_config", refiner_folder, "--stage2strength", 0.5]
    alone, refined = sample(), sample(*second)
    assert not np.array_equal(alone, refined)
    assert not np.array_equal(refined, sample(*second, "--aesthetic_score", 9.0))
    np.save(tmp_path / "noise.npy", np.random.RandomState(7).randn(1, 4, 8, 8))
    finished = [*second, "--finish_denoising", False]
    given = sample(*finished, "--refiner_latent_path", tmp_path / "noise.npy")
    assert not np.array_equal(given, refined)
    assert "keeps none of 3 steps" in sample(*second[:-1], 0.1)


def test_the_refiner_does_the_last_steps_from_an_image_too(sample, refiner_folder, tmp_path):
    """As in the original: `stage2strength` is a part of the whole schedule, and not of what the strength leaves."""
    pixels = np.random.default_rng(8).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    image = ["--task", "img2img", "--img", tmp_path / "in.png", "--strength", 0.75, "--sample_step", 7]
    second = ["--add_pipeline", True, "--pipeline_config", refiner_folder, "--stage2strength", 0.4]
    alone, refined = sample(*image, size=()), sample(*image, *second, size=())
    assert not np.array_equal(alone, refined)
    for name, seed in (("posterior", 2), ("refiner", 3)):
        np.save(tmp_path / f"{name}.npy", np.random.RandomState(seed).randn(1, 4, 8, 8))
    given = sample(*image, *second, "--posterior_latent_path", tmp_path / "posterior.npy", size=())
    assert not np.array_equal(given, refined)
    finished = [*image, *second, "--finish_denoising", False]
    other = sample(*finished, "--refiner_latent_path", tmp_path / "refiner.npy", size=())
    assert not np.array_equal(other, sample(*finished, size=()))
    assert "are the second model's, which leaves none to the first" in sample(*image, *second[:-1], 0.8, size=())


def test_the_steps_of_both_models_are_those_of_the_original(refiner):
    """Its two wrappers keep the lowest and the highest noise levels, the final zero counted."""
    whole = refiner.schedule(40)
    ascending = whole.sigmas[::-1]
    for strength, refined in ((0.75, 0.15), (1.0, 0.3), (0.5, 0.15)):
        kept = ascending[: int(strength * 41)][int(refined * 41) - 1 :]
        tail = whole.tail(refined)
        assert np.array_equal(whole.tail(strength).before(tail).sigmas, kept[::-1])
        assert np.array_equal(tail.sigmas, ascending[: int(refined * 41)][::-1])
