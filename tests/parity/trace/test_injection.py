"""Injection files: names, shapes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from parity.errors import TraceError
from parity.trace import read_injection, write_injection

from .helpers import same


def batch(images: int, steps: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return latents and noise of a batch."""
    generator = np.random.default_rng(images)
    latents = generator.standard_normal((images, 4, 6, 5), np.float32)
    return latents, generator.standard_normal((steps, images, 4, 6, 5), np.float32)


def test_one_image_has_the_names_and_shapes_that_mindone_reads(tmp_path):
    latents, noise = batch(1)
    paths = write_injection(tmp_path, latents, noise)
    assert [path.name for path in paths] == ["init_latent.npy", "init_noise_scheduler.npy"]
    assert same(np.load(paths[0], allow_pickle=False), latents)
    assert np.load(paths[1], allow_pickle=False).shape == (3, 1, 4, 6, 5)


@pytest.mark.parametrize("images", [1, 2, 11])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_batch_comes_back(tmp_path, images, steps):
    latents, noise = batch(images, steps)
    write_injection(tmp_path, latents, noise)
    back = read_injection(tmp_path)
    assert same(back.latents, latents)
    assert same(back.noise, noise)
    if images > 1:
        assert same(np.load(tmp_path / "init_latent_0001.npy"), latents[1:2])
        assert same(np.load(tmp_path / "init_noise_scheduler_0001.npy"), noise[:, 1:2])


@pytest.mark.parametrize("images", [1, 2])
def test_without_noise_there_is_no_file_of_it(tmp_path, images):
    latents = batch(images)[0]
    paths = write_injection(tmp_path, latents, None)
    assert all(path.name.startswith("init_latent") for path in paths)
    back = read_injection(tmp_path)
    assert same(back.latents, latents)
    assert back.noise is None


@pytest.mark.parametrize(
    ("latents", "noise", "message"),
    [
        (np.zeros((1, 3, 4, 4), "f4"), np.zeros((2, 1, 3, 4, 4), "f4"), r"expected \[images, 4, h, w\]"),
        (np.zeros((0, 4, 4, 4), "f4"), np.zeros((2, 0, 4, 4, 4), "f4"), r"expected \[images, 4, h, w\]"),
        (np.zeros((4, 4, 4), "f4"), np.zeros((2, 4, 4, 4), "f4"), r"expected \[images, 4, h, w\]"),
        (np.zeros((1, 4, 4, 4), "f4"), np.zeros((2, 4, 4, 4), "f4"), r"expected \[images, 4, h, w\]"),
        (np.zeros((1, 4, 4, 4), "f4"), np.zeros((2, 2, 4, 4, 4), "f4"), r"expected \[images, 4, h, w\]"),
        (np.zeros((1, 4, 4, 4), "f8"), np.zeros((2, 1, 4, 4, 4), "f4"), "latents are float64 and noise is float32"),
        (np.zeros((1, 4, 4, 4), "f4"), np.zeros((2, 1, 4, 4, 4), "f2"), "latents are float32 and noise is float16"),
    ],
)
def test_another_shape_or_type_is_never_written(tmp_path, latents, noise, message):
    with pytest.raises(TraceError, match=message):
        write_injection(tmp_path, latents, noise)
    assert not list(tmp_path.iterdir())


def test_a_missing_or_surplus_file_is_refused(tmp_path):
    with pytest.raises(TraceError, match=r"init_latent.npy cannot be opened"):
        read_injection(tmp_path)
    write_injection(tmp_path, *batch(3))
    (tmp_path / "init_noise_scheduler_0002.npy").unlink()
    with pytest.raises(TraceError, match=r"init_noise_scheduler_0002.npy cannot be opened"):
        read_injection(tmp_path)
    (tmp_path / "init_latent_0001.npy").unlink()
    with pytest.raises(TraceError, match="has init_latent files 0000, 0002; expected them numbered from 0000"):
        read_injection(tmp_path)
    write_injection(tmp_path, *batch(1))
    with pytest.raises(TraceError, match=r"has both init_latent.npy and init_latent_0000.npy"):
        read_injection(tmp_path)


def test_files_of_other_shapes_and_types_are_refused(tmp_path):
    latents, noise = batch(2)
    write_injection(tmp_path, latents, noise)
    np.save(tmp_path / "init_noise_scheduler_0001.npy", noise[:2, 1:2])
    with pytest.raises(TraceError, match="the same for every image"):
        read_injection(tmp_path)
    np.save(tmp_path / "init_noise_scheduler_0001.npy", noise[:, 1:2].astype("f8"))
    with pytest.raises(TraceError, match="is float64"):
        read_injection(tmp_path)
    np.save(tmp_path / "init_noise_scheduler_0001.npy", np.array([None]), allow_pickle=True)
    with pytest.raises(TraceError, match="never unpickled"):
        read_injection(tmp_path)
    np.save(tmp_path / "init_noise_scheduler_0001.npy", np.asfortranarray(noise[:, 1:2]).astype(">f4"))
    assert same(read_injection(tmp_path).noise, noise)
