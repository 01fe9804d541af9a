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
