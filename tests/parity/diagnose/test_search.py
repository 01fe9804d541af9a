"""Every hypothesis names its own fault from the two traces, and stays silent on another's."""

import pytest

from tests.parity.diagnose.faults import FAULTS, IMAGE, causes, traces


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_and_located(tmp_path, name):
    modules, attributes, inputs, reference, candidate, place = FAULTS[name]
    (cause,) = causes(*traces(tmp_path, modules, attributes, inputs, reference, candidate))
    assert (cause.slug, cause.address) == (name.partition(" ")[0], place)
    assert cause.evidence
    assert not cause.confirmed


@pytest.mark.parametrize("name", FAULTS)
def test_without_a_fault_nothing_is_named(tmp_path, name):
    modules, attributes, inputs, reference, _, _ = FAULTS[name]
    assert causes(*traces(tmp_path, modules, attributes, inputs, reference, reference)) == []


def test_a_module_that_contains_the_fault_is_no_suspect(tmp_path):
    reference = {
        "vae.decoder.conv@call=0:output": IMAGE,
        "vae.decoder:output": 2 * IMAGE,
        "vae.decode:output": 2 * IMAGE,
    }
    wrong = 2.02 * IMAGE
    candidate = {
        "vae.decoder.conv@call=0:output": 1.01 * IMAGE,
        "vae.decoder:output": wrong,
        "vae.decode:output": wrong,
    }
    (cause,) = causes(*traces(tmp_path, {}, {}, {}, reference, candidate))
    assert cause.address == "vae.decoder.conv"


def settings(folder, reference, candidate, outputs=(IMAGE, 2 * IMAGE + 1)):
    """Return the causes of two sides that report other settings, with these outputs at every path."""
    sides = ({f"{path}@step=0:output": output for path in reference} for output in outputs)
    return causes(*traces(folder, {}, reference, {}, *sides, reported=candidate))


def test_a_setting_without_effect_is_no_cause(tmp_path):
    sides = {"unet.a": {"kind": "new"}}, {"unet.a": {"kind": "old"}}
    assert settings(tmp_path / "without", *sides, (IMAGE, IMAGE)) == []
    (cause,) = settings(tmp_path / "with", *sides)
    assert (cause.slug, cause.address, cause.confidence) == ("attribute-differs", "unet.a", 0.9)
    assert cause.evidence == ["attribute kind is 'new' in the reference and 'old' in the candidate, at unet.a"]
    assert cause.repair == "set kind to 'new' in unet.a"


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("approximate", "activation-variant"), ("activation", "activation-variant"), ("eps", "norm-epsilon"),
        ("num_groups", "norm-groups"), ("scale", "attention-scale"), ("heads", "attention-heads"), ("pad", "padding"),
        ("pad_value", "padding"), ("affine", "attribute-differs"),
    ],
)  # fmt: skip
def test_a_setting_is_of_the_kind_that_its_name_says(tmp_path, name, slug):
    (cause,) = settings(tmp_path, {"unet.a": {name: 3}}, {"unet.a": {name: 4}})
    assert (cause.slug, cause.edits) == (slug, [{"kind": "attribute", "path": "unet.a", "name": name, "value": 3}])


def test_a_setting_that_differs_alike_at_many_places_is_one_cause_and_otherwise_several(tmp_path):
    paths = [f"unet.{block}.{number}.norm" for block in "abcd" for number in range(2)]
    theirs = {path: {"groups": 4 if path.startswith("unet.d.1") else 3} for path in paths}
    found = settings(tmp_path, {path: {"groups": 2} for path in paths}, theirs)
    assert [(cause.address, len(cause.others)) for cause in found] == [("unet.a.0.norm", 6), ("unet.d.1.norm", 0)]
    assert found[0].evidence[0].endswith("at 7 places (unet.a.*.norm, unet.b.*.norm, unet.c.*.norm, …)")
    assert found[0].repair == "set groups to 2 in unet.a.0.norm and 6 more"
    assert [edit["path"] for edit in found[0].edits] == [found[0].address, *found[0].others]


def test_modules_that_the_same_repair_is_for_are_one_cause_with_all_edits(tmp_path):
    def sides(factor):
        return {f"unet.{name}@step=0:output": factor * IMAGE for name in "ab"} | {"vae.decode:output": IMAGE + factor}

    both = causes(*traces(tmp_path, {}, {}, {}, sides(1.0), sides(1.5)))
    assert [(cause.slug, cause.address, cause.others) for cause in both] == [
        ("scaled-output", "unet.a", ["unet.b"]),
        ("shifted-output", "vae.decode", []),
    ]


def test_what_contains_an_audited_fault_is_explained_by_it(tmp_path):
    reference = {"unet.a.norm@step=0:output": IMAGE, "unet.b@step=0:output": IMAGE}
    candidate = {"unet.a.norm@step=0:output": 1.5 * IMAGE, "unet.b@step=0:output": 1.5 * IMAGE}
    attributes = {"unet.a.norm": {"kind": 1}}
    found = causes(*traces(tmp_path, {}, attributes, {}, reference, candidate, reported={"unet.a.norm": {"kind": 2}}))
    assert [(cause.slug, cause.address) for cause in found] == [
        ("attribute-differs", "unet.a.norm"),
        ("scaled-output", "unet.b"),
    ]
