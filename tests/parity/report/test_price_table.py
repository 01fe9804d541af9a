"""The price is told for every place and type, whoever is held against whom."""

import pytest

from parity.report.price_table import price_tables

from . import made


def tables(value):
    return price_tables(made.base([], price=value))


def test_each_place_and_type_is_a_table_of_three_distances(tmp_path):
    found = price_tables(made.make("transposed", tmp_path))
    assert [table.what for table in found] == [
        "final latents, float64",
        "final latents, float32",
        "image, float64",
        "image, float32",
    ]
    assert [line.who for line in found[1].lines] == [
        "candidate, from float64",
        "reference, from float64",
        "candidate, from reference",
    ]
    assert found[1].shortest == ("0.209", "of the largest value", "candidate, from reference")
    assert found[1].note == "scheduler.step@step=3:output"


def test_the_price_of_a_repaired_candidate_stands_beside_it():
    before, after = made.cost(0.2, 0.1), made.cost(1e-6, 1e-6)
    found = [table.what for table in tables(before | {"repaired": after})]
    assert found[4:] == [f"repaired, {what}" for what in found[:4]]


@pytest.mark.parametrize(("limit", "within"), [(1e-5, True), (1e-6, False), (None, None)])
def test_a_limit_beside_the_distances_is_judged(limit, within):
    entry = {"address": "a", "between": made.distance(2e-6)} | ({} if limit is None else {"limit": limit})
    assert tables({"image": {"float32": entry}})[0].within is within


def test_a_distance_that_could_not_be_measured_is_said():
    (found,) = tables({"image": {"float32": {"address": "postprocess:output", "candidate": None}}})
    assert "not measured" in found.told


@pytest.mark.parametrize("value", [0.5, "none", {"psnr_db": 31.0}, {}, None])
def test_any_other_form_is_shown_as_it_is(value):
    for found in tables({"image": value}):
        assert found.told.startswith("image")
        assert len(found.shortest) == 3
