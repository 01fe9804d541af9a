"""Cases: what is read, from where, and what is refused."""

import typing
from pathlib import Path

import msgspec
import pytest

from parity import case as cases
from parity.errors import CaseError

TINY = Path(__file__).parents[2] / "fixtures" / "cases" / "tiny.toml"
MINIMAL = 'schema = 1\n[model]\nfolder = "m"\n[prompt]\npositive = ["a"]\n'


def write(folder, text):
    path = folder / "case.toml"
    path.write_text(text)
    return path


def test_the_tiny_case_closes_the_hiding_places_of_sizes_and_prompts():
    case = cases.load(TINY).case
    size = case.size
    pairs = {(size.height, size.width), size.original, size.target, size.crop}
    assert len(pairs) == 4
    assert size.height != size.width
    assert len(set(case.prompt.positive)) == 2
    assert any(case.prompt.negative)
    assert case.sampling.steps >= 3


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("[sampling]\nstep = 4\n", ["'step'", "did you mean 'steps'?", "[sampling]"]),
        ("[sampler]\nsteps = 4\n", ["'sampler'", "did you mean 'sampling'?"]),
        (
            '[[tolerance]]\naddress = "x"\nrequire = "max_abs <= 1"\nreasons = "r"\n',
            ["'reasons'", "did you mean 'reason'?"],
        ),
        ("[size]\nheight = 100\n", ["size.height is 100", "multiple of 8"]),
        ('[precision]\ndtype = "float31"\n', ["float31"]),
        ("[sampling]\nsteps = 0\n", ["sampling.steps is 0"]),
        ("[sampling]\nsteps = 10001\n", ["sampling.steps is 10001", "it must be 1 to 10,000"]),
        ("[sampling]\nsteps = 1e3\n", ["sampling.steps", "int"]),
        ("[sampling]\nguidance = nan\n", ["sampling.guidance is nan", "it must be 0 to 1,000"]),
        ("[sampling]\nguidance = inf\n", ["sampling.guidance is inf"]),
        ("[sampling]\nguidance = -1\n", ["sampling.guidance is -1"]),
        ("[sampling]\nseed = -1\n", ["sampling.seed is -1", "it must be 0 to 9,223,372,036,854,775,807"]),
        ("[sampling]\nseed = 9223372036854775808\n", ["sampling.seed is 9223372036854775808"]),
        ("[sampling]\neta = nan\n", ["sampling.eta is nan"]),
        ("[sampling]\ns_noise = inf\n", ["sampling.s_noise is inf"]),
        ("[sampling]\neta = -0.1\n", ["sampling.eta is -0.1", "it must be 0 to 1,000"]),
        ("[size]\nheight = 0\n", ["size.height is 0", "positive multiple of 8"]),
        ("[size]\nwidth = -8\n", ["size.width is -8"]),
        ("[size]\nwidth = 65544\n", ["size.width is 65544", "at most 65,536"]),
        ("[size]\ncrop = [-1, 0]\n", ["size.crop is -1", "it must be 0 to 65,536"]),
        ("[size]\noriginal = [0, 8]\n", ["size.original is 0", "it must be 1 to 65,536"]),
        ("[size]\ntarget = [8, 1048576]\n", ["size.target is 1048576"]),
        ("[encode]\nwidth = 12\n", ["encode.width is 12"]),
        ("[encode]\nseed = -3\n", ["encode.seed is -3"]),
        ("[image]\nseed = -3\n", ["image.seed is -3"]),
        ("[image]\nstrength = nan\n", ["image.strength is nan"]),
        ("[sampling]\ns_noise = -1.0\n", ["sampling.s_noise is -1.0"]),
        ("[image]\nstrength = 0.0\n", ["image.strength is 0.0", "above 0"]),
        ("[image]\nstrengths = 0.5\n", ["'strengths'", "did you mean 'strength'?"]),
        ('[[exclude]]\naddress = "x"\nreason = "because"\n', ["because"]),
    ],
)
def test_a_wrong_key_or_value_is_one_error_that_names_it(tmp_path, extra, words):
    with pytest.raises(CaseError) as caught:
        cases.load(write(tmp_path, MINIMAL + extra))
    assert all(word in str(caught.value) for word in words), caught.value
    assert "case.toml" in str(caught.value)


