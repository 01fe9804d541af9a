"""From flags and the original's configuration to a recipe."""

from __future__ import annotations

import pytest

pytest.importorskip("PIL", reason="needs the extra [mindspore]")

from mindone_sdxl.errors import ConfigError, InputError, SDXLError
from mindone_sdxl.train.flags import FLAGS, parse
from mindone_sdxl.train.recipe import Clip, Ema, LossScale, Optimizer, Rate
from mindone_sdxl.train.settings import settings_of

_DATA = ["--data_path", "photographs"]
_ORIGINAL = {
    "optim": {
        "base_learning_rate": 1.0e-5,
        "optimizer_config": {
            "target": "mindspore.nn.AdamWeightDecay",
            "params": {"beta1": 0.9, "beta2": 0.98, "weight_decay": 0.01},
        },
        "scheduler_config": {"target": "gm.lr_scheduler.LambdaWarmUpScheduler", "params": {"warm_up_steps": 100}},
    },
    "data": {
        "per_batch_size": 2,
        "total_step": 100000,
        "shuffle": False,
        "dataset_config": {
            "target": "gm.data.dataset.Text2ImageDataset",
            "params": {
                "target_size": 512,
                "prompt_empty_probability": 0.1,
                "transforms": [
                    {"target": "gm.data.mappers.Resize", "params": {"size": 512, "interpolation": 3}},
                    {"target": "gm.data.mappers.Transpose", "params": {"type": "hwc2chw"}},
                ],
            },
        },
    },
    "loss_fn_config": {"target": "loss.StandardDiffusionLoss", "params": {"type": "l1", "offset_noise_level": 0.05}},
}


def _settings(*arguments: str, training=None):
    return settings_of(parse([*_DATA, *arguments]), _ORIGINAL if training is None else training)


def test_the_originals_configuration_is_taken_as_it_stands():
    settings = _settings()
    recipe = settings.recipe
    assert recipe.optimizer == Optimizer.named("AdamWeightDecay", beta2=0.98, weight_decay=0.01)
    assert recipe.rate == Rate(base=1e-5, warmup=100)
    assert (recipe.batch_size, recipe.total_steps, recipe.loss, recipe.offset_noise) == (2, 100000, "l1", 0.05)
    assert (settings.framing.size, settings.framing.interpolation, settings.shuffle, settings.drop) == (
        512,
        "bicubic",
        False,
        0.1,
    )
    assert (recipe.narrow, recipe.weights, recipe.loss_scale) == (
        True,
        "float32",
        LossScale(value=1024.0, update_anyway=True),
    )


def test_flags_count_more_than_the_configuration():
    settings = _settings(
        *[
            "--per_batch_size",
            "3",
            "--total_step",
            "7",
            "--learning_rate",
            "2e-4",
            "--lr_scheduler",
            "cosine",
            "--lr_warmup_steps",
            "2",
        ],
        *[
            "--adam_beta2",
            "0.9",
            "--loss_type",
            "l2",
            "--resolution",
            "256",
            "--interpolation",
            "bilinear",
            "--shuffle",
            "True",
        ],
    )
    recipe = settings.recipe
    assert recipe.rate == Rate(base=2e-4, shape="cosine", warmup=2, total=7)
    assert (recipe.batch_size, recipe.loss, recipe.optimizer.beta2, recipe.optimizer.eps) == (3, "l2", 0.9, 1e-6)
    assert (settings.framing.size, settings.framing.interpolation, settings.shuffle) == (256, "bilinear", True)


def test_another_optimizer_than_the_configurations_has_its_own_defaults():
    assert _settings("--optimizer", "AdamW").recipe.optimizer == Optimizer()


def test_without_a_configuration_the_recipe_is_that_of_torch():
    recipe = _settings("--total_step", "5", "--ms_amp_level", "O0", training={}).recipe
    assert (recipe.optimizer, recipe.rate.base, recipe.clip, recipe.ema) == (Optimizer(), 1e-5, None, None)
    assert (recipe.narrow, recipe.loss_scale) == (False, LossScale())
    with pytest.raises(InputError, match="--total_step is missing"):
        _settings(training={})


def test_the_rate_can_grow_with_the_images_of_an_update():
    recipe = _settings("--scale_lr", "True", "--gradient_accumulation_steps", "4").recipe
    assert recipe.rate.base == pytest.approx(8e-5)


def test_every_switch_reaches_the_recipe():
    recipe = _settings(
        *[
            "--clip_grad",
            "True",
            "--max_grad_norm",
            "0.5",
            "--clip_grad_each",
            "True",
            "--use_ema",
            "True",
            "--ema_decay",
            "0.99",
        ],
        *[
            "--ema_warmup",
            "ratio",
            "--snr_gamma",
            "5",
            "--timestep_bias_strategy",
            "later",
            "--timestep_bias_multiplier",
            "2",
        ],
        *[
            "--param_fp16",
            "True",
            "--keep_norm_fp32",
            "False",
            "--dynamic_loss_scale",
            "True",
            "--overflow_still_update",
            "False",
        ],
        *["--loss_scale", "65536", "--decay_filter", "matrices", "--seed", "3"],
    ).recipe
    assert recipe.clip == Clip(norm=0.5, each=True)
    assert recipe.ema == Ema(decay=0.99, warmup="ratio")
    assert recipe.loss_scale == LossScale(value=65536.0, dynamic=True)
    assert (recipe.snr_gamma, recipe.weights, recipe.optimizer.decay, recipe.seed) == (5.0, "float16", "matrices", 3)
    assert (recipe.timestep_bias.strategy, recipe.timestep_bias.multiplier) == ("later", 2.0)
    assert _settings("--param_fp16", "True").recipe.weights == "float16 with float32 norms"


