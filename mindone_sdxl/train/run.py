"""A training run from the command line: what it starts from, its batches, its checkpoints."""

# mypy: no-warn-return-any
from __future__ import annotations

import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import mindspore
import numpy as np
from mindspore import Tensor

from mindone_sdxl.device import prepare
from mindone_sdxl.disk import check_folder, explained, whole
from mindone_sdxl.errors import InputError
from mindone_sdxl.files import write
from mindone_sdxl.models import find_model, read_weights, tokenizers
from mindone_sdxl.names import parameter_table
from mindone_sdxl.pipeline import StableDiffusionXL
from mindone_sdxl.progress import Progress
from mindone_sdxl.train import cache, state
from mindone_sdxl.train.cache import Cached
from mindone_sdxl.train.data import Photographs, Place, check_texts, places, read_tables
from mindone_sdxl.train.draws import SeededDraws
from mindone_sdxl.train.objective import Objective
from mindone_sdxl.train.settings import Settings, settings_of
from mindone_sdxl.train.step import Example, Trainer, widen_norms
from mindone_sdxl.weights import load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import SimpleNamespace

    from mindone_sdxl.arrays import Array
    from mindone_sdxl.config import SDXLConfig
    from mindone_sdxl.config_yaml import YamlConfig
    from mindone_sdxl.train.draws import Draw
    from mindone_sdxl.train.recipe import Recipe
    from mindone_sdxl.train.step import Outcome

__all__ = ["run"]

_UNET = "model.diffusion_model."


def run(values: SimpleNamespace) -> Path:
    """Do what the flags ask for; gives the folder that was written.

    Raises:
        SDXLError: a file or a value cannot be used. Nothing that an earlier run has written is changed.
    """
    found = _model(values)
    settings = settings_of(values, found.training)
    downscale = found.model.vae.downscale
    if settings.framing.size % downscale:
        message = f"--resolution is {settings.framing.size}, expected a multiple of {downscale}"
        raise InputError(message)
    return _write_cache(values, found, settings) if values.task == "cache" else _train(values, found, settings)


def _model(values: SimpleNamespace) -> YamlConfig:
    """The model that the flags name.

    Raises:
        InputError: it is one that is not trained here.
    """
    found = find_model(values.config)
    if found.model.refiner:
        message = f"{values.config} is the refiner, which is not trained here; take the base model"
        raise InputError(message)
    if not values.vae_fp16:
        return found
    return replace(found, model=replace(found.model, vae=replace(found.model.vae, force_upcast=False)))


def _weights(values: SimpleNamespace, config: SDXLConfig) -> dict[str, Array]:
    """The weights to start from."""
    of_folder = "weight" not in values.given and Path(values.config).is_dir()
    return read_weights(values.config, None if of_folder else values.weight, config)


def _photographs(values: SimpleNamespace, found: YamlConfig, settings: Settings) -> Photographs:
    """The images of the run, each of which was opened."""
    entries = read_tables(Path(values.data_path))
    if not values.truncate_text:
        check_texts(entries, tokenizers(values, values.config, found))
    recipe, drop = settings.recipe, settings.drop
    return Photographs(entries, settings.framing, seed=recipe.seed, shuffle=settings.shuffle, drop=drop)


class _Images:
    """Latents and conditioning worked out from images, batch by batch."""

    def __init__(self, pipeline: StableDiffusionXL, photographs: Photographs) -> None:
        self._pipeline, self.photographs = pipeline, photographs
        self.latents_shape = _latents_shape(pipeline.config, photographs.framing.size)
        self.names = [f"{entry.path}\n{entry.text}" for entry in photographs.entries]

    def batch(self, start: int, count: int, posterior: Array) -> Cached:
        """Latents before scaling, text embeddings and vector of the images from the `start`-th of the run on."""
        return self.of(self.photographs.places(start, count), posterior)

    def of(self, places: Sequence[Place], posterior: Array) -> Cached:
        """The same of the images at some places, their latents sampled with unit-variance noise."""
        samples = [self.photographs.sample(place) for place in places]
        pipeline = self._pipeline
        pixels = Tensor(np.stack([sample.pixels for sample in samples]))
        moments = pipeline.encode(pixels)
        latents = moments.sample(Tensor(posterior.astype(np.float32), moments.mean.dtype))
        embeddings = pipeline.encode_ids(*pipeline.tokenize([sample.text for sample in samples]))
        vector = pipeline.vector(embeddings.pooled, np.stack([sample.sizes for sample in samples]))
        return Cached(*(_numbers(tensor) for tensor in (latents, embeddings.context, vector)))


