"""Files of weights are equal or not, and of what is not equal it is said what became of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from parity import result as results
from parity.cli import app
from parity.compare import Rule, compare, judge
from parity.diagnose import diagnose
from parity.dtypes import narrow
from parity.errors import ToleranceError, TraceError
from parity.report.headline import headline
from parity.trace import Trace, pack
from tests.parity.compare.traces import candidate as replayed
from tests.parity.compare.traces import reference as recorded
from tests.parity.trace.dumps.made import write_safetensors

if TYPE_CHECKING:
    from pathlib import Path

    from parity.result import Result

Tensors = dict[str, np.ndarray]


def weights() -> Tensors:
    """Four layers with a weight and a bias each."""
    rng = np.random.default_rng(1)
    shapes = {"weight": (24, 24), "bias": (24,)}
    return {
        f"down.{layer}.to_q.{name}": (rng.standard_normal(shape) * 0.05).astype(np.float32)
        for layer in range(4)
        for name, shape in shapes.items()
    }


def write(path: Path, tensors: Tensors, dtype: str = "") -> Trace:
    """Write a file; uint16 is bfloat16."""
    write_safetensors(path, {name: (array, dtype or array.dtype.name) for name, array in tensors.items()})
    return Trace.open(path)


@pytest.fixture
def compared(tmp_path):
    """Return a function that compares the weights with others."""

    def run(other: Tensors, dtype: str = "", base: Tensors | None = None) -> Result:
        reference = write(tmp_path / "a.safetensors", base or weights())
        return compare(reference, [write(tmp_path / "b.safetensors", other, dtype)])

    return run


def stepped(rate: float) -> Tensors:
    """One step of an optimizer that moves every element by its rate, up or down."""
    rng = np.random.default_rng(2)
    signs = {name: np.sign(rng.standard_normal(array.shape)) for name, array in weights().items()}
    return {name: (array - rate * signs[name]).astype(np.float32) for name, array in weights().items()}


def averaged(share: float) -> Tensors:
    """Return an average of the weights with those after a step."""
    return {
        name: (share * array + (1 - share) * other).astype(np.float32)
        for (name, array), other in zip(weights().items(), stepped(1e-3).values(), strict=True)
    }


def test_equal_files_match_and_say_that_they_are_weights(compared):
    result = compared(weights())
    assert result.verdict == "MATCH"
    assert (result.counts["MATCH"], result.coverage.compared) == (8, 4)
    assert result.checks["compared_as"] == "weights"
    assert "down.0.to_q.bias is a parameter's name" in result.checks["because"]
    assert {pair.limit for pair in result.pairs} == {"equal"}


@pytest.mark.parametrize(
    ("other", "change", "words"),
    [
        (stepped(1e-5), "update", "a small change of"),
        (stepped(1e-7), "update", "a small change of"),
        (averaged(0.9999), "update", "a small change of"),
        ({name: array.astype("f2") for name, array in weights().items()}, "rounded", "rounded to float16, stored as"),
        ({name: array.astype("f2").astype("f4") for name, array in weights().items()}, "rounded", "rounded to float16"),
        ({name: (array.view("u4") & 0xFFFFE000).astype("u4").view("f4") for name, array in weights().items()},
         "rounded", "cut to 10 mantissa bits"),
        ({name: array[::-1].copy() for name, array in weights().items()}, "flipped", "flipped along axis 0"),
        ({name: np.zeros_like(array) for name, array in weights().items()}, "initial", "all zeros"),
        ({name: array * np.float32(0.18215) for name, array in weights().items()}, "scaled", "times 0.18215"),
    ],
)  # fmt: skip
def test_what_is_not_equal_is_a_mismatch_and_named(compared, other, change, words):
    result = compared(other)
    assert result.verdict == "MISMATCH"
    assert {pair.verdict for pair in result.pairs} == {"MISMATCH"}
    assert {pair.change for pair in result.pairs} == {change}
    assert all(words in pair.detail for pair in result.pairs)
    assert all(pair.rel_l2 > 0 and pair.worst is not None for pair in result.pairs)


@given(st.integers(0, 24 * 24 - 1), st.integers(0, 31))
def test_one_bit_that_differs_is_never_a_match(tmp_path_factory, place, bit):
    folder = tmp_path_factory.mktemp("bit")
    other = weights()
    other["down.2.to_q.weight"].view(np.uint32).reshape(-1)[place] ^= np.uint32(1 << bit)
    reference = write(folder / "a.safetensors", weights())
    result = compare(reference, [write(folder / "b.safetensors", other)])
    assert result.verdict == "MISMATCH"
    assert [pair.address for pair in result.pairs if pair.verdict == "MISMATCH"] == ["down.2.to_q:weight"]


@pytest.mark.parametrize("to", ["float64", "float32"])
def test_equal_values_in_another_type_match_and_say_so(compared, to):
    base = {name: array.astype("f2") for name, array in weights().items()}
    result = compared({name: array.astype(to) for name, array in base.items()}, base=base)
    assert result.verdict == "MATCH"
    assert result.counts["mixed-dtype"] == 8
    assert result.pairs[0].detail == f"equal, but stored as {to}; the reference has float16"


@pytest.mark.parametrize(("first", "second"), [("f4", "f4"), ("f2", "f4"), ("f4", "f2"), ("f8", "f4")])
def test_the_sign_of_a_zero_is_a_difference_in_any_two_types(tmp_path, first, second):
    array = np.array([[0.0, 1.0, -2.0]], first)
    reference = write(tmp_path / "a.safetensors", {"a.weight": array})
    result = compare(reference, [write(tmp_path / "b.safetensors", {"a.weight": array.astype(second)})])
    assert result.verdict == "MATCH"
    array[0, 0] = -0.0
    result = compare(reference, [write(tmp_path / "c.safetensors", {"a.weight": array.astype(second)})])
    assert (result.verdict, result.pairs[0].change) == ("MISMATCH", "signs of zero")


def test_bfloat16_is_told_from_float16(compared):
    result = compared({name: narrow(array, "bfloat16") for name, array in weights().items()}, "bfloat16")
    assert {pair.detail for pair in result.pairs} == {"the reference's value rounded to bfloat16, stored as bfloat16"}


def test_another_tensors_values_are_named(compared):
    other = weights()
    first, second = "down.0.to_q.weight", "down.1.to_q.weight"
    other[first], other[second] = other[second], other[first].T.copy()
    found = {pair.address: pair for pair in compared(other).pairs}
    assert found["down.0.to_q:weight"].detail == "equals the reference's down.1.to_q:weight"
    assert found["down.1.to_q:weight"].detail == "equals the reference's down.0.to_q:weight, its transpose"
    assert found["down.2.to_q:weight"].verdict == "MATCH"


def test_a_tensor_that_is_a_copy_of_the_candidates_own_is_named(compared):
    other = weights()
    drawn = np.random.default_rng(9).standard_normal((24, 24)).astype(np.float32)
    other["down.0.to_q.weight"] = other["down.1.to_q.weight"] = drawn
    found = {pair.address: pair for pair in compared(other).pairs}
    assert found["down.0.to_q:weight"].detail == "equals the candidate's own down.1.to_q:weight"


def test_other_names_are_missing_and_where_their_values_are(compared):
    result = compared({name.replace("down", "blocks"): array for name, array in weights().items()})
    assert (result.verdict, result.counts["MISSING"], result.counts["UNEXPECTED"]) == ("INCOMPLETE", 8, 8)
    missing = {pair.address: pair.detail for pair in result.pairs if pair.verdict == "MISSING"}
    assert missing["down.3.to_q:bias"].endswith("it has these values as blocks.3.to_q:bias")


def test_other_shapes_cannot_be_compared_and_say_what_they_are(compared):
    other = {name: array.reshape(*array.shape, 1, 1) for name, array in weights().items()}
    other["down.0.to_q.weight"] = other["down.0.to_q.weight"][:3]
    result = compared(other)
    assert result.verdict == "MISMATCH"
    told = {pair.address: pair.detail for pair in result.pairs}
    assert told["down.0.to_q:weight"] == "shape [3, 24, 1, 1]; the reference has [24, 24]"
    assert told["down.1.to_q:bias"].endswith("; equals the reference's in another shape")
    assert {pair.verdict for pair in result.pairs} == {"INCOMPARABLE"}


def test_what_is_empty_was_not_compared(compared):
    empty = {"a.weight": np.empty((0, 3), np.float32)}
    assert compared(empty, base=empty).verdict == "INCOMPLETE"


def run(*arguments):
    """Run the command line."""
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_worst_comes_first_and_the_first_lines_say_it(tmp_path):
    other = weights()
    other["down.1.to_q.bias"][5] += 1e-3
    other["down.3.to_q.weight"] = other["down.3.to_q.weight"].T.copy()
    write(tmp_path / "a.safetensors", weights())
    write(tmp_path / "b.safetensors", other)
    done = run("compare", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--out", tmp_path / "o")
    assert done.exit_code == 1
    said = done.stdout.splitlines()
    assert said[0].startswith(
        "MISMATCH: 2 of 8 weights differ; 1 element differs, at [5], by at most 0.001; equals the reference's transpose"
    )
    assert said[1].startswith("taken as weights: down.0.to_q.bias is a parameter's name; --as activations")
    named = [line.split(":")[0].split()[-1] for line in said if line.startswith("  MISMATCH ")]
    assert named == ["down.3.to_q", "down.1.to_q"]
    saved = results.read(tmp_path / "o")
    assert judge(saved, []).verdict == "MISMATCH"
    assert diagnose(saved, tmp_path / "o", progress=lambda *_: None).causes == []
    assert "taken as weights" in (tmp_path / "o" / "report.html").read_text().casefold()


@pytest.mark.parametrize(("contents", "code"), [("activations", 0), ("weights", 1)])
def test_the_user_may_say_what_files_hold(tmp_path, contents, code):
    for name, tensors in (("a", weights()), ("b", stepped(1e-8))):
        write(tmp_path / f"{name}.safetensors", tensors)
    done = run("compare", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--as", contents, "--json")
    assert done.exit_code == code
    assert json.loads(done.stdout)["checks"]["because"] == "--as says so"


def test_weights_and_activations_are_not_compared(tmp_path):
    first = write(tmp_path / "a.safetensors", weights())
    second = write(tmp_path / "b.safetensors", {"latents": np.ones(3, np.float32)})
    with pytest.raises(TraceError, match=r"a.safetensors as weights .* and .*b.safetensors as activations .*--as"):
        compare(first, [second])
    trace = recorded(tmp_path / "r")
    with pytest.raises(TraceError, match=r"a recording holds .* cannot be compared; `parity replay … --weights FILE`"):
        compare(trace, [first])
    with pytest.raises(TraceError, match="is a recording, whose weights are audited"):
        compare(trace, [replayed(tmp_path / "c", trace)], contents="weights")


def test_rules_of_tolerance_are_refused(tmp_path):
    first = write(tmp_path / "a.safetensors", weights())
    with pytest.raises(ToleranceError, match=r"equal or not, and tolerances were given \(1\)"):
        compare(
            first,
            [write(tmp_path / "b.safetensors", weights())],
            tolerances=[Rule(address=".*", require="rel_l2 <= 1", reason="x")],
        )


def test_several_files_stand_beside_each_other(tmp_path):
    first = write(tmp_path / "a.safetensors", weights())
    others = []
    for name, each in (("x", weights()), ("y", stepped(1e-6))):
        (tmp_path / name).mkdir()
        others.append(write(tmp_path / name / "a.safetensors", each))
    result = compare(first, others)
    assert [view.verdict for view in result.candidates.values()] == ["MATCH", "MISMATCH"]
    assert result.verdict == "MISMATCH"


def test_what_was_not_read_leaves_it_open(tmp_path):
    for side in "ab":
        (tmp_path / side).mkdir()
        write(tmp_path / side / "model.safetensors", weights())
        (tmp_path / side / "more.bin").write_bytes(side.encode())
    result = compare(Trace.open(tmp_path / "a"), [Trace.open(tmp_path / "b")])
    assert result.verdict == "INCOMPLETE"
    assert headline(result).startswith("INCOMPLETE: 8 weights equal; 2 files not read")


def test_a_folder_of_components_and_shards_is_compared_by_name(tmp_path):
    for side in "ab":
        for part in ("unet", "vae"):
            (tmp_path / side / part).mkdir(parents=True)
            names = list(weights())
            for shard, some in enumerate((names[:3], names[3:])):
                path = tmp_path / side / part / f"diffusion_pytorch_model-0000{shard + 1}-of-00002.safetensors"
                write(path, {name: weights()[name] for name in some})
    first, second = Trace.open(tmp_path / "a"), Trace.open(tmp_path / "b")
    result = compare(first, [second])
    assert (result.verdict, result.counts["MATCH"]) == ("MATCH", 16)
    assert "vae.down.3.to_q:bias" in {pair.address for pair in result.pairs}


def test_parts_of_a_fused_projection_are_found(compared):
    base, other = weights(), weights()
    fused = other.pop("down.0.to_q.weight")
    for name, part in zip("qkv", np.split(fused, 3), strict=True):
        other[f"down.0.{name}.weight"] = part
    found = {pair.address: pair.detail for pair in compared(other, base=base).pairs if pair.verdict == "UNEXPECTED"}
    assert found.keys() == {"down.0.q:weight", "down.0.k:weight", "down.0.v:weight"}
    assert found["down.0.k:weight"].endswith("it has these values as down.0.to_q:weight, part 2 of 3")


def test_two_tensors_of_one_address_are_refused(tmp_path):
    names = {"a.parameter": np.ones(3, np.float32), "a": np.zeros(3, np.float32), "b.weight": np.ones(3, np.float32)}
    first = write(tmp_path / "a.safetensors", names)
    with pytest.raises(TraceError, match="both are 'a:parameter'; rename one"):
        compare(first, [write(tmp_path / "b.safetensors", names)])


@pytest.mark.torch
def test_plain_values_beside_weights_are_compared_where_both_have_them(tmp_path):
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(array) for name, array in weights().items()}
    for file, more in {"a": {"epoch": 3}, "b": {"epoch": 4}, "c": {}}.items():
        torch.save({"state_dict": state, **more}, tmp_path / f"{file}.ckpt")
    write(tmp_path / "d.safetensors", weights())
    a, b, c, d = (Trace.open(tmp_path / name) for name in ("a.ckpt", "b.ckpt", "c.ckpt", "d.safetensors"))
    assert [compare(a, [each]).verdict for each in (b, c, d)] == ["MISMATCH", "MATCH", "MATCH"]
    assert compare(a, [d]).coverage.notes == ["plain values and counters that one side alone has are no weights: epoch"]
    (wrong,) = (pair for pair in compare(a, [b]).pairs if pair.verdict == "MISMATCH")
    assert wrong.detail == "4; the reference has 3"


def test_weights_that_were_packed_are_weights(tmp_path):
    for name, tensors in (("a", weights()), ("b", stepped(1e-8))):
        pack(write(tmp_path / f"{name}.safetensors", tensors), ".*", tmp_path / name)
    assert compare(Trace.open(tmp_path / "a"), [Trace.open(tmp_path / "b")]).verdict == "MISMATCH"


TYPES = ("float64", "float32", "float16", "int64", "int32", "int8", "uint8", "bool")


@given(st.sampled_from(TYPES), st.sampled_from(TYPES), st.integers(0, 99), st.sampled_from([1e-3, 1.0, 300.0]))
def test_a_match_is_equal_values_in_any_two_types(tmp_path_factory, first, second, seed, scale):
    folder = tmp_path_factory.mktemp("types")
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        array = (rng.standard_normal((3, 5)) * scale).astype(first)
        other = array.astype(second)
        if seed % 3 == 0:
            other[1, 2] = array[0, 0]
        equal = bool((array.astype("float64") == other.astype("float64")).all())
    reference = write(folder / "a.safetensors", {"a.weight": array})
    result = compare(reference, [write(folder / "b.safetensors", {"a.weight": other})])
    assert (result.verdict == "MATCH") is equal
    assert bool(result.counts.get("mixed-dtype")) is (equal and first != second)


def test_mindspores_names_are_torchs_and_its_missing_counter_is_noted(tmp_path):
    rng = np.random.default_rng(3)
    names = {"bn.weight": "bn.gamma", "bn.bias": "bn.beta", "bn.running_mean": "bn.moving_mean",
             "bn.running_var": "bn.moving_variance", "words.weight": "words.embedding_table"}  # fmt: skip
    base = {name: rng.standard_normal(5).astype(np.float32) for name in names}
    port = {names[name]: array for name, array in base.items()}
    counted = base | {"bn.num_batches_tracked": np.array(7)}
    reference = write(tmp_path / "a.safetensors", counted)
    result = compare(reference, [write(tmp_path / "b.safetensors", port)])
    assert result.verdict == "MATCH"
    assert {pair.address: pair.native for pair in result.pairs}["bn:running_mean"] == "bn.moving_mean"
    assert "no weights: bn.num_batches_tracked" in result.coverage.notes[0]
    port["bn.moving_mean"] = base["bn.running_var"]
    wrong = compare(reference, [write(tmp_path / "c.safetensors", port)])
    told = {pair.address: pair.detail for pair in wrong.pairs if pair.verdict == "MISMATCH"}
    assert told == {"bn:running_mean": "equals the reference's bn:running_var"}
    counted["bn.num_batches_tracked"] = np.array(8)
    assert compare(reference, [write(tmp_path / "d.safetensors", counted)]).verdict == "MISMATCH"
