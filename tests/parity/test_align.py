"""Alignment tables and layout transforms."""

import numpy as np
import pytest

from parity.align import NAMED_TRANSFORMS, Alignment, Calls, transform, transformed
from parity.errors import AlignmentError
from parity.trace import Row
from tests.parity.compare.traces import manifest, write

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


def test_a_row_is_found_by_the_call_that_it_names():
    rows = [row("unet.act", "one", call=0), row("unet.act", "two", call=1), row("unet.a", "any", native_call=2)]
    alignment = Alignment(rows, {"unet.b": "identity"}, KNOWN)
    assert [[each.native for each in alignment.for_path("unet.act", call)] for call in (None, 0, 1, 2)] == [
        ["one"], ["one"], ["two"], [],
    ]  # fmt: skip
    assert [alignment.yields("any", call) for call in (0, 1)] == [[], []]
    assert alignment.yields("any", 2) == [(rows[2], 2)]
    assert alignment.yields("two", 5) == [(rows[1], 1)]
    assert alignment.for_path("unet.b", 0) == []


@pytest.mark.parametrize("options", [{"replay": "whole"}, {"function": True}])
def test_a_row_that_replays_the_whole_path_comes_first(options):
    part, whole = row("unet.a", "part"), row("unet.a", "whole", **options)
    for rows in ([part, whole], [whole, part]):
        assert [each.native for each in Alignment(rows, {}, KNOWN).for_path("unet.a", None)] == ["whole", "part"]


def test_cells_are_tapped_once_each_and_functions_are_not():
    rows = [row("unet.a", "x"), row("unet.b", "x", take="input.0"), row("unet.act", "f", function=True)]
    alignment = Alignment(rows, {}, KNOWN)
    assert alignment.natives == ["x"]
    assert (alignment.takes_input("x"), alignment.takes_input("f")) == (True, False)


@pytest.mark.parametrize(
    ("name", "least"),
    [("nchw-to-tokens", 3), ("tokens-to-nchw", 2), ("sequence-first", 2), ("slice:0/1", 1), ("reshape", 0)],
)
def test_a_layout_needs_so_many_axes(name, least):
    assert transformed(name, (2,) * least, (2,) * least) is not None
    if least:
        with pytest.raises(AlignmentError, match="has no layout transform"):
            transformed(name, (2,) * (least - 1), (2,) * least)


def test_tokens_of_several_axes_become_an_image_and_back():
    volume = np.arange(2 * 3 * 4 * 5 * 6).reshape(2, 3, 4, 5, 6)
    tokens = transform("nchw-to-tokens", volume, ())
    assert np.array_equal(tokens, np.moveaxis(volume.reshape(2, 3, 120), 1, 2))
    assert np.array_equal(transform("tokens-to-nchw", tokens, volume.shape), volume)


def test_the_calls_of_a_reference_are_numbered_where_there_are_several(tmp_path):
    addresses = [
        "unet.act@step=0,call=0:output",
        "unet.act@step=0,call=1:output",
        "unet.act@step=1:output",
        "unet.a@step=0:input.x",
        "unet.a@step=0:output",
    ]
    trace = write(
        tmp_path / "r", manifest("reference"), {"float64": ("run", "float64", {name: np.ones(2) for name in addresses})}
    )
    calls = Calls(trace.run("float64"))
    assert calls.order == [("unet.act", 0, 0), ("unet.act", 0, 1), ("unet.act", 1, None), ("unet.a", 0, None)]
    assert [calls.key("unet.act", 0, 1), calls.key("unet.act", 1, 0), calls.key("unet.a", 0, 0)] == calls.order[1:]
    assert calls.ports("unet.a", 0, None) == ["input.x", "output"]
    assert calls.ports("unet.a", 1, None) == []
    assert ("unet.act", 1, None) in calls
    assert ("unet.act", 1, 0) not in calls


def test_every_transform_of_the_list_that_an_error_tells_is_one():
    for name in NAMED_TRANSFORMS:
        assert transformed(name.replace("I/N", "0/1"), (2, 2, 2), (2, 2, 2)) is not None