class _Cache:
    """Latents and conditioning from a cache."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder, self._seed, self._shuffle = folder, settings.recipe.seed, settings.shuffle
        self.names = cache.read_names(folder)
        self.latents_shape = cache.latents_shape(folder, self.names)

    def batch(self, start: int, count: int, posterior: Array) -> Cached:
        """Latents before scaling, text embeddings and vector of the images from the `start`-th of the run on."""
        del posterior  # the sample was drawn when the cache was written
        chosen = places(len(self.names), start, count, seed=self._seed, shuffle=self._shuffle)
        rows = [cache.read_cached(self._folder, self.names[place.image]) for place in chosen]
        return Cached(*(np.concatenate(arrays) for arrays in zip(*rows, strict=True)))


def _numbers(tensor: Tensor) -> Array:
    return tensor.astype(mindspore.float32).asnumpy()


def _latents_shape(config: SDXLConfig, size: int) -> tuple[int, int, int]:
    side = size // config.vae.downscale
    return config.vae.latent_channels, side, side


def _build(
    values: SimpleNamespace, found: YamlConfig, recipe: Recipe, *, encoders: bool
) -> tuple[StableDiffusionXL, dict[str, Array]]:
    """The model with its weights, in the types in which they are used, and the weights as the file has them.

    Args:
        encoders: whether autoencoder and text encoders are needed; else their weights are not loaded.
    """
    dtype = mindspore.float16 if recipe.narrow else mindspore.float32
    both = tokenizers(values, values.config, found) if encoders else None
    pipeline = StableDiffusionXL(found.model, dtype, tokenizers=both)
    if recipe.weights == "float16 with float32 norms":
        widen_norms(pipeline.model.unet)
    weights = _weights(values, found.model)
    if not encoders:
        names = _unet_names(found.model)
        weights = {name: value for name, value in weights.items() if name in names.values()}
    load(pipeline.model, weights, found.model, components=None if encoders else ("unet",))
    return pipeline, weights


def _unet_names(config: SDXLConfig) -> dict[str, str]:
    """The UNet's parameters: their names within it, and those of a checkpoint."""
    rows = (entry for entry in parameter_table(config) if entry.cell.startswith(_UNET))
    return {entry.cell.removeprefix(_UNET): entry.checkpoint for entry in rows}


def _train(values: SimpleNamespace, found: YamlConfig, settings: Settings) -> Path:
    """Train, and write checkpoints."""
    recipe, cached = settings.recipe, values.cache_latent
    objective = Objective(recipe, found.model.schedule)
    # Everything that is given is looked at before anything is loaded.
    given = _Cache(Path(values.cache_path), settings) if cached else _photographs(values, found, settings)
    resumed = None if values.resume is None else state.find_state(Path(values.resume), values.resume_step)
    folder = _folder(values, found)
    _prepare(values)
    pipeline, weights = _build(values, found, recipe, encoders=not cached)
    source = _Images(pipeline, given) if isinstance(given, Photographs) else given
    names = _unet_names(found.model)
    masters = {name: weights[checkpoint] for name, checkpoint in names.items()}
    apart = recipe.narrow and recipe.weights == "float32"
    trainer = Trainer(pipeline.model.unet, recipe, masters=masters if apart else None, compiled=values.ms_mode == 0)
    fingerprint = _fingerprint(settings, source.names)
    if resumed is not None:
        state.restore(trainer, resumed, fingerprint)
    draws = SeededDraws(recipe, source.latents_shape, objective.timesteps)
    journal = _Journal(folder, trainer, recipe.total_steps, values.log_interval)
    stem = "unet" if cached else found.version

    def example(part: int) -> Example:
        number = trainer.rounds * recipe.accumulation + part
        draw = draws.at(trainer.rounds, part)
        batch = source.batch(number * recipe.batch_size, recipe.batch_size, draw.posterior)
        return _example(pipeline, objective, batch, draw)

    while trainer.rounds < recipe.total_steps:
        outcome = trainer.update([example(part) for part in range(recipe.accumulation)])
        journal.note(outcome)
        if trainer.rounds % values.save_ckpt_interval == 0 or trainer.rounds == recipe.total_steps:
            _save(folder, stem, trainer, weights, names)
            state.write_state(folder, trainer, fingerprint)
            state.remove_old(folder, values.max_num_ckpt)
    return folder


