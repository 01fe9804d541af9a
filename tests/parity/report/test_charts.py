"""Figures are valid Plotly figures and show the numbers of the pairs."""

import json

import pytest

from parity.report import charts, columns
from parity.result import Pair

from . import made


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    return {
        kind: (result := made.make(kind, folder), charts.figures(result))
        for kind in ("match", "local", "incomplete", "hostile")
    }


def curve(figure, name):
    """A curve of a figure, with the names of modules as the page fills them in."""
    found = next(trace for trace in figure["data"] if trace["name"] == name)
    names = figure["layout"].get("meta")
    return found if names is None else {"text": [names[place] for place in found["x"]], **found}


@pytest.mark.parametrize("kind", ["match", "local", "incomplete", "hostile"])
def test_every_figure_is_one_that_plotly_accepts(kind, drawn):
    graph_objects = pytest.importorskip("plotly.graph_objects")
    for by_question in drawn[kind][1].values():
        for figure in by_question.values():
            graph_objects.Figure(json.loads(columns.page_json(figure)))


def test_free_and_layer_replay_and_the_limit_stand_in_one_picture(drawn):
    names = [trace["name"] for trace in drawn["local"][1]["depth"]["precision"]["data"]]
    assert names == [
        "free replay",
        "steps replay",
        "layers replay",
        "limit: 3 x floor",
        "measured floor",
        "fails by itself",
    ]


def test_a_local_fault_is_one_peak_of_the_layer_line_and_a_plateau_of_the_free_one(drawn):
    figure = drawn["local"][1]["depth"]["semantics"]
    layers, free = curve(figure, "layers replay"), curve(figure, "free replay")
    above = [path for path, value in zip(layers["text"], layers["y"], strict=True) if value > 1e-9]
    assert above == ["unet.down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0"]
    assert sum(value > 1e-9 for value in free["y"]) > 200
    assert curve(figure, "fails by itself")["text"] == above


def test_modules_stand_in_the_order_of_execution(drawn):
    result, figures = drawn["match"]
    text = curve(figures["depth"]["semantics"], "layers replay")["text"]
    order = {
        pair.address.partition("@")[0].partition(":")[0]: pair.order
        for pair in reversed(result.pairs)
        if pair.mode == "layers"
    }
    assert [order[path] for path in text] == sorted(order[path] for path in text)


def test_the_heat_of_a_local_fault_is_one_row_over_the_limit(drawn):
    heat = drawn["local"][1]["heat"]["precision"]["data"][0]
    hot = [path for path, row in zip(heat["y"], heat["z"], strict=True) if any(value > 0 for value in row)]
    assert hot == ["unet.down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0"]
    assert heat["x"] == [0, 1, 2]


def test_steps_show_the_latents_of_every_replay(drawn):
    figure = drawn["match"][1]["steps"]["semantics"]
    assert {f"{mode}: latents after the step" for mode in ("free", "steps", "layers")} <= {
        trace["name"] for trace in figure["data"]
    }
    assert curve(figure, "free: latents after the step")["x"] == [0, 1, 2, 3]


@pytest.mark.parametrize(("value", "shown"), [(0.0, None), ("inf", 1e9), ("nan", 1e9), (0.5, 0.5)])
def test_what_a_log_axis_cannot_hold_stands_at_its_end_or_is_not_drawn(value, shown):
    pair = Pair(
        address="unet@step=0:output",
        stage="unet",
        question="semantics",
        mode="layers",
        verdict="MISMATCH",
        dtype="float64",
        rel_l2=value,
    )
    figure = charts.figures(made.base([pair]))["depth"]["semantics"]
    assert curve(figure, "layers replay")["y"] == [shown]


def test_an_island_is_marked():
    pair = Pair(
        address="unet.time_proj@step=0:output",
        stage="unet",
        question="semantics",
        mode="layers",
        verdict="MATCH",
        dtype="float64",
        rel_l2=1e-8,
        flags=["island"],
    )
    assert curve(charts.figures(made.base([pair]))["depth"]["semantics"], "float32 island")["text"] == [
        "unet.time_proj"
    ]


def test_nothing_to_show_draws_nothing():
    assert charts.figures(made.make("empty", None)) == {}
