"""What became of a parameter, and parameters that are absent for the same reason."""

import pytest

from parity.trace import WeightDigests
from tests.parity.diagnose.faults import IMAGE, causes, traces

DIGESTS = {"identity/own": "a", "transpose/own": "b", "flip1/own": "c", "identity/float16": "d"}


@pytest.mark.parametrize(
    ("digest", "initial", "slug"),
    [
        ("b", False, "transposed-weight"),
        ("c", False, "flipped-weight"),
        ("d", False, "half-precision-weight"),
        ("e", False, "swapped-weight"),
        ("z", False, "different-weight"),
        ("z", True, "weight-not-loaded"),
    ],
)
def test_a_weight_s_digest_says_what_became_of_it(tmp_path, digest, initial, slug):
    def digests(found, **options):
        return WeightDigests(shape=(4, 4), dtype="float32", digests=found, **options)

    reference = {"unet.a:weight": digests(DIGESTS), "unet.b:weight": digests({"identity/own": "e"})}
    candidate = {
        "unet.a:weight": digests({"identity/own": digest}, native="net.a", initial=initial),
        "unet.b:weight": digests({"identity/own": "e"}, native="net.b"),
    }
    outputs = {"unet.a@step=0:output": IMAGE}
    (cause,) = causes(*traces(tmp_path, {}, {}, {}, outputs, outputs, (reference, candidate)))
    assert (cause.slug, cause.address) == (slug, "unet.a")


def test_parameters_that_nothing_filled_are_one_cause_with_the_share_of_their_component(tmp_path):
    def digests(name, **options):
        return WeightDigests(shape=(4, 4), dtype="float32", digests={"identity/own": name}, **options)

    names = ["unet.a:weight", "unet.a:bias", "unet.b:weight", "vae.c:weight"]
    reference = {name: digests(name) for name in names}
    candidate = {name: digests(name, native=f"n.{name}", initial=name != "unet.b:weight") for name in names}
    outputs = {"unet.a@step=0:output": IMAGE}
    (cause,) = causes(*traces(tmp_path, {}, {}, {}, outputs, outputs, (reference, candidate)))
    assert (cause.slug, cause.address, cause.others) == ("weight-not-loaded", "unet.a", ["vae.c"])
    assert cause.evidence[0] == "parameters never loaded: 2 of 3 of unet, all 1 of vae"


def digests(found, **options):
    """What is known of one parameter."""
    return WeightDigests(shape=(4, 4), dtype="float32", digests={"identity/own": found}, **options)


@pytest.mark.parametrize("side", ["reference", "candidate"])
def test_a_parameter_that_one_side_lacks_is_told_with_that_side(tmp_path, side):
    both = {"unet.a:weight": digests("a")}
    more = both | {"unet.b:bias": digests("b", native="net.b")}
    weights = (both, more) if side == "reference" else (more, both)
    outputs = {"unet.a@step=0:output": IMAGE}
    (cause,) = causes(*traces(tmp_path, {}, {}, {}, outputs, outputs, weights))
    assert (cause.slug, cause.address, cause.others) == ("weight-missing", "unet.b:bias", [])
    assert cause.evidence == [f"the {side} has no such parameter"]
    assert (cause.repair, cause.edits, cause.confidence) == ("map the parameter's name", [], 1)


def test_parameters_that_a_side_lacks_are_one_cause(tmp_path):
    ours = {f"unet.{name}:{port}": digests(name + port) for name in "abc" for port in ("weight", "bias")}
    theirs = {name: ours[name] for name in list(ours)[:3]}
    outputs = {"unet.a@step=0:output": IMAGE}
    (cause,) = causes(*traces(tmp_path, {}, {}, {}, outputs, outputs, (ours, theirs)))
    assert (cause.address, cause.others) == ("unet.b", ["unet.c"])
    assert cause.evidence == ["parameters that one side lacks: 3 of 6 of unet", "the candidate has no such parameter"]
    assert cause.repair == "map the parameter's name, and likewise for the other 2"


def test_a_parameter_with_the_value_of_others_is_told_with_the_first_of_them(tmp_path):
    ours = {"unet.a:weight": digests("a"), "unet.b:weight": digests("b"), "unet.c:weight": digests("b")}
    theirs = ours | {"unet.a:weight": digests("b", native="net.a")}
    outputs = {"unet.a@step=0:output": IMAGE}
    (cause,) = causes(*traces(tmp_path, {}, {}, {}, outputs, outputs, (ours, theirs)))
    assert (cause.slug, cause.address, cause.edits) == ("swapped-weight", "unet.a", [])
    assert cause.evidence == ["the candidate's weight (native net.a) equals the reference's unet.b:weight, exactly"]
    assert cause.repair == "load unet.a:weight here and not unet.b:weight"


def test_parameters_with_causes_of_their_own_stand_before_those_that_are_absent_together(tmp_path):
    ours = {f"unet.{name}:weight": digests(name) for name in "abcd"}
    theirs = {"unet.d:weight": digests("z", native="net.d"), "unet.b:weight": digests("x", initial=True)}
    outputs = {"unet.a@step=0:output": IMAGE}
    found = causes(*traces(tmp_path, {}, {}, {}, outputs, outputs, (ours, theirs)))
    assert [(cause.slug, cause.address, cause.others) for cause in found] == [
        ("different-weight", "unet.d", []),
        ("weight-not-loaded", "unet.b", []),
        ("weight-missing", "unet.a", ["unet.c"]),
    ]
    assert found[1].repair == "map a tensor of the checkpoint to unet.b:weight"


@pytest.mark.parametrize("unused", [[], ["text.projektion", "text.other"]])
def test_tensors_of_the_checkpoint_that_fill_nothing_are_told_beside_what_nothing_filled(tmp_path, unused):
    ours = {"unet.a:weight": digests("a")}
    theirs = {"unet.a:weight": digests("z", native="net.a", initial=True)}
    outputs = {"unet.a@step=0:output": IMAGE}
    reference, candidate = traces(tmp_path, {}, {}, {}, outputs, outputs, (ours, theirs))
    candidate.manifest.provenance = {"unused_tensors": unused}
    (cause,) = causes(reference, candidate)
    assert cause.evidence[0].endswith("(native net.a) was never loaded; it still has its initial value")
    told = ["2 tensors of the checkpoint fill no parameter, text.projektion among them"]
    assert cause.evidence[1:] == (told if unused else [])
    assert cause.repair == "map a tensor of the checkpoint to net.a"


def test_a_parameter_in_another_shape_is_not_said_to_be_swapped_with_itself(tmp_path):
    ours = {"unet.a:weight": WeightDigests(shape=(4, 4), dtype="float32", digests={"identity/own": "a"})}
    theirs = {"unet.a:weight": WeightDigests(shape=(2, 8), dtype="float32", digests={"identity/own": "a"})}
    outputs = {"unet.a@step=0:output": IMAGE}
    (cause,) = causes(*traces(tmp_path, {}, {}, {}, outputs, outputs, (ours, theirs)))
    assert (cause.slug, cause.address) == ("different-weight", "unet.a")