def _example(pipeline: StableDiffusionXL, objective: Objective, batch: Cached, draw: Draw) -> Example:
    """What the network is asked of a batch."""
    latents = pipeline.scale_latents(Tensor(batch.latents)).asnumpy()
    problem = objective.problem(latents, draw.noise, draw.timesteps)
    return Example(problem=problem, timesteps=draw.timesteps, context=batch.context, vector=batch.vector)


def _save(folder: Path, stem: str, trainer: Trainer, weights: Mapping[str, Array], names: Mapping[str, str]) -> None:
    """Write the model with the weights as they are trained, and with their average."""

    def checkpoint(trained: Mapping[str, Tensor]) -> dict[str, Array]:
        return {**weights, **{names[name]: value.asnumpy() for name, value in trained.items()}}

    path = folder / "weights" / f"{stem}_{trainer.rounds}.ckpt"
    write(path, checkpoint(trainer.kept))
    if trainer.average is not None:
        write(path.with_stem(f"{path.stem}_ema"), checkpoint(trainer.average.values))


def _step_of(line: str) -> int:
    """The step of a row of the log; 0 for what is none."""
    number = line.partition(",")[0]
    return int(number) if number.isdecimal() else 0


class _Journal:
    """Says how the run goes: a line on the terminal, and a row of `log.csv` for every so many rounds."""

    def __init__(self, folder: Path, trainer: Trainer, total: int, interval: int) -> None:
        self._path, self._trainer, self._interval = folder / "log.csv", trainer, interval
        self._progress = Progress(max(1, total - trainer.rounds))
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        kept = [line for line in lines if _step_of(line) in range(1, trainer.rounds + 1)]
        with whole(self._path) as partial:
            head = "step,loss,gradient_norm,learning_rate,loss_scale,updated"
            partial.write_text("\n".join([head, *kept, ""]), encoding="utf-8")

    def note(self, outcome: Outcome) -> None:
        """Take notice of a round."""
        skipped = "" if outcome.updated else ", no update: gradients overflow"
        self._progress.advance(f"loss {outcome.loss:.6f}, rate {outcome.rate:.3g}{skipped}")
        if self._trainer.rounds % self._interval:
            return
        numbers = (outcome.loss, outcome.norm, outcome.rate, outcome.scale)
        with explained(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(f"{self._trainer.rounds},{','.join(map(repr, numbers))},{int(outcome.updated)}\n")


def _folder(values: SimpleNamespace, found: YamlConfig) -> Path:
    """The run's folder.

    Raises:
        InputError: it cannot be written to, or another run lies there.
    """
    if values.resume is not None:
        return Path(values.resume)
    folder = Path(values.save_path)
    if values.save_path_with_time:
        folder /= f"{found.version}_{time.strftime('%Y-%m-%dT%H-%M-%S')}"
    if state.steps_of(folder):
        message = f"{folder} holds a run already; go on with it by --resume {folder}, or give another --save_path"
        raise InputError(message)
    check_folder(folder)
    return folder


def _prepare(values: SimpleNamespace) -> None:
    if values.param_fp16:
        sys.stderr.write(
            "--param_fp16 True is experimental: updates smaller than half a unit in the last place of a float16 weight "
            "vanish, and training may become unstable or diverge\n"
        )
    prepare(values.device_target, deterministic=True, keep_types=values.precision_keep_origin_dtype)


def _fingerprint(settings: Settings, names: Sequence[str]) -> int:
    """A number that another recipe or other images would change; the run's length may grow."""
    recipe = replace(settings.recipe, total_steps=1)
    kept = (recipe, settings.framing, settings.shuffle, settings.drop, tuple(names))
    return zlib.crc32(repr(kept).encode())


def _write_cache(values: SimpleNamespace, found: YamlConfig, settings: Settings) -> Path:
    """Work out latents and text embeddings of every image once."""
    photographs = _photographs(values, found, settings)
    folder, entries = Path(values.cache_path), photographs.entries
    names = cache.names_of(entries)
    check_folder(folder)
    _prepare(values)
    recipe = settings.recipe
    pipeline, _ = _build(values, found, recipe, encoders=True)
    images = _Images(pipeline, photographs)
    draws = SeededDraws(replace(recipe, batch_size=1), images.latents_shape, found.model.schedule.train_timesteps)
    progress = Progress(len(entries))
    for index, name in enumerate(names):
        cached = images.of([Place(0, index)], draws.at(0, index).posterior)
        cache.write_cached(folder, name, cached)
        progress.advance()
    cache.write_table(folder, names, entries)
    return folder
