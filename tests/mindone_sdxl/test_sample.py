"""The command line: images, noise from files, image to image, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs the extra [mindspore]")

from PIL import Image

from mindone_sdxl.errors import InputError
from support import distance, widened

pytestmark = [pytest.mark.torch, pytest.mark.mindspore]
SIZE = ["--height", "64", "--width", "32"]


@pytest.fixture
def sample(folder, tmp_path, capsys, mindspore):
    from mindone_sdxl import sample as module

    def call(*arguments):
        base = ["--config", folder, "--device_target", "CPU", "--ms_amp_level", "O0", "--save_path", tmp_path / "out"]
        status = module.main([str(value) for value in [*base, *arguments]])
        return status, capsys.readouterr()

    return call


def pixels(captured):
    return np.asarray(Image.open(captured.out.strip()))


def test_images_are_numbered_and_stand_side_by_side(sample, tmp_path):
    status, captured = sample(*SIZE, "--prompt", "cat", "--sample_step", 2, "--num_cols", 2)
    assert status == 0
    assert captured.out.strip() == str(tmp_path / "out" / "txt2img" / "SDXL-base-1.0" / "000000000.png")
    both = pixels(captured)
    assert both.shape == (64, 64, 3)
    assert (both[:, :32] != both[:, 32:]).any()
    (tmp_path / "prompts.txt").write_text("cat\n\nthe astronaut\n")
    _, captured = sample(*SIZE, "--prompt", tmp_path / "prompts.txt", "--sample_step", 2)
    names = [line.rpartition("/")[2] for line in captured.out.split()]
    assert names == ["000000001.png", "000000002.png"]
    first = np.asarray(Image.open(tmp_path / "out" / "txt2img" / "SDXL-base-1.0" / "000000001.png"))
    assert np.array_equal(first, both[:, :32])


def test_noise_from_files_is_used_and_equals_that_of_the_seed(sample, tmp_path):
    generator = np.random.RandomState(42)
    latents, noises = generator.randn(1, 4, 8, 4), generator.randn(3, 1, 4, 8, 4)
    np.save(tmp_path / "latent.npy", latents)
    np.save(tmp_path / "noises.npy", noises[:, 0])
    options = [*SIZE, "--prompt", "cat", "--sample_step", 3, "--sampler", "EulerAncestralSampler"]
    files = ["--init_latent_path", tmp_path / "latent.npy", "--init_noise_scheduler_path", tmp_path / "noises.npy"]
    images = [pixels(sample(*options, *more)[1]) for more in ([], files, [*files, "--negative_prompt", "blurry"])]
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])
    np.save(tmp_path / "noises.npy", noises[:, 0] + np.array([0, 1, 0]).reshape(3, 1, 1, 1))
    assert not np.array_equal(images[0], pixels(sample(*options, *files)[1]))


def test_an_image_to_start_from_shapes_the_result(sample, tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (70, 130, 3), dtype=np.uint8)).save(tmp_path / "in.png")
    options = ["--task", "img2img", "--img", tmp_path / "in.png", "--prompt", "cat", "--sample_step", 4]
    weak, strong = (pixels(sample(*options, "--strength", value)[1]) for value in (0.4, 1.0))
    assert weak.shape == (64, 128, 3)
    assert not np.array_equal(weak, strong)
    status, captured = sample(*options, "--strength", 0.1)
    assert status == 2
    assert "keeps none of 4 steps" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stage2strength", "0.3"], "--stage2strength has no effect; it needs --add_pipeline True"),
        (["--refiner_latent_path", "x.npy"], "--refiner_latent_path has no effect; it needs --finish_denoising False"),
        (["--aesthetic_score", "7"], "--aesthetic_score has no effect; it needs the refiner's --config"),
        (["--s_noise", "1.1"], "--s_noise has no effect; it needs --s_churn above 0"),
        (["--s_churn", "3", "--sampler", "DPMPP2MSampler"], "--s_churn has no effect"),
        (["--posterior_latent_path", "x.npy"], "--posterior_latent_path has no effect; it needs --task img2img"),
        (
            ["--eta", "0.5"],
            "--eta has no effect; it needs --sampler EulerAncestralSampler or DPMPP2SAncestralSampler or DDIM",
        ),
        (["--sampler", "DDIMSampler", "--s_noise", "1.1"], "--s_noise has no effect; it needs --sampler EulerEDM"),
        (
            ["--use_karras_sigmas", "True"],
            "--use_karras_sigmas has no effect; it needs --sampler EulerDiscreteSampler or",
        ),
        (["--sampler", "DDIMSampler", "--init_noise_scheduler_path", "x.npy"], "needs a sampler that adds noise"),
        (["--ms_jit", "False"], "--ms_jit has no effect; it needs --ms_mode 0"),
        (["--thresholding", "True"], "--thresholding is not implemented"),
        (["--strength", "0.5"], "--strength has no effect; it needs --task img2img"),
        (["--rho", "5"], "--rho has no effect; it needs --discretization EDMDiscretization"),
        (["--init_noise_scheduler_path", "x.npy"], "needs a sampler that adds noise"),
        (["--guider", "IdentityGuider", "--guidance_scale", "3"], "--guidance_scale has no effect"),
        (["--sample_step", "0"], "--sample_step is 0, expected 1 to 1000"),
        (["--guidance_scale", "nan"], "--guidance_scale is nan, expected 0 to 100"),
        (["--seed", "-1"], "--seed is -1, expected 0 to 4294967286"),
        (["--height", "0", "--width", "64"], "--height is 0, expected 1 to 65536"),
        (["--discretization", "EDMDiscretization", "--sigma_min", "90"], "--sigma_min is 90.0, expected less than"),
        (["--height", "64"], "--height and --width go together"),
        (["--height", "60", "--width", "64"], "divisible by 8"),
        (["--height", "72", "--width", "64"], "divisible by 4"),
        (["--task", "img2img"], "needs --img"),
        (["--sd_xl_base_ratios", "9.9"], "known: 1.0_512"),
        (["--init_latent_path", "absent.npy"], "absent.npy is not a readable"),
        (["--config", "absent.yaml"], "absent.yaml is not readable YAML"),
        (["--weight", "absent.ckpt"], "absent.ckpt does not exist"),
    ],
)
def test_flags_without_effect_and_unusable_values_are_refused(arguments, message, sample):
    size = [] if {"--height", "--sd_xl_base_ratios"} & set(arguments) or "img2img" in arguments else SIZE
    status, captured = sample(*size, *arguments)
    assert status == 2
    assert message in captured.err


def test_options_of_the_sampler_come_from_the_flags_and_else_from_the_configuration(mindspore):
    from types import SimpleNamespace

    from mindone_sdxl.flags import parse
    from mindone_sdxl.sample import _options
    from mindone_sdxl.samplers import SAMPLERS

    found = SimpleNamespace(
        sampler="sgm.modules.diffusionmodules.sampling.EulerAncestralSampler",
        sampler_options={"num_steps": 50, "eta": 0.5, "s_noise": 1.1},
    )
    row = SAMPLERS["EulerAncestral"]
    flags = ["--sampler", "EulerAncestralSampler"]
    assert _options(parse(flags), row, found) == {"eta": 0.5, "s_noise": 1.1}
    assert _options(parse([*flags, "--eta", "0.7"]), row, found) == {"eta": 0.7, "s_noise": 1.1}
    assert _options(parse(["--sampler", "DDIMSampler"]), SAMPLERS["DDIM"], found) == {}
    churned = _options(parse(["--s_churn", "3"]), SAMPLERS["EulerEDM"], found)
    assert churned == {"s_churn": 3.0, "s_tmin": 0.0, "s_tmax": 999.0, "s_noise": 1.0}


def test_an_unknown_flag_ends_the_program(sample):
    with pytest.raises(SystemExit) as caught:
        sample("--sample_steps", "3")
    assert caught.value.code == 2


def test_flags_have_the_names_and_defaults_of_the_original():
    from mindone_sdxl.flags import FLAGS

    expected = {"sampler": "EulerEDMSampler", "guidance_scale": 5.0, "sample_step": 40, "seed": 42, "strength": 0.75}
    assert {name: FLAGS[name].default for name in expected} == expected
    assert len(FLAGS) == 60 + 14


SHAPE = (4, 8, 12)


LATENTS = [
    (1, (1, 4, 8, 12), True),
    (3, (1, 4, 8, 12), True),
    (3, (3, 4, 8, 12), True),
    (1, (3, 4, 8, 12), False),
    (3, (2, 4, 8, 12), False),
    (1, (4, 8, 12), False),
    (1, (1, 4, 12, 8), False),
]
NOISES = [
    (1, (5, 1, 4, 8, 12), None),
    (1, (5, 4, 8, 12), None),
    (2, (5, 4, 8, 12), None),
    (2, (5, 2, 4, 8, 12), None),
    (1, (4, 1, 4, 8, 12), "4 steps, the sampler takes 5"),
    (1, (6, 4, 8, 12), "6 steps, the sampler takes 5"),
    (1, (5, 2, 4, 8, 12), "expected"),
    (3, (5, 2, 4, 8, 12), "expected"),
    (1, (5, 4, 8, 8), "expected"),
]


@pytest.mark.parametrize(("images", "shape", "accepted"), LATENTS)
def test_only_latents_of_the_right_shape_are_read(images, shape, accepted, tmp_path):
    from mindone_sdxl.injection import load_latents

    array = widened(np.random.default_rng(1), *shape)
    np.save(tmp_path / "x.npy", array)
    if not accepted:
        with pytest.raises(InputError, match="expected"):
            load_latents(tmp_path / "x.npy", images, SHAPE)
        return
    found = load_latents(tmp_path / "x.npy", images, SHAPE)
    assert len(found) == images
    assert all(np.array_equal(value[0], array[index % len(array)]) for index, value in enumerate(found))


@pytest.mark.parametrize(("images", "shape", "message"), NOISES)
def test_only_noise_of_the_right_shape_is_read(images, shape, message, tmp_path):
    from mindone_sdxl.injection import load_noises

    array = widened(np.random.default_rng(2), *shape)
    np.save(tmp_path / "x.npy", array)
    if message is not None:
        with pytest.raises(InputError, match=message):
            load_noises(tmp_path / "x.npy", 5, images, SHAPE)
        return
    found = load_noises(tmp_path / "x.npy", 5, images, SHAPE)
    assert [value.shape for value in found] == [(5, 1, *SHAPE)] * images
    whole = array if array.ndim == 5 else array[:, None]
    assert all(np.array_equal(value[:, 0], whole[:, index % whole.shape[1]]) for index, value in enumerate(found))


def test_a_series_of_files_serves_several_images(tmp_path):
    from mindone_sdxl.injection import load_latents, load_noises

    rng = np.random.default_rng(3)
    arrays, noises = widened(rng, 2, 1, *SHAPE), widened(rng, 2, 5, 1, *SHAPE)
    for index in range(2):
        np.save(tmp_path / f"latent_{index:04}.npy", arrays[index])
        np.save(tmp_path / f"noise_{index:04}.npy", noises[index])
    assert np.array_equal(load_latents(tmp_path / "latent.npy", 2, SHAPE), arrays)
    assert np.array_equal(load_noises(tmp_path / "noise.npy", 5, 2, SHAPE), noises)
    with pytest.raises(InputError, match="latent_0002"):
        load_latents(tmp_path / "latent.npy", 3, SHAPE)


def test_long_prompts_are_encoded_in_pieces(pipelines):
    pipeline = pipelines["float64"]
    words = [f"cat {number}" for number in range(60)]
    long, short = " ".join(words), "the astronaut"
    first, second = pipeline.tokenizers
    count = -(-len(first.encode(long)) // 75)
    assert count >= 2
    negative, positive = pipeline.encode_prompts([long, short], None, long=True)
    assert positive.context.shape == (2, 77 * count, 160)
    assert not negative.context.asnumpy().any()
    ids = [first.encode(long)[75:150], second.encode(long)[75:150]]
    piece = pipeline.encode_ids(
        *([tokenizer.frame(value)] for tokenizer, value in zip((first, second), ids, strict=True))
    )
    assert distance(positive.context[:1, 77:154], piece.context) <= 1e-14
    last = [tokenizer.frame(tokenizer.encode(long)[75 * (count - 1) :]) for tokenizer in (first, second)]
    assert distance(positive.pooled[:1], pipeline.encode_ids(*([value] for value in last)).pooled) <= 1e-14
    _, plain = pipeline.encode_prompts([short])
    assert distance(positive.context[1:, :77], plain.context) <= 1e-14
    assert distance(positive.pooled[1:], plain.pooled) <= 1e-14


def test_the_bar_counts_the_steps_of_all_images(sample):
    status, captured = sample(*SIZE, "--prompt", "cat", "--sample_step", 2, "--num_cols", 2)
    assert status == 0
    lines = captured.err.split("\r")
    assert [line.partition("] ")[2].partition(",")[0] for line in lines[1:]] == [
        f"{done}/4 steps" for done in range(1, 5)
    ]
    assert captured.err.endswith("\n")
