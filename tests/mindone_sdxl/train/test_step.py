"""Updates of the port's UNet against torch's: loss, gradients, clipping, AdamW, EMA, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from mindone_sdxl.config import ScheduleConfig
from mindone_sdxl.discretization import exact_table
from mindone_sdxl.train.objective import Objective
from mindone_sdxl.train.recipe import Clip, Ema, LossScale, Optimizer, Rate, Recipe
from tests.mindone_sdxl.train.conftest import CONFIG, batch

pytestmark = [pytest.mark.torch, pytest.mark.mindspore]

_UPDATES = 3
_RATE = Rate(base=1e-3, shape="cosine", warmup=2, total=6)


class _Torch:
    """The public recipe: DDPMScheduler's noise, a weighted square, AdamW, clipping, diffusers' EMAModel."""

    def __init__(self, unet, recipe: Recipe, prediction: str) -> None:
        import torch
        from diffusers.optimization import get_cosine_schedule_with_warmup
        from diffusers.training_utils import EMAModel

        self.torch, self.unet, self.recipe, self.prediction = torch, unet, recipe, prediction
        options = recipe.optimizer
        self.optimizer = torch.optim.AdamW(
            unet.parameters(),
            lr=recipe.rate.base,
            betas=(options.beta1, options.beta2),
            eps=options.eps,
            weight_decay=options.weight_decay,
        )
        self.rates = get_cosine_schedule_with_warmup(self.optimizer, recipe.rate.warmup, recipe.rate.total)
        self.ema = EMAModel(unet.parameters(), decay=recipe.ema.decay) if recipe.ema else None

    def loss(self, given):
        torch = self.torch
        kept = torch.from_numpy(1 / (exact_table(ScheduleConfig())[given.timesteps] ** 2 + 1))
        wide = kept.reshape(-1, 1, 1, 1)
        latents, noise = torch.from_numpy(given.latents), torch.from_numpy(given.noise)
        noisy = wide.sqrt() * latents + (1 - wide).sqrt() * noise
        velocity = self.prediction == "v_prediction"
        target = wide.sqrt() * noise - (1 - wide).sqrt() * latents if velocity else noise
        out = self.unet(
            noisy,
            torch.from_numpy(given.timesteps),
            torch.from_numpy(given.context),
            added_cond_kwargs={
                "text_embeds": torch.from_numpy(given.pooled),
                "time_ids": torch.from_numpy(given.sizes),
            },
        ).sample
        if self.recipe.snr_gamma is None:
            return torch.nn.functional.mse_loss(out, target)
        ratio = kept / (1 - kept)
        weights = torch.minimum(ratio, torch.full_like(ratio, self.recipe.snr_gamma)) / (ratio + velocity)
        return (((out - target) ** 2).mean(dim=(1, 2, 3)) * weights).mean()

    def update(self, batches):
        losses = []
        for given in batches:
            loss = self.loss(given)
            (loss / len(batches)).backward()
            losses.append(loss.item())
        gradients = {name: each.grad.numpy().copy() for name, each in self.unet.named_parameters()}
        limit = self.recipe.clip.norm if self.recipe.clip else np.inf
        norm = self.torch.nn.utils.clip_grad_norm_(self.unet.parameters(), limit).item()
        self.optimizer.step()
        self.rates.step()
        self.optimizer.zero_grad()
        if self.ema:
            self.ema.step(self.unet.parameters())
        return np.mean(losses), norm, gradients


def _in_diffusers(values) -> dict[str, np.ndarray]:
    """Tensors of the UNet's parameters under diffusers' names and layout."""
    from mindone_sdxl.names import parameter_table
    from mindone_sdxl.weights import to_diffusers

    found = {}
    for entry in parameter_table(CONFIG):
        if entry.diffusers.startswith("unet."):
            value = values[entry.cell.removeprefix("model.diffusion_model.")].asnumpy()
            found[entry.diffusers.removeprefix("unet.")] = to_diffusers(value, entry)
    return found


def _apart(ours: dict, theirs: dict) -> float:
    """The largest relative distance over all tensors."""
    assert ours.keys() == theirs.keys()
    return max(np.linalg.norm(ours[name] - theirs[name]) / np.linalg.norm(theirs[name]) for name in theirs)


def _example(given, recipe: Recipe, schedule: ScheduleConfig):
    from mindone_sdxl.train.step import Example

    problem = Objective(recipe, schedule).problem(given.latents, given.noise, given.timesteps)
    return Example(problem=problem, timesteps=given.timesteps, context=given.context, vector=given.vector)


_RECIPES = {
    "plain": (Recipe(total_steps=6, rate=_RATE), "epsilon"),
    "clipped, two gradients, averaged": (
        Recipe(total_steps=6, rate=_RATE, clip=Clip(norm=0.5), accumulation=2, ema=Ema(decay=0.2, warmup="ratio")),
        "epsilon",
    ),
    "weighted velocity": (
        Recipe(total_steps=6, rate=_RATE, snr_gamma=5.0, optimizer=Optimizer(beta2=0.98, weight_decay=0.1)),
        "v_prediction",
    ),
    "weighted noise": (Recipe(total_steps=6, rate=_RATE, snr_gamma=5.0), "epsilon"),
}


@pytest.mark.parametrize("name", _RECIPES)
def test_updates_are_those_of_torch(name, unet, torch_unet):
    from mindone_sdxl.train.step import Trainer

    recipe, prediction = _RECIPES[name]
    schedule = ScheduleConfig(prediction=prediction)
    seen: dict[str, dict] = {}
    trainer = Trainer(unet(), recipe, watch=lambda kind, values: seen.__setitem__(kind, dict(values)))
    reference = _Torch(torch_unet(), recipe, prediction)
    for update in range(_UPDATES):
        batches = [batch(10 * update + part) for part in range(recipe.accumulation)]
        outcome = trainer.update([_example(given, recipe, schedule) for given in batches])
        loss, norm, gradients = reference.update(batches)
        assert outcome.loss == pytest.approx(loss, rel=1e-12)
        assert outcome.norm == pytest.approx(norm, rel=1e-12)
        assert _apart(_in_diffusers(seen["gradients"]), gradients) < 1e-11
    weights = {key: value.numpy() for key, value in reference.unet.state_dict().items()}
    assert _apart(_in_diffusers(trainer.kept), weights) < 1e-11
    if reference.ema:
        names = [key for key, _ in reference.unet.named_parameters()]
        average = dict(zip(names, (each.numpy() for each in reference.ema.shadow_params), strict=True))
        assert _apart(_in_diffusers(trainer.average.values), average) < 1e-11


def test_a_graph_has_the_gradients_of_single_operators_in_every_update(unet, mindspore):
    from mindone_sdxl.train.step import Trainer

    recipe = Recipe(total_steps=2, rate=Rate(base=1e-3))
    seen: dict[bool, dict] = {True: {}, False: {}}
    trainers = {
        compiled: Trainer(
            unet(mindspore.float32),
            recipe,
            compiled=compiled,
            watch=lambda kind, values, compiled=compiled: seen[compiled].__setitem__(kind, dict(values)),
        )
        for compiled in seen
    }
    for update in range(2):
        example = _example(batch(update), recipe, ScheduleConfig())
        graph, single = (trainers[compiled].update([example]) for compiled in (True, False))
        assert graph.loss == pytest.approx(single.loss, rel=1e-6)
        assert graph.loss != pytest.approx(np.mean(batch(update).noise ** 2), rel=1e-3)  # of a prediction of zeros
        gradients = (_in_diffusers(seen[compiled]["gradients"]) for compiled in (True, False))
        assert _apart(*gradients) < 1e-5


def test_weights_of_a_file_are_not_changed(unet, state, mindspore):
    from mindone_sdxl.train.step import Trainer

    before = {name: value.copy() for name, value in state.items()}
    trainer = Trainer(unet(), Recipe(total_steps=1, rate=Rate(base=1e-3)))
    trainer.update([_example(batch(0), trainer.recipe, ScheduleConfig())])
    assert all(np.array_equal(before[name], state[name]) for name in state)


def test_the_original_clips_each_gradient_and_corrects_no_moment(unet):
    from mindone_sdxl.train.step import Trainer

    seen: dict[str, dict] = {}
    options = Optimizer.named("AdamWeightDecay", beta2=0.98)
    recipe = Recipe(total_steps=1, rate=Rate(base=1e-3), clip=Clip(norm=1e-3, each=True), optimizer=options)
    trainer = Trainer(unet(), recipe, watch=lambda kind, values: seen.__setitem__(kind, dict(values)))
    trainer.update([_example(batch(0), recipe, ScheduleConfig())])
    for name, gradient in seen["gradients"].items():
        raw, clipped, change = (each.asnumpy() for each in (gradient, seen["clipped"][name], seen["update"][name]))
        norm = np.linalg.norm(raw)
        assert np.allclose(clipped, raw * min(1, 1e-3 / (norm + 1e-6)), rtol=1e-10, atol=0)
        first, second = 0.1 * clipped, 0.02 * clipped**2
        expected = -1e-3 * first / (np.sqrt(second) + 1e-6)
        assert np.allclose(change, expected, rtol=1e-6, atol=1e-13), name


def test_an_overflow_is_left_out_or_let_through_as_asked(unet, mindspore):
    from mindone_sdxl.train.step import Trainer

    for anyway in (False, True):
        recipe = Recipe(total_steps=1, loss_scale=LossScale(value=1e9, update_anyway=anyway))
        trainer = Trainer(unet(mindspore.float16), recipe)
        before = {name: value.asnumpy().copy() for name, value in trainer.kept.items()}
        outcome = trainer.update([_example(batch(0), recipe, ScheduleConfig())])
        changed = [name for name in before if not np.array_equal(before[name], trainer.kept[name].asnumpy())]
        assert (outcome.updated, trainer.updates, trainer.rounds, bool(changed)) == (anyway, anyway, 1, anyway)
        assert trainer.scale.overflows == 1
