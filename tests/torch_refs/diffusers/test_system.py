"""A system: hooks leave no trace, other types work, and every check can say no."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from parity.case import load  # noqa: E402
from parity.errors import AddressError, CaseError, InputError, ParityError  # noqa: E402
from parity.record import Options, find, record  # noqa: E402
from parity.taps import Digests, Taps  # noqa: E402
from tests.torch_refs.support import Loaded, Memory, ignore, relative  # noqa: E402
from torch_refs.diffusers.functions import module_paths  # noqa: E402
from torch_refs.diffusers.reference import load_pipeline, reference  # noqa: E402
from torch_refs.diffusers.system import DiffusersSystem  # noqa: E402

pytestmark = pytest.mark.torch


class _Meddling(DiffusersSystem):
    """A recorder whose hooks change a value."""

    def run(self, taps, progress):
        """Nudge one module's output while there are taps."""
        if taps is None:
            return super().run(taps, progress)
        handle = self.pipeline.unet.conv_in.register_forward_hook(lambda _module, _inputs, output: output * (1 + 1e-6))
        try:
            return super().run(taps, progress)
        finally:
            handle.remove()


class _Restless(torch.nn.Module):
    """An activation with a draw of its own."""

    def forward(self, x):
        """Add noise."""
        return torch.nn.functional.silu(x) + 1e-3 * torch.rand_like(x)


def _state(pipeline):
    """Return everything that recording could leave behind."""
    owners = (pipeline, pipeline.scheduler, pipeline.vae, pipeline.image_processor)
    hooks = sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in module_paths(pipeline).values()
    )
    from diffusers.pipelines.stable_diffusion_xl import pipeline_stable_diffusion_xl as source

    names = ("encode_prompt", "prepare_latents", "set_timesteps", "scale_model_input", "step", "decode", "postprocess")
    shadows = [name for owner in owners for name in names if name in vars(owner)]
    switches = (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.get_num_threads())
    return hooks, shadows, type(pipeline.tokenizer), source.randn_tensor, switches


def test_everything_hooked_is_put_back(system, pipeline):
    system.run(None, ignore)  # transformers installs its own hooks at the first call
    before = _state(pipeline)
    system.run(Taps(Digests()), ignore)
    assert _state(pipeline) == before
    assert before[1] == []


def test_everything_hooked_is_put_back_after_an_exception(system, pipeline):
    system.run(None, ignore)
    before = _state(pipeline)

    class Full(Digests):
        """A sink that fails in the middle of the UNet."""

        def tensor(self, address, array, **kwargs):
            if address.startswith("unet.mid_block"):
                message = "disk full"
                raise OSError(message)
            super().tensor(address, array, **kwargs)

    with pytest.raises(OSError, match="disk full"):
        system.run(Taps(Full()), ignore)
    assert _state(pipeline) == before
    assert system.run(Taps(Digests()), ignore).finals == system.run(None, ignore).finals


def test_a_recorder_that_changes_a_value_is_not_neutral(pipeline, resolved, tmp_path):
    system = _Meddling(pipeline, resolved.case, "float32")
    checks = record(resolved, Loaded(system), tmp_path / "trace", Options(dtypes=("float32",))).manifest.checks
    assert checks.neutral is False
    assert checks.repeatable is True


def test_a_module_that_draws_by_itself_does_not_repeat(system, pipeline, resolved, tmp_path):
    pipeline.unet.conv_act = _Restless()
    checks = record(resolved, Loaded(system), tmp_path / "trace", Options(dtypes=("float32",))).manifest.checks
    assert checks.repeatable is False
    assert 1e-4 < checks.repeat_max_abs["unet.conv_act@step=0:output"] < 2e-3
    assert "unet.conv_in@step=0:output" not in checks.repeat_max_abs
    assert checks.repeat_max_abs["postprocess:output"] > 0


def test_an_island_that_is_not_lifted_is_named_and_marked(system):
    system.run(Taps(Digests()), ignore)
    del system._twin.unet.time_proj.forward
    sink = Memory()
    islands = system.twin(Taps(sink), ignore)
    assert all(island.dtype == "float32" for island in islands)
    inside = [island for island in islands if island.path == "unet.time_proj"]
    assert {island.file.split("/")[-1] for island in inside} == {"embeddings.py"}
    assert {island.function for island in inside} == {"get_timestep_embedding"}
    assert "aten.exp.default" in {island.operator for island in inside}
    consumed = [island for island in islands if island not in inside]
    assert [(island.path, island.operator) for island in consumed] == [("unet", "aten._to_copy.default")]
    assert "unet.time_proj@step=0,call=0:output" in sink.islands
    assert "unet@step=0,call=0:output.0" in sink.islands
    assert "unet.conv_in@step=0,call=0:output" not in sink.islands