def test_a_warm_up_with_a_cosine_is_read():
    scheduler = {
        "target": "gm.lr_scheduler.LambdaWarmUpCosineScheduler",
        "params": {"warm_up_steps": 4, "lr_min": 0.1, "lr_max": 2.0, "lr_start": 0.5, "max_decay_steps": 20},
    }
    rate = _settings(training={**_ORIGINAL, "optim": {**_ORIGINAL["optim"], "scheduler_config": scheduler}}).recipe.rate
    assert [rate.at(update) for update in (0, 4, 12, 20, 99)] == pytest.approx([0.5e-5, 2e-5, 1.05e-5, 0.1e-5, 0.1e-5])


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        (
            "optim",
            {"optimizer_config": {"target": "mindspore.nn.SGD"}},
            "optimizer mindspore.nn.SGD is not implemented",
        ),
        ("optim", {"scheduler_config": {"target": "X"}}, "optim.scheduler_config: target X is not implemented"),
        ("optim", [], r"optim is \[\], expected a mapping"),
        (
            "data",
            {"total_step": 1, "dataset_config": {"target": "T"}},
            "data.dataset_config: target T is not implemented",
        ),
        (
            "data",
            {"total_step": 1, "dataset_config": {"params": {"multi_aspect": [1]}}},
            "multi_aspect is not implemented",
        ),
        (
            "data",
            {"total_step": 1, "dataset_config": {"params": {"transforms": [{"target": "a.Blur"}]}}},
            "transform Blur is not implemented",
        ),
    ],
)
def test_what_is_not_implemented_is_named(part, value, said):
    with pytest.raises(ConfigError, match=said):
        _settings(training={**_ORIGINAL, part: value})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--max_grad_norm 2", "--max_grad_norm has no effect; it needs --clip_grad True"),
        ("--ema_decay 0.9", "--ema_decay has no effect; it needs --use_ema True"),
        ("--ms_amp_level O0 --loss_scale 8", "--loss_scale has no effect; it needs float16: --ms_amp_level O2"),
        ("--ms_amp_level O0 --param_fp16 True", "--param_fp16 has no effect; it needs --ms_amp_level O2"),
        ("--keep_norm_fp32 False", "--keep_norm_fp32 has no effect; it needs --param_fp16 True"),
        ("--timestep_bias_end 5", "--timestep_bias_end has no effect; it needs --timestep_bias_strategy range"),
        ("--cache_path c", "--cache_path has no effect; it needs --task cache"),
        ("--cache_latent True", "--cache_latent and --cache_text_embedding go together"),
        ("--task cache --cache_latent True --cache_text_embedding True", "--task cache writes the cache"),
        ("--resume_step 3", "--resume_step has no effect; it needs --resume RUN"),
        ("--resume r --save_path s", "--save_path has no effect; it needs a new run"),
        ("--per_batch_size 0", "--per_batch_size is 0, expected 1 to"),
        ("--prompt_empty_probability 2", "--prompt_empty_probability is 2.0, expected 0 to 1"),
        ("--is_parallel True", "--is_parallel is not implemented; only its default False is accepted"),
    ],
)
def test_a_flag_without_effect_or_out_of_range_is_refused(arguments, said):
    with pytest.raises(SDXLError, match=said.replace("(", r"\(")):
        parse([*_DATA, *arguments.split()])


def test_images_or_a_cache_are_needed():
    with pytest.raises(InputError, match="--data_path is missing"):
        parse([])
    with pytest.raises(InputError, match="--data_path has no effect"):
        parse([*_DATA, "--cache_latent", "True", "--cache_text_embedding", "True"])


def test_the_originals_flags_are_all_there():
    original = [
        "version",
        "config",
        "task",
        "cache_latent",
        "cache_text_embedding",
        "cache_path",
        "gradient_accumulation_steps",
        "clip_grad",
        "max_grad_norm",
        "use_ema",
        "weight",
        "per_batch_size",
        "scale_lr",
        "timestep_bias_strategy",
        "timestep_bias_multiplier",
        "timestep_bias_begin",
        "timestep_bias_end",
        "timestep_bias_portion",
        "snr_gamma",
        "seed",
        "sd_xl_base_ratios",
        "data_path",
        "save_path",
        "save_path_with_time",
        "log_interval",
        "save_ckpt_only_rank_zero",
        "save_ckpt_interval",
        "max_num_ckpt",
        "resume_step",
        "optimizer_weight",
        "save_optimizer",
        "data_sink",
        "sink_size",
        "sink_queue_size",
        "dataset_load_tokenizer",
        "lpw",
        "max_embeddings_multiples",
        "infer_during_train",
        "infer_interval",
        "device_target",
        "ms_mode",
        "jit_level",
        "ms_amp_level",
        "ms_enable_graph_kernel",
        "ms_enable_allreduce_fusion",
        "param_fp16",
        "overflow_still_update",
        "max_device_memory",
        "is_parallel",
        "enable_modelarts",
        "ckpt_url",
        "train_url",
        "multi_data_url",
        "pretrain_url",
        "ckpt_dir",
    ]
    assert set(original) <= FLAGS.keys()
