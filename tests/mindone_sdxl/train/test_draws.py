"""What is random: it follows from the seed and the place alone."""

from __future__ import annotations

import numpy as np
import pytest

from mindone_sdxl.errors import ConfigError
from mindone_sdxl.train.draws import SeededDraws, epoch_order, prompt_is_dropped, timestep_chances
from mindone_sdxl.train.recipe import Recipe, TimestepBias

_SHAPE = (4, 8, 8)


def test_numbers_follow_from_the_place_and_not_from_what_was_drawn_before():
    recipe = Recipe(total_steps=9, batch_size=2)
    first, second = (SeededDraws(recipe, _SHAPE, 1000) for _ in range(2))
    for update in range(5):
        first.at(update, 0)
    for ours, theirs in zip(first.at(7, 1), second.at(7, 1), strict=True):
        assert np.array_equal(ours, theirs)
    assert not np.array_equal(first.at(7, 1).noise, first.at(7, 0).noise)
    assert not np.array_equal(first.at(7, 1).noise, first.at(6, 1).noise)
    assert not np.array_equal(first.at(7, 1).noise, first.at(7, 1).posterior)


def test_offset_noise_is_the_same_all_over_a_channel():
    plain = SeededDraws(Recipe(total_steps=1, batch_size=2), _SHAPE, 1000).at(0, 0).noise
    offset = SeededDraws(Recipe(total_steps=1, batch_size=2, offset_noise=0.1), _SHAPE, 1000).at(0, 0).noise - plain
    assert np.ptp(offset, axis=(2, 3)).max() < 1e-15
    assert np.ptp(offset[:, :, 0, 0]) > 0.01


@pytest.mark.parametrize("strategy", ["earlier", "later", "range"])
def test_biased_timesteps_are_as_often_as_the_multiplier_says(strategy):
    bias = TimestepBias(strategy=strategy, multiplier=3.0, portion=0.25, begin=10, end=40)
    chances = timestep_chances(bias, 100)
    chosen = {"earlier": slice(0, 25), "later": slice(75, 100), "range": slice(10, 40)}[strategy]
    inside = np.zeros(100, bool)
    inside[chosen] = True
    assert chances.sum() == pytest.approx(1)
    assert np.allclose(chances[inside], 3 * chances[~inside].max())


def test_a_bias_of_no_timesteps_changes_nothing():
    assert np.ptp(timestep_chances(TimestepBias(strategy="later", multiplier=9.0, portion=0.0), 100)) == 0


def test_a_range_beyond_the_last_timestep_is_refused():
    with pytest.raises(ConfigError, match="timestep_bias_end is 1000, there are 100 timesteps"):
        timestep_chances(TimestepBias(strategy="range"), 100)


def test_every_image_comes_once_in_an_epoch_and_epochs_differ():
    orders = [epoch_order(3, epoch, 20, shuffle=True).tolist() for epoch in range(2)]
    assert [sorted(order) for order in orders] == [list(range(20))] * 2
    assert orders[0] != orders[1]
    assert epoch_order(3, 5, 4, shuffle=False).tolist() == [0, 1, 2, 3]


def test_texts_are_dropped_as_often_as_asked():
    dropped = sum(prompt_is_dropped(1, 0, image, 0.25) for image in range(2000))
    assert 420 < dropped < 580
    assert not any(prompt_is_dropped(1, 0, image, 0.0) for image in range(100))
