"""A border that differs, and what is said of it."""

import numpy as np
import pytest

from tests.parity.diagnose.faults import BORDERED, IMAGE, causes, random, traces

SIDES = {"top": np.s_[..., 0, :], "bottom": np.s_[..., -1, :], "left": np.s_[..., 0], "right": np.s_[..., -1]}


@pytest.mark.parametrize(
    "sides", [("top",), ("bottom",), ("left",), ("right",), ("left", "right"), tuple(SIDES)], ids=" ".join
)
def test_the_sides_that_differ_are_named_and_no_other(tmp_path, sides):
    candidate = IMAGE.copy()
    for side in sides:
        candidate[SIDES[side]] += random.uniform(1, 2, IMAGE[SIDES[side]].shape)
    (cause,) = causes(*traces(tmp_path, {}, {}, {}, {"vae.down:output": IMAGE}, {"vae.down:output": candidate}))
    assert (cause.slug, cause.address) == ("padding", "vae.down")
    assert f"only the border differs ({', '.join(sides)})" in cause.evidence[0]
    most = np.abs(candidate - IMAGE).max()
    assert f"by at most {most:.3g} there, 0.0e+00 inside" in cause.evidence[0]


@pytest.mark.parametrize("at", [(0, 3, 2, 2), (1, 0, 1, 1)])
def test_what_differs_inside_too_is_no_padding(tmp_path, at):
    candidate = BORDERED.copy()
    candidate[at] += 1
    (cause,) = causes(*traces(tmp_path, {}, {}, {}, {"vae.down:output": IMAGE}, {"vae.down:output": candidate}))
    assert cause.slug == "unknown"


def test_a_constant_border_is_told_from_an_uneven_one(tmp_path):
    even, uneven = "another constant is padded", IMAGE.copy()
    uneven[:, :, -1] += random.standard_normal(IMAGE[:, :, -1].shape)
    for name, candidate in {"even": BORDERED, "uneven": uneven}.items():
        given = {}, {}, {}, {"vae.encoder:output": IMAGE}, {"vae.encoder:output": candidate}
        (cause,) = causes(*traces(tmp_path / name, *given))
        assert (cause.slug, any(even in fact for fact in cause.evidence)) == ("padding", name == "even")


def test_a_reported_pad_value_is_a_cause_with_its_repair_and_what_the_tensors_say(tmp_path):
    outputs = {"vae.down:output": IMAGE}, {"vae.down:output": BORDERED}
    attributes = {"vae.down": {"pad_value": 0.0}}
    opened = traces(tmp_path, {}, attributes, {}, *outputs, reported={"vae.down": {"pad_value": 1.0}})
    (cause,) = causes(*opened)
    assert (cause.slug, cause.address) == ("padding", "vae.down")
    assert cause.edits == [{"kind": "attribute", "path": "vae.down", "name": "pad_value", "value": 0.0}]
    assert "pad_value is 0.0 in the reference and 1.0 in the candidate" in cause.evidence[0]
    assert any("only the border differs" in fact for fact in cause.evidence)


def test_an_enormous_border_hides_no_wrong_inside(tmp_path):
    candidate = IMAGE.copy()
    candidate[:, :, -1] += 1e9
    candidate[0, 0, 2, 2] += 0.5
    (cause,) = causes(*traces(tmp_path, {}, {}, {}, {"vae.down:output": IMAGE}, {"vae.down:output": candidate}))
    assert cause.slug == "unknown"


def test_beside_zeros_only_the_side_that_differs_is_named(tmp_path):
    wrong = np.zeros_like(IMAGE)
    wrong[:, :, 0] = 0.5
    wrong[:, :, 0, 1] = 0.75
    (cause,) = causes(*traces(tmp_path, {}, {}, {}, {"vae.down:output": 0 * IMAGE}, {"vae.down:output": wrong}))
    assert (cause.slug, cause.evidence) == (
        "padding",
        ["only the border differs (top): by at most 0.75 there, 0.0e+00 inside"],
    )
