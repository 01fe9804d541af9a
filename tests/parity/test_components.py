"""Stages of components, what a function runs, and what a trace without a declaration means."""

from __future__ import annotations

import pytest

from parity.components import UNDECLARED, Components
from parity.errors import AddressError
from parity.trace import Manifest


@pytest.mark.parametrize(
    ("path", "port", "stage"),
    [
        ("unet.mid_block.resnets.0", "output", "unet"),
        ("text_encoder_2.text_projection", "output", "conditioning"),
        ("text_encoder_2.text_projection", "weight", "weights"),
        ("unet.conv_norm_out", "attribute.eps", "attributes"),
        ("scheduler.step", "input.noise", "sampler"),
        ("scheduler.set_timesteps", "output.sigmas", "schedule"),
        ("vae.decode", "output", "vae"),
    ],
)
def test_the_stage_follows_from_path_and_port_in_a_trace_that_declares_nothing(path, port, stage):
    manifest = Manifest(side="reference", name="a", case={}, case_digest="")
    assert manifest.program is UNDECLARED
    assert manifest.program.stage_of(path, port) == stage


def test_the_longest_component_that_a_path_begins_with_counts():
    program = Components(stages={"net": "unet", "net.head": "image", "nets": "vae"})
    assert [program.stage_of(path) for path in ("net", "net.body.0", "net.head", "net.head.0", "nets.a")] == [
        "unet", "unet", "image", "image", "vae",
    ]  # fmt: skip


def test_what_contains_a_path_are_what_it_begins_with_the_functions_that_run_it_and_the_whole():
    program = Components(stages={"vae": "vae"}, functions={"vae.decode": ("vae.decoder",), "encode": ("vae.encoder",)})
    assert program.containers("vae.decoder.mid.0") == {
        "pipeline",
        "vae",
        "vae.decoder",
        "vae.decoder.mid",
        "vae.decode",
    }
    assert program.containers("vae.decoder") == {"pipeline", "vae", "vae.decode"}
    assert program.containers("vae.decode") == {"pipeline", "vae"}
    assert program.containers("pipeline") == set()
    for path in ("vae.decoder.mid.0", "vae.encoder", "vae.decode"):
        assert all(program.contains(each, path) for each in program.containers(path))


def test_a_path_of_no_component_is_an_error_that_names_it_and_the_stages():
    with pytest.raises(AddressError, match=r"'netting.a' belongs to no component .* declares net; .* weights, attr"):
        Components(stages={"net": "unet"}).stage_of("netting.a")


def test_a_function_contains_the_modules_that_it_is_declared_to_run_and_a_module_what_is_below_it():
    program = Components(stages={}, functions={"vae.decode": ("vae.decoder",)})
    contained = [("vae", "vae.decoder"), ("vae.decode", "vae.decoder"), ("vae.decode", "vae.decoder.conv_in")]
    others = [("vae.decode", "vae.encoder"), ("vae.decode", "vae.decoders"), ("vae", "vae"), ("pipeline", "pipeline")]
    assert all(program.contains(*each) for each in [*contained, ("pipeline", "anything")])
    assert not any(program.contains(*each) for each in others)


def test_a_manifest_keeps_what_is_declared():
    manifest = Manifest(
        side="reference", name="a", case={}, case_digest="", components={"net": "unet"}, functions={"net.go": ["body"]}
    )
    assert manifest.program.stage_of("net.a") == "unet"
    assert manifest.program.contains("net.go", "body.0")
