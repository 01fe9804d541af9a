"""Images with their texts: what they become, and what is refused before training starts."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs the extra [mindspore]")

from PIL import Image

from mindone_sdxl.errors import InputError
from mindone_sdxl.train import cache
from mindone_sdxl.train.cache import Cached
from mindone_sdxl.train.data import Framing, Photographs, check_texts, frame, places, read_tables
from tests.mindone_sdxl.train.conftest import write_table


def test_tables_are_read_in_the_order_of_their_names(photographs):
    entries = read_tables(photographs)
    assert [(entry.path.name, entry.text) for entry in entries] == [
        (f"{index}.png", f"a cat, number {index}") for index in range(3)
    ]


def test_a_folder_without_a_table_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no \.csv file; it needs one with the columns dir and text"):
        read_tables(tmp_path)


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        ([], ("dir", "text"), "table.csv in .*: no row"),
        ([("0.png", "a")], ("file", "text"), "no column dir; its columns are file, text"),
        ([("0.png",)], ("dir", "text"), "line 2: no text"),
        ([("", "a")], ("dir", "text"), "line 2: no dir"),
        ([("gone.png", "a")], ("dir", "text"), "line 2: the image .*gone.png does not exist"),
        ([("table.csv", "a")], ("dir", "text"), "line 2: .*table.csv is not a readable image"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, rows, columns, said):
    Image.new("RGB", (64, 64)).save(tmp_path / "0.png")
    write_table(tmp_path / "table.csv", rows, columns)
    with pytest.raises(InputError, match=said):
        read_tables(tmp_path)


def test_a_table_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "table.csv").write_bytes(b"dir,text\n\xff\xfe,a\n")
    with pytest.raises(InputError, match="is no readable table"):
        read_tables(tmp_path)


class _Words:
    """A tokenizer that counts words."""

    max_length = 6

    def encode(self, text: str) -> list[int]:
        return [0] * len(text.split())


def test_a_text_that_would_be_cut_off_is_refused(photographs):
    entries = read_tables(photographs)
    check_texts(entries, [_Words()])
    long = [entries[0]._replace(text="one two three four five")]
    with pytest.raises(InputError, match=r"0\.png has 5 tokens, at most 4 are seen; .*--truncate_text True"):
        check_texts(long, [_Words()])


def test_the_square_is_where_the_sizes_say():
    random = np.random.default_rng(0)
    picture = Image.fromarray(random.integers(0, 255, (32, 48, 3)).astype(np.uint8))
    pixels, sizes = frame(picture, Framing(size=32), np.random.default_rng(1))
    height, width, top, left, *trained = sizes
    assert (height, width, top, trained) == (32, 48, 0, [32, 32])
    expected = np.asarray(picture)[:, int(left) : int(left) + 32].transpose(2, 0, 1) / 127.5 - 1
    assert np.allclose(pixels, expected, atol=1e-6)
    assert pixels.dtype == np.float32


def test_the_short_side_is_resized_and_the_middle_cut_out():
    picture = Image.new("RGB", (100, 60))
    pixels, sizes = frame(picture, Framing(size=30, crop="center"), np.random.default_rng(0))
    assert pixels.shape == (3, 30, 30)
    assert sizes.tolist() == [60, 100, 0, 10, 30, 30]


def test_half_of_the_images_are_mirrored():
    ramp = Image.fromarray(np.tile(np.arange(8, dtype=np.uint8)[None, :, None] * 30, (8, 1, 3)))
    framing = Framing(size=8, flip=True)
    mirrored = [frame(ramp, framing, np.random.default_rng(seed))[0][0, 0, 0] > -0.9 for seed in range(200)]
    assert 70 < sum(mirrored) < 130


def test_a_picture_is_taken_as_it_is_meant_to_be_looked_at(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # a quarter turn
    Image.new("RGB", (40, 20)).save(tmp_path / "turned.jpg", exif=exif)
    write_table(tmp_path / "table.csv", [("turned.jpg", "a")])
    sample = Photographs(read_tables(tmp_path), Framing(size=16), seed=0).sample(
        places(1, 0, 1, seed=0, shuffle=True)[0]
    )
    assert sample.sizes[:2].tolist() == [40, 20]


def test_a_run_goes_through_epochs_without_a_gap():
    chosen = places(3, 0, 7, seed=5, shuffle=True)
    assert [place.epoch for place in chosen] == [0, 0, 0, 1, 1, 1, 2]
    assert sorted(place.image for place in chosen[:3]) == [0, 1, 2]
    assert places(3, 4, 3, seed=5, shuffle=True) == chosen[4:7]


def test_a_text_is_dropped_where_it_shall_be(photographs):
    entries = read_tables(photographs)
    always = Photographs(entries, Framing(size=64), seed=0, drop=1.0)
    never = Photographs(entries, Framing(size=64), seed=0)
    place = always.places(0, 1)[0]
    assert always.sample(place).text == ""
    assert never.sample(place).text == entries[place.image].text


def test_a_cache_gives_back_what_it_was_given(photographs, tmp_path):
    entries = read_tables(photographs)
    names = cache.names_of(entries)
    random = np.random.default_rng(0)
    kept = [
        Cached(*(random.standard_normal(shape).astype(np.float32) for shape in ((1, 4, 8, 8), (1, 77, 16), (1, 9))))
        for _ in names
    ]
    for name, each in zip(names, kept, strict=True):
        cache.write_cached(tmp_path, name, each)
    with pytest.raises(InputError, match=r"is no finished cache.*--task cache"):
        cache.read_names(tmp_path)
    cache.write_table(tmp_path, names, entries)
    assert cache.read_names(tmp_path) == names
    assert cache.latents_shape(tmp_path, names) == (4, 8, 8)
    for name, each in zip(names, kept, strict=True):
        for ours, theirs in zip(cache.read_cached(tmp_path, name), each, strict=True):
            assert np.array_equal(ours, theirs)


def test_a_cache_with_a_damaged_or_strange_file_is_refused(photographs, tmp_path):
    entries = read_tables(photographs)
    names = cache.names_of(entries)
    for name, side in zip(names, (8, 8, 9), strict=True):
        arrays = (np.zeros(shape, np.float32) for shape in ((1, 4, side, side), (1, 77, 16), (1, 9)))
        cache.write_cached(tmp_path, name, Cached(*arrays))
    with pytest.raises(InputError, match=r"latents of 2 have shape \(1, 4, 9, 9\), those of 0 \(1, 4, 8, 8\)"):
        cache.latents_shape(tmp_path, names)
    (tmp_path / "latent_cache" / "1.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match=r"1\.npy cannot be read: .*; write the cache again"):
        cache.read_cached(tmp_path, "1")


def test_images_of_one_name_in_two_folders_have_two_names_in_the_cache(photographs, tmp_path):
    entries = read_tables(photographs)
    others = [entry._replace(path=tmp_path / "a" / entry.path.name) for entry in entries]
    both = [entry._replace(path=tmp_path / "b" / entry.path.name) for entry in entries]
    assert len(set(cache.names_of([*others, *both]))) == 6
    with pytest.raises(InputError, match="would share the cache's name"):
        cache.names_of([*others, others[0]])
