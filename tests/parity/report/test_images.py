"""Pictures are valid PNGs, deterministic, and show one wrong pixel."""

import base64
import struct
import zlib

import numpy as np
import pytest

from parity.report import images


def decode(data):
    """A small independent reader: 8-bit RGB without filters."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + length]
        assert struct.unpack(">I", data[place + 8 + length : place + 12 + length])[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        place += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour) == (8, 2)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), dtype=np.uint8).reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


def shown(found, name):
    return decode(base64.b64decode(found[name].partition(",")[2]))


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (16, 5)])
def test_a_picture_survives_the_round_trip(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert np.array_equal(decode(images.encode_png(pixels)), pixels)


def test_each_image_has_reference_candidate_difference_and_caption():
    reference = np.full((2, 3, 8, 12), 0.5)
    found = images.draw(reference, reference)
    assert sorted(found) == sorted(
        f"{name}_{place}" for name in ("reference", "candidate", "difference", "caption") for place in (0, 1)
    )
    assert found["caption_0"].startswith("no difference")
    assert sorted(images.files(found)) == sorted(
        f"images/{name}_{place}.png" for name in ("reference", "candidate", "difference") for place in (0, 1)
    )
    assert (shown(found, "reference_0") == 128).all()


def test_the_files_of_pictures_are_the_pictures_and_lie_nowhere_else():
    found = images.draw(np.zeros((1, 3, 4, 4)), np.ones((1, 3, 4, 4)))
    assert (decode(images.files(found)["images/candidate_0.png"]) == 255).all()
    text = found["candidate_0"]
    assert images.files({"../candidate_0": text, "candidate_0/x": text, "caption_0": text}) == {}
    assert images.files({"candidate_0": "http://example.org/x.png", "candidate_1": text[:-1] + "%"}) == {}


def test_one_wrong_pixel_of_a_large_image_is_still_seen_and_its_place_is_said():
    reference = np.zeros((1, 3, 1024, 700))
    candidate = reference.copy()
    candidate[0, 1, 600, 333] = 3e-6
    found = images.draw(reference, candidate)
    difference = shown(found, "difference_0")
    assert difference.shape == (512, 350, 3)
    assert np.argwhere(difference).tolist() == [[300, 166, 1]]
    assert difference.max() >= 128
    assert (
        found["caption_0"]
        == "amplified 262,144 times; largest difference 3.00e-06, 0.00077 of 255 grey levels, at row 600, column 333"
    )


def test_a_value_that_is_no_number_is_magenta_and_counts_as_the_largest_difference():
    reference = np.full((1, 3, 4, 4), 0.25)
    candidate = reference.copy()
    candidate[0, 0, 2, 1] = np.nan
    found = images.draw(reference, candidate)
    assert shown(found, "candidate_0")[2, 1].tolist() == [255, 0, 255]
    assert "row 2, column 1" in found["caption_0"]
    assert "inf" in found["caption_0"]


def test_the_same_images_give_the_same_texts():
    reference, candidate = np.random.default_rng(1).random((2, 1, 3, 16, 24))
    assert images.draw(reference, candidate) == images.draw(reference, candidate)


@pytest.mark.parametrize(
    ("left", "right"), [((1, 3, 4, 4), (1, 3, 4, 5)), ((3, 4, 4), (3, 4, 4)), ((1, 4, 4, 4), (1, 4, 4, 4))]
)
def test_other_shapes_are_refused(left, right):
    with pytest.raises(ValueError, match=r"must be \[batch, 3, height, width\]"):
        images.draw(np.zeros(left), np.zeros(right))