def test_negative_prompts_are_as_many_as_positive_ones(tmp_path):
    text = MINIMAL.replace('["a"]', '["a", "b"]\nnegative = ["c"]')
    with pytest.raises(CaseError, match="1 texts"):
        cases.load(write(tmp_path, text))


def test_the_command_line_wins_over_environment_file_and_default(tmp_path, monkeypatch):
    path = write(tmp_path, MINIMAL + "[sampling]\nsteps = 4\nseed = 1\n")
    monkeypatch.setenv("PARITY_SAMPLING_SEED", "2")
    monkeypatch.setenv("PARITY_PRECISION_DTYPE", "float16")
    resolved = cases.load(path, {"precision.dtype": "float64"})
    assert resolved.case.sampling.seed == 2
    assert resolved.case.precision.dtype == "float64"
    assert resolved.sources["sampling.seed"] == "environment"
    assert resolved.sources["precision.dtype"] == "command line"
    assert resolved.sources["sampling.steps"] == str(path)
    assert resolved.sources["sampling.guidance"] == "default"


def test_missing_weights_are_an_error_that_names_the_folder(tmp_path):
    resolved = cases.load(write(tmp_path, MINIMAL))
    with pytest.raises(CaseError, match="m is not there"):
        _ = resolved.model_path


def test_weights_are_found_in_a_folder_above_the_case(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert cases.load(write(tmp_path / "a" / "b", MINIMAL)).model_path == tmp_path / "m"


def test_a_single_file_comes_with_its_configuration(tmp_path):
    text = MINIMAL.replace('folder = "m"', 'file = "x.safetensors"')
    with pytest.raises(CaseError, match=r"model\.file and model\.config go together"):
        cases.load(write(tmp_path, text))
    both = cases.load(write(tmp_path, text.replace("[prompt]", 'config = "y.yaml"\n[prompt]')))
    (tmp_path / "x.safetensors").touch()
    assert both.model_path == tmp_path / "x.safetensors"
    with pytest.raises(CaseError, match=r"y\.yaml is not there"):
        _ = both.config_path


def test_an_image_is_found_like_weights_and_a_case_without_one_has_none(tmp_path):
    assert cases.load(write(tmp_path, MINIMAL)).image_path is None
    found = cases.load(write(tmp_path, MINIMAL + '[image]\nfile = "a.png"\n'))
    with pytest.raises(CaseError, match=r"a\.png is not there"):
        _ = found.image_path
    (tmp_path / "a.png").touch()
    assert found.image_path == tmp_path / "a.png"
    assert found.sources["image.file"].endswith("case.toml")


def test_a_file_that_is_no_toml_and_one_that_is_not_there_are_errors(tmp_path):
    with pytest.raises(CaseError, match="cannot be read as TOML"):
        cases.load(write(tmp_path, "schema = "))
    with pytest.raises(CaseError, match="is not there"):
        cases.load(tmp_path / "none.toml")


def test_a_setting_of_the_sampler_is_in_the_case_only_where_somebody_sets_it(tmp_path):
    import msgspec

    plain = cases.load(write(tmp_path, MINIMAL))
    assert set(msgspec.to_builtins(plain.case)["sampling"]) == {
        "sampler", "discretization", "steps", "guidance", "seed",
    }  # fmt: skip
    assert not {"sampling.eta", "sampling.s_noise", "sampling.karras"} & set(plain.sources)
    told = cases.load(write(tmp_path, MINIMAL + "[sampling]\neta = 0.7\nkarras = true\n"))
    assert told.case.sampling.eta == 0.7
    assert msgspec.to_builtins(told.case)["sampling"]["karras"] is True
    assert "sampling.eta" in told.sources


@pytest.mark.parametrize(
    ("taken", "message"),
    [
        ((), r"sampling\.eta has no effect on X; it takes no such setting"),
        (("karras", "s_noise"), "it takes karras and s_noise"),
    ],
)
def test_a_setting_that_the_sampler_does_not_take_is_refused(taken, message):
    sampling = cases.Sampling(eta=0.5)
    sampling.refuse(("eta",), "X")
    cases.Sampling().refuse((), "X")
    with pytest.raises(CaseError, match=message):
        sampling.refuse(taken, "X")


def test_a_case_of_a_model_without_a_prompt_keeps_what_is_set_and_no_defaults_of_diffusion(tmp_path, monkeypatch):
    monkeypatch.setenv("PARITY_SIZE_WIDTH", "64")
    path = write(tmp_path, 'schema = 1\n[model]\nfolder = "m"\n[sampling]\nsteps = 4\n')
    resolved = cases.load(path, {"sampling.seed": 7, "precision.dtype": "float16"})
    assert resolved.plain(()) == {
        "schema": 1,
        "model": {"folder": "m", "file": None, "config": None},
        "sampling": {"steps": 4, "seed": 7},
        "size": {"width": 64},
        "precision": {"dtype": "float16"},
        "exclude": [],
        "tolerance": [],
    }
    assert resolved.told(()) == {
        "model.folder": str(path), "model.file": "default", "model.config": "default", "sampling.steps": str(path),
        "sampling.seed": "command line", "size.width": "environment", "precision.dtype": "command line",
    }  # fmt: skip


def test_a_case_of_a_diffusion_model_keeps_every_default_and_needs_a_prompt(tmp_path):
    resolved = cases.load(write(tmp_path, MINIMAL))
    assert resolved.plain(cases.DIFFUSION) == msgspec.to_builtins(resolved.case)
    assert resolved.told(cases.DIFFUSION) == resolved.sources
    resolved.require(cases.DIFFUSION, "diffusers")
    without = cases.load(write(tmp_path, 'schema = 1\n[model]\nfolder = "m"\n'))
    without.require(("sampling",), "swirl")
    with pytest.raises(CaseError, match=r"the case has no \[prompt\], and the reference diffusers needs one"):
        without.require(cases.DIFFUSION, "diffusers")


def test_a_prompt_section_without_a_text_is_refused(tmp_path):
    with pytest.raises(CaseError, match=r"case\.toml: prompt\.positive is empty; give at least one prompt; the keys"):
        cases.load(write(tmp_path, MINIMAL.replace('["a"]', "[]")))


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "1" + "0" * 400, "1" + "0" * 5000])
def test_a_number_out_of_range_is_refused_from_the_environment_too(text, tmp_path, monkeypatch):
    monkeypatch.setenv("PARITY_SAMPLING_GUIDANCE", text)
    with pytest.raises(CaseError):
        cases.load(write(tmp_path, MINIMAL))


def test_every_number_of_a_case_has_a_range(tmp_path):
    for section in ("sampling", "size", "encode", "image"):
        struct = cases._SECTIONS[section]
        for field in msgspec.structs.fields(struct):
            if not {int, float}.isdisjoint(kinds(field.type)):
                for value in ("-1e300", "-1", "nan", str(1 << 70)):
                    pair = f"[{value}, {value}]" if "tuple" in str(field.type) else value
                    with pytest.raises(CaseError):
                        cases.load(write(tmp_path, f"{MINIMAL}[{section}]\n{field.name} = {pair}\n"))


def kinds(annotation):
    """The types that a field may have, those within tuples too."""
    inner = typing.get_args(annotation)
    return {annotation} if not inner else set().union(*map(kinds, inner))
