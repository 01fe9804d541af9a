"""A border that differs, and what is said of it."""

from tests.parity.diagnose.faults import BORDERED, IMAGE, causes, random, traces


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
