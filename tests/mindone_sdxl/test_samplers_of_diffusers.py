"""The samplers that diffusers has: each follows diffusers' formulas, and its recordings match in every mode."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mindone_sdxl.config import ScheduleConfig
from mindone_sdxl.schedule import make_schedule
from support import distance, widened

pytestmark = [pytest.mark.torch, pytest.mark.mindspore]
ROOT = Path(__file__).parents[2]
STEPS = 5
TRAINED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
# What SDXL base has in its folder.
STOCK = TRAINED | {
    "_class_name": "EulerDiscreteScheduler", "clip_sample": False, "interpolation_type": "linear",
    "num_train_timesteps": 1000, "prediction_type": "epsilon", "sample_max_value": 1.0, "set_alpha_to_one": False,
    "skip_prk_steps": True, "timestep_spacing": "leading", "trained_betas": None, "use_karras_sigmas": False,
}  # fmt: skip
SETTINGS = [
    ("EulerAncestral", {}, 1.0),
    ("EulerDiscrete", {}, None),
    ("EulerDiscrete", {"use_karras_sigmas": True}, None),
    ("EulerDiscrete", {"final_sigmas_type": "sigma_min"}, None),
    ("DDIM", {"clip_sample": False}, 0.0),
    ("DDIM", {"clip_sample": False, "set_alpha_to_one": False}, 0.7),
    ("DPMSolverMultistep", {}, None),
    ("DPMSolverMultistep", {"use_karras_sigmas": True}, None),
    ("DPMSolverMultistep", {"final_sigmas_type": "sigma_min", "lower_order_final": False}, None),
    ("DPMSolverMultistep", {"final_sigmas_type": "sigma_min", "euler_at_final": True}, None),
]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("name", "settings", "eta"), SETTINGS, ids=str)
def test_a_sampler_follows_the_formulas_of_diffusers_step_by_step(name, settings, eta, prediction, mindspore):
    import torch

    from mindone_sdxl.candidate.sampling import make_sampler, placed
    from mindone_sdxl.config import SDXLConfig
    from mindone_sdxl.pipeline import StableDiffusionXL
    from torch_refs.diffusers import samplers

    config = ScheduleConfig(prediction=prediction)
    scheduler = samplers.SAMPLERS[name].scheduler(
        **TRAINED, **settings, timestep_spacing="leading", prediction_type=prediction
    )
    form = samplers.SAMPLERS[name].form(scheduler.config, STEPS, eta or 0.0)
    told, sampling = samplers.attributes(scheduler, eta), {"sampler": name, "discretization": "DiffusersDDPM"}
    sampler = make_sampler(sampling, make_schedule(placed(sampling, config, told), STEPS, np.float64), told)
    assert distance(sampler.schedule.sigmas, form.sigmas) <= 1e-12
    assert distance(sampler.schedule.timesteps, form.timesteps) <= 1e-12
    assert abs(sampler.schedule.init_noise_sigma - form.initial) <= 1e-12
    assert sampler.uses_noise is samplers.SAMPLERS[name].drawing(eta or 0.0)
    pipeline = StableDiffusionXL.__new__(StableDiffusionXL)
    pipeline.config = SDXLConfig(schedule=config)
    denoiser = pipeline.denoiser(sampler.schedule)
    rng = np.random.default_rng(3)
    latents, outputs, noises = (
        widened(rng, 2, 4, 4, 3),
        widened(rng, STEPS, 2, 4, 4, 3),
        widened(rng, STEPS, 2, 4, 4, 3),
    )
    expected, ours, memory = torch.from_numpy(latents), mindspore.Tensor(latents), dict.fromkeys(("old_denoised",))
    for index, (output, noise) in enumerate(zip(outputs, noises, strict=True)):
        sigma = sampler.schedule.sigmas[index]
        assert abs(denoiser.timestep(sigma) - form.timesteps[index]) <= 1e-9
        assert distance(denoiser.network_input(ours, sigma), form.scaled(expected, index)) <= 1e-12
        given = torch.from_numpy(output)
        following = form.step(index, given, expected, torch.from_numpy(noise) if sampler.uses_noise else None, memory)
        memory, expected = form.remembered(index, given, expected), following
        ours = sampler.step(index, ours, denoiser.noise_pred(mindspore.Tensor(output), ours, sigma), noises)
        assert distance(ours, expected) <= 1e-12


# A folder, what a case sets, and where the recording's draws are.
RECORDED = {
    "EulerAncestral": ("stock", {"sampling.sampler": "EulerAncestral"}, True),
    "EulerDiscrete": ("stock", {"sampling.sampler": "EulerDiscrete"}, False),
    "EulerDiscrete-karras": ("v", {"sampling.sampler": "EulerDiscrete", "sampling.karras": True}, False),
    "DDIM": ("stock", {"sampling.sampler": "DDIM"}, False),
    "DDIM-eta": ("v", {"sampling.sampler": "DDIM", "sampling.eta": 0.7}, True),
    "DPMSolverMultistep": ("stock", {"sampling.sampler": "DPMSolverMultistep"}, False),
    "DPMSolverMultistep-karras": ("v", {"sampling.sampler": "DPMSolverMultistep", "sampling.karras": True}, False),
}
IN_BOTH_TYPES = {"EulerDiscrete", "DDIM-eta", "DPMSolverMultistep-karras"}  # one of each sampler
FUNCTIONS = (
    r"(tokenizer(_2)?|text_encoder(_2)?|encode_prompt|add_time_ids|scheduler\..*|prepare_latents|guidance"
    r"|vae\.(de|en)code|postprocess|unet)[@:].*"
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The least model in a folder as SDXL base has it, and in one that predicts velocities."""
    from torch_refs.tiny import main

    place = tmp_path_factory.mktemp("samplers")
    main([str(place / "stock"), "--least"])
    shutil.copytree(place / "stock", place / "v")
    for name, prediction in (("stock", "epsilon"), ("v", "v_prediction")):
        content = STOCK | {"prediction_type": prediction}
        (place / name / "scheduler" / "scheduler_config.json").write_text(json.dumps(content))
    return place


