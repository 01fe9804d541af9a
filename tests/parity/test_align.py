"""Alignment tables and layout transforms."""

import numpy as np
import pytest

from parity.align import Alignment, transform, transformed
from parity.errors import AlignmentError
from parity.trace import Row

KNOWN = ["unet.a", "unet.b", "unet.act"]


def row(path, native, **options):
    return Row(path=path, native=native, **options)


def test_tokens_and_images_are_each_other_s_inverse():
    image = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    tokens = transform("nchw-to-tokens", image, (2, 20, 3))
    assert tokens.shape == (2, 20, 3)
    assert np.array_equal(tokens[1, 7], image[1, :, 1, 2])
    back = transform("tokens-to-nchw", tokens, (2, 3, 20, 1))
    assert np.array_equal(back.reshape(image.shape), image)


def test_sequence_first_exchanges_the_first_two_axes():
    assert transform("sequence-first", np.zeros((77, 2, 5)), (2, 77, 5)).shape == (2, 77, 5)


def test_a_slice_of_a_fused_projection_is_its_share_of_the_last_axis():
    fused = np.arange(12).reshape(1, 12)
    parts = [transform(f"slice:{index}/3", fused, (1, 4)) for index in range(3)]
    assert np.array_equal(np.concatenate(parts, axis=1), fused)


def test_a_reshape_that_does_not_fit_leaves_the_shape_for_the_judge_to_see():
    assert transform("reshape", np.zeros((2, 3)), (7,)).shape == (2, 3)


def test_integers_take_the_reference_s_width_and_floats_do_not():
    assert transform("integer-width", np.zeros(2, np.int32), (2,), "int64").dtype == np.int64
    assert transform("integer-width", np.zeros(2, np.float32), (2,), "int64").dtype == np.float32


def test_tokens_become_the_image_that_the_reference_has():
    tokens = np.arange(24).reshape(1, 12, 2)
    image = transform("tokens-to-nchw", tokens, (1, 2, 4, 3))
    assert image.shape == (1, 2, 4, 3)
    assert np.array_equal(image[0, 1].reshape(-1), tokens[0, :, 1])


@pytest.mark.parametrize("name", ["rotate", "slice:a/b", "slice:1", "slice:1/0"])
def test_an_unknown_transform_is_an_error(name):
    with pytest.raises(AlignmentError, match="not a layout transform"):
        transform(name, np.zeros(1), (1,))
    with pytest.raises(AlignmentError, match="not a layout transform"):
        transformed(name, (1,), (1,))


@pytest.mark.parametrize(
    ("name", "here", "wanted"),
    [
        (None, (2, 3), (2, 3)),
        ("nchw-to-tokens", (2, 3, 4, 5), (2, 20, 3)),
        ("tokens-to-nchw", (2, 20, 3), (2, 3, 4, 5)),
        ("tokens-to-nchw", (2, 20, 3), (7,)),
        ("sequence-first", (2, 3, 4), (3, 2, 4)),
        ("reshape", (2, 6), (3, 4)),
        ("reshape", (2, 6), (5,)),
        ("slice:1/3", (2, 6), (2, 2)),
        ("integer-width", (4,), (4,)),
    ],
)
def test_the_shape_is_known_without_a_tensor(name, here, wanted):
    assert transformed(name, here, wanted) == transform(name, np.zeros(here), wanted).shape


@pytest.mark.parametrize(("name", "here"), [("nchw-to-tokens", (2, 3)), ("slice:3/3", (6,)), ("slice:0/4", (6,))])
def test_a_shape_without_such_a_layout_is_an_error(name, here):
    with pytest.raises(AlignmentError, match="has no layout transform"):
        transformed(name, here, ())


def test_one_module_called_twice_is_two_native_cells():
    alignment = Alignment(
        [row("unet.act", "in.1", call=0, native_call=0), row("unet.act", "out.1", call=1, native_call=0)], {}, KNOWN
    )
    assert [(r.path, call) for r, call in alignment.yields("out.1", 0)] == [("unet.act", 1)]
    assert alignment.yields("out.1", 1) == []
    assert alignment.for_path("unet.act", 1)[0].native == "out.1"


def test_calls_correspond_one_to_one_where_the_row_names_none():
    alignment = Alignment([row("unet.a", "x")], {}, KNOWN)
    assert [call for _, call in alignment.yields("x", 3)] == [3]


@pytest.mark.parametrize(
    ("rows", "not_compared", "words"),
    [
        ([row("unet.c", "x")], {}, "which the reference does not have"),
        ([row("unet.a", "x")], {"unet.a": "identity"}, "remove one"),
        ([], {"unet.b": "I do not like it"}, "no reason for not comparing"),
    ],
)
def test_a_table_that_does_not_fit_is_an_error(rows, not_compared, words):
    with pytest.raises(AlignmentError, match=words):
        Alignment(rows, not_compared, KNOWN)