def test_an_island_in_a_named_function_is_found(system):
    system.run(Taps(Digests()), ignore)
    scheduler = system._twin.scheduler
    lifted = scheduler.step

    def narrow(model_output, timestep, sample, **kwargs):
        result = lifted(model_output, timestep, sample, **kwargs)
        return (result[0].to(torch.float32).to(torch.float64),)

    scheduler.step = narrow
    try:
        islands = system.twin(Taps(Memory()), ignore)
    finally:
        scheduler.step = lifted
    assert {(island.path, island.function) for island in islands} == {("scheduler.step", "narrow")}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_are_recorded_with_their_twin(folder, tmp_path, dtype):
    small = load(folder / "case.toml", {"sampling.steps": 2, "size.height": 32})
    trace = record(small, reference, tmp_path / "trace", Options(dtypes=(dtype, "float64")))
    assert trace.manifest.checks.neutral is True
    assert trace.manifest.policy == dtype
    working, forced = trace.run(dtype), trace.run("forced")
    assert working.record("unet.conv_in@step=0:output").dtype == dtype
    assert working.record("vae.decode:output").dtype == ("float32" if dtype == "float16" else "bfloat16")
    step = 2.0**-10 if dtype == "float16" else 2.0**-7
    for address in (
        "unet.conv_in@step=1:output",
        "text_encoder_2.text_projection@call=0:output",
        "unet@step=1:output.0",
    ):
        assert step / 100 < relative(working.wide(address), forced.wide(address)) < 10 * step
    np.testing.assert_array_equal(
        trace.run("float64").wide("prepare_latents:input.noise"), working.wide("prepare_latents:input.noise")
    )
    assert trace.manifest.weights["unet.conv_in:weight"].dtype == dtype
    assert trace.manifest.islands == []


def test_taps_and_steps_pick_what_is_recorded(system, resolved, tmp_path):
    trace = record(
        resolved,
        Loaded(system),
        tmp_path / "trace",
        Options(taps=r"unet\.conv_in.*|text_encoder_2\.text_projection.*:output", steps=[0, 2]),
    )
    wanted = {f"unet.conv_in@step={step}:{port}" for step in (0, 2) for port in ("input.input", "output")}
    projected = {f"text_encoder_2.text_projection@call={call}:output" for call in (0, 1)}
    assert set(trace.run("float32")) == set(trace.run("float64")) == wanted | projected
    # text_projection was recorded without its input, so nothing can be said about it alone
    assert set(trace.run("forced")) == {f"unet.conv_in@step={step}:output" for step in (0, 2)}
    assert trace.manifest.checks.repeatable is True


def test_a_pattern_that_matches_nothing_is_an_error(system, resolved, tmp_path):
    with pytest.raises(InputError, match="matches no address"):
        record(resolved, Loaded(system), tmp_path / "trace", Options(dtypes=("float32",), taps=r"unet\.conv_inn.*"))


def test_a_pattern_that_keeps_encode_prompt_without_the_encoders_is_refused_before_anything_is_written(
    folder, tmp_path
):
    short = load(folder / "case.toml", {"sampling.steps": 1, "size.height": 32})
    with pytest.raises(AddressError, match="not the output of text_encoder_2 that it joins"):
        record(
            short, reference, tmp_path / "trace", Options(dtypes=("float32",), taps=r"encode_prompt.*|text_encoder@.*")
        )
    assert not (tmp_path / "trace").exists()


def test_without_guidance_there_is_one_half_and_no_guidance(folder, tmp_path):
    plain = load(folder / "case.toml", {"sampling.guidance": 1.0, "sampling.steps": 1, "size.height": 32})
    trace = record(plain, reference, tmp_path / "trace")
    run = trace.run("float32")
    assert "text_encoder:output.last_hidden_state" in run
    assert not any(address.startswith("guidance") for address in run)
    assert run.record("unet@step=0:output.0").shape[0] == 2
    assert trace.manifest.checks.repeatable is True


def test_a_case_without_negative_prompts_gets_zeros_as_sdxl_does(folder, tmp_path):
    plain = load(folder / "case.toml", {"prompt.negative": [], "sampling.steps": 1, "size.height": 32})
    trace = record(plain, reference, tmp_path / "trace")
    for run in ("float32", "float64", "forced", "steps"):
        assert not trace.run(run).wide("encode_prompt:output.negative_prompt_embeds").any()
        assert trace.run(run).wide("encode_prompt:output.prompt_embeds").any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampling.sampler": "EulerAncestrel"}, "did you mean 'EulerAncestral'"),
        ({"sampling.eta": 0.7}, "sampling.eta has no effect on EulerAncestral of diffusers; it takes no such setting"),
        ({"sampling.sampler": "DDIM", "sampling.karras": True}, "has no effect on DDIM of diffusers; it takes eta"),
        ({"sampling.discretization": "LegacyDDPM"}, "the reference diffusers has DiffusersDDPM"),
        ({"image.strength": 0.5}, r"the reference diffusers is text to image"),
        ({"model.folder": "."}, "no model_index.json"),
        ({"model.folder": "elsewhere"}, "is not there"),
    ],
)
def test_a_case_that_cannot_be_loaded_is_one_clear_error(folder, tmp_path, change, message):
    with pytest.raises(CaseError, match=message):
        record(load(folder / "case.toml", change), reference, tmp_path / "trace")
    assert not (tmp_path / "trace").exists()


def test_a_damaged_folder_is_one_clear_error(folder, tmp_path):
    import shutil

    shutil.copytree(folder / "tiny", tmp_path / "tiny")
    (tmp_path / "tiny" / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"cut")
    with pytest.raises(CaseError, match="cannot be read as an SDXL pipeline"):
        load_pipeline(load(folder / "case.toml", {"model.folder": str(tmp_path / "tiny")}), "cpu", "float32")


def test_a_device_that_is_not_there_is_an_error(resolved):
    with pytest.raises(InputError, match="is not a device"):
        load_pipeline(resolved, "tpu", "float32")
    with pytest.raises(InputError, match="is not there"):
        load_pipeline(resolved, "cuda:77", "float32")


def test_a_twin_that_draws_something_else_is_an_error(system):
    system.run(Taps(Digests()), ignore)
    system._drawn.draws.popitem()
    with pytest.raises(ParityError, match="wants shape"):
        system.twin(Taps(Digests()), ignore)


def test_the_reference_is_found_by_module_and_attribute():
    assert find("torch_refs.diffusers.reference:reference") is reference