@pytest.fixture(scope="module")
def checkpoint(folders):
    """The model as a MindSpore checkpoint."""
    from mindone_sdxl.convert import convert

    convert(folders / "stock", folders / "least.ckpt")
    return folders / "least.ckpt"


@pytest.fixture(scope="module")
def traces(folders):
    """Recordings by name, each made when it is first asked for."""
    from parity import case as cases
    from parity.record import Options, record
    from torch_refs.diffusers.reference import reference

    made = {}

    def trace(name):
        if name not in made:
            folder, changes, _ = RECORDED[name]
            small = {
                "model.folder": str(folders / folder), "sampling.steps": 3, "size.height": 32, "size.width": 16,
                "prompt.positive": ["two foxes"], "prompt.negative": ["text"], "encode.height": 16, "encode.width": 24,
            }  # fmt: skip
            resolved = cases.load(ROOT / "fixtures" / "cases" / "tiny.toml", small | changes)
            made[name] = record(resolved, reference, folders / "traces" / name, Options(taps=FUNCTIONS))
        return made[name]

    return trace


def replayed(trace, out, checkpoint, **options):
    """Replay a recording and compare."""
    from mindone_sdxl.candidate import candidate
    from parity.compare import compare
    from parity.replay import Options, replay

    own = replay(trace.folder, candidate, out, Options(only=FUNCTIONS, weights=checkpoint, **options), lambda *_: None)
    return compare(trace, [own])


