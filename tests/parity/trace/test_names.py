"""Names on disk and digests."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from parity.errors import TraceError
from parity.trace import digest
from parity.trace.names import check_run_name, file_name, natural, open_inside, sizes_inside, tree_name

PATHS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="@:"), min_size=1, max_size=8)
ADDRESSES = st.builds(
    lambda path, step, port: f"{path}{'' if step is None else f'@step={step}'}:{port}",
    st.one_of(
        PATHS, st.lists(st.sampled_from([".", "/", "%", "a", "", "%25", "\0"]), min_size=1).map("".join).filter(bool)
    ),
    st.none() | st.integers(0, 12),
    PATHS,
)


@given(ADDRESSES, ADDRESSES)
def test_two_addresses_never_have_one_name(first, second):
    assert (tree_name(first) == tree_name(second)) == (first == second)
    assert (file_name(first) == file_name(second)) == (first == second)


@given(ADDRESSES)
def test_a_name_is_safe_for_hdf5_and_for_a_file_system(address):
    group, name = tree_name(address)
    for part in (group, name):
        assert part not in {"", ".", ".."}
        assert not set(part) & {"/", "\0"}
    assert "/" not in file_name(address)
    assert len(file_name(address).encode()) < 255
    assert file_name(address).isascii()


def test_a_long_address_has_a_short_name_of_its_own():
    names = {file_name("unet." + "a" * length + ":output") for length in range(150, 400)}
    assert len(names) == 250
    assert max(map(len, names)) < 255


@pytest.mark.parametrize("name", ["..", "a/..", "./a", "/a", "a//b", "a/", "", "a\\b", "a\0b"])
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    with pytest.raises(TraceError, match="leads out of the trace"):
        open_inside(tmp_path, name)
    with pytest.raises(TraceError, match="leads out of the trace"):
        sizes_inside(tmp_path, [name])


def test_names_that_only_look_like_leading_out_are_fine(tmp_path):
    for name in ("..a", "...", "a..b", ".a"):
        (tmp_path / name).write_bytes(b"123")
    assert sizes_inside(tmp_path, ["..a", "...", "a..b", ".a"]) == {"..a": 3, "...": 3, "a..b": 3, ".a": 3}


def test_a_run_name_is_one_plain_word():
    for name in ("float32", "layers-float64", "a.b_c"):
        check_run_name(name)
    for name in ("", ".", "..", "-a", "a b", "ä", "a" * 101, "a\n"):
        with pytest.raises(TraceError, match="cannot name a run"):
            check_run_name(name)


def test_natural_order_counts():
    assert sorted(["x10y2", "x9", "x10y10", "x", "9", "10"], key=natural) == ["9", "10", "x", "x9", "x10y2", "x10y10"]


def test_the_digest_is_what_the_format_says():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert digest(array, "float32") == xxhash.xxh3_128_hexdigest(b"float32[2,3]" + array.tobytes())
    assert digest(np.array(1.5), "float64") == xxhash.xxh3_128_hexdigest(b"float64[]" + np.array(1.5).tobytes())
    assert digest(np.empty((0, 2), np.uint8), "uint8") == xxhash.xxh3_128_hexdigest(b"uint8[0,2]")
    large = np.arange(100_000, dtype=np.int64)
    assert digest(large, "int64") == xxhash.xxh3_128_hexdigest(b"int64[100000]" + large.tobytes())


@pytest.mark.parametrize(
    "form", [np.asfortranarray, lambda array: array.astype(">f4"), lambda array: np.repeat(array, 2, 0)[::2]]
)
def test_the_digest_is_of_values_in_order_and_not_of_memory(form):
    array = np.random.default_rng(0).standard_normal((40, 50)).astype(np.float32)
    assert digest(form(array), "float32") == digest(array, "float32")
    assert digest(np.ascontiguousarray(array.T), "float32") != digest(array, "float32")


def test_the_digest_refuses_another_type():
    with pytest.raises(ValueError, match="the array is float32 and not float64"):
        digest(np.zeros(1, np.float32), "float64")