@pytest.mark.parametrize("name", [name for name in RECORDED if name != "EulerAncestral"])  # the main job has that one
def test_a_recording_of_the_sampler_matches_in_every_mode(name, traces, checkpoint, tmp_path, mindspore):
    trace = traces(name)
    assert (trace.manifest.checks.neutral, trace.manifest.checks.repeatable, trace.manifest.islands) == (True, True, [])
    draws = RECORDED[name][2]
    for run in ("float32", "float64", "steps"):
        assert ("scheduler.step@step=1:input.noise" in trace.run(run)) is draws
    assert (trace.folder / "init_latent.npy").exists()
    assert (trace.folder / "init_noise_scheduler.npy").exists() is draws
    dtypes = ("float64", "float32") if name in IN_BOTH_TYPES else ("float64",)
    result = replayed(trace, tmp_path / "own", checkpoint, dtypes=dtypes)
    wrong = [(each.mode, each.dtype, each.address, each.rel_l2) for each in result.pairs if each.verdict != "MATCH"]
    assert result.verdict == "MATCH", wrong[:5]
    measured = {(pair.dtype, pair.mode) for pair in result.pairs if pair.mode != "audit"}
    assert measured == {(dtype, mode) for dtype in dtypes for mode in ("free", "steps", "layers")}


def _other_eta(monkeypatch):
    from mindone_sdxl.samplers import EulerAncestral

    monkeypatch.setattr(EulerAncestral.__init__, "__defaults__", (0.9, 1.0))
    return {"eta"}


def _no_karras(monkeypatch):
    from mindone_sdxl.candidate import system

    placed = system.placed
    monkeypatch.setattr(system, "placed", lambda sampling, schedule, _settings: placed(sampling, schedule, {}))
    return set()


def _no_memory(monkeypatch):
    from mindone_sdxl.samplers import DPMSolverMultistep

    monkeypatch.setattr(DPMSolverMultistep, "_first_order", lambda *_: True)
    return set()


@pytest.mark.parametrize(
    ("name", "fault", "address"),
    [
        ("EulerAncestral", _other_eta, "scheduler.step"),
        ("EulerDiscrete-karras", _no_karras, "scheduler.set_timesteps"),
        ("DPMSolverMultistep-karras", _no_karras, "scheduler.set_timesteps"),
        ("DPMSolverMultistep", _no_memory, "scheduler.step"),
    ],
)
def test_a_wrong_sampler_is_a_mismatch_at_its_place(
    name, fault, address, traces, checkpoint, tmp_path, monkeypatch, mindspore
):
    from mindone_sdxl.candidate import system

    ignored = fault(monkeypatch)
    make = system.make_sampler
    monkeypatch.setattr(
        system, "make_sampler", lambda sampling, schedule, settings: make(
            sampling, schedule, {key: value for key, value in settings.items() if key not in ignored}
        )
    )  # fmt: skip
    result = replayed(traces(name), tmp_path / "own", checkpoint, modes=("layers",), dtypes=("float64",))
    wrong = {pair.address.split("@")[0].split(":")[0] for pair in result.pairs if pair.verdict == "MISMATCH"}
    assert wrong == {address} or (address == "scheduler.set_timesteps" and address in wrong)
    assert result.verdict == "MISMATCH"
    assert result.first_divergence.address.startswith(address)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampler": "EulerDiscret"}, "'EulerDiscret', did you mean 'EulerDiscrete'.*mindone_sdxl has EulerEDM"),
        ({"discretization": "Karras"}, "sampling.discretization is 'Karras'"),
    ],
)
def test_a_sampler_that_the_port_has_not_is_named(change, message):
    from mindone_sdxl.candidate.sampling import row_of
    from parity.errors import AlignmentError
    from parity.trace import Manifest

    case = {"sampling": {"sampler": "EulerDiscrete", "discretization": "DiffusersDDPM"} | change}
    with pytest.raises(AlignmentError, match=message):
        row_of(Manifest(side="reference", name="x", case_digest="", case=case))


def test_a_spacing_that_the_port_has_not_is_refused():
    from mindone_sdxl.candidate.sampling import row_of
    from parity.errors import AlignmentError
    from parity.trace import Manifest

    case = {"sampling": {"sampler": "EulerDiscrete", "discretization": "DiffusersDDPM"}}
    attributes = {"scheduler": {"timestep_spacing": "trailing"}}
    with pytest.raises(AlignmentError, match="timestep_spacing 'trailing'; mindone_sdxl has 'leading' alone"):
        row_of(Manifest(side="reference", name="x", case_digest="", case=case, attributes=attributes))
