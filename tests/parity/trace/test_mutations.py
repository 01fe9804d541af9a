"""Damaged on purpose: every mutation ends in one TraceError, or the trace still says what it said."""

# ruff: noqa: S311 - reproducible draws; the child is this interpreter
from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from parity.errors import TraceError

from .helpers import STORES, edited, resealed, write
from .mutations import content, mutate, restore, snapshot
from .test_reader import without_offsets

ROOT = Path(__file__).parents[3]
COUNT = 700


def ending(folder, truth, what):
    """Return the error of reading a damaged trace, or None where it still says what it said."""
    try:
        assert content(folder) == truth, f"{what} goes unnoticed"
    except TraceError as error:
        return str(error)
    return None


@pytest.mark.parametrize("store", STORES)
def test_damage_ends_in_one_error_or_changes_nothing(tmp_path, store):
    folder = write(tmp_path / "t", store, runs=("float32", "float64"), shard_bytes=300)
    truth, whole = content(folder), snapshot(folder)
    ends: Counter[str] = Counter()
    for seed in range(COUNT):
        what = f"seed {seed}: {mutate(random.Random(f'{store} {seed}'), list(whole))}"
        error = ending(folder, truth, what)
        assert error is None or (str(tmp_path) in error and len(error) < 1000), f"{what}: {error}"
        ends["unchanged" if error is None else "refused"] += 1
        restore(whole)
    assert content(folder) == truth
    assert ends["refused"] > COUNT / 2
    assert ends["unchanged"] > COUNT / 200


def test_damage_that_fits_the_digests_is_still_an_error_or_harmless(tmp_path):
    folder = write(tmp_path / "t")
    whole = snapshot(folder)
    fields = {
        "address": ["unet.x:output", "", "a", "../x:output", "unet.conv_in@step=0:input.sample", "<b>:x", 3, None],
        "stage": ["unet", "vae", "x", None],
        "kind": ["tensor", "value", "x"],
        "shape": [[], [1], [3, 4], [4, 3], [0], [-1], [1 << 63], [1 << 31, 1 << 31], [[1]], "x"],
        "dtype": ["float32", "float64", "int8", "bool", "object", "O", "|O", "<f4", "float128", "", None, "M8[s]"],
        "digest": ["", "0" * 32, "g" * 32, None, 7],
        "shard": ["tensors-0000.h5", "../base/manifest.json", "records.jsonl", "/dev/zero", "x", "", None, 5],
        "offset": [0, 1, 7, 512, None, -1, 1 << 20, 1 << 63, 1 << 64, 0.5, "0"],
        "value": [None, 1, "x", {}, {"float": []}, [[[]]]],
        "native": [None, "x", 5],
        "unknown": [0],
    }
    refused = 0
    for seed in range(COUNT):
        draw = random.Random(seed)

        def change(records, draw=draw):
            for _ in range(draw.choice((1, 1, 2))):
                record, field = draw.choice(records), draw.choice(list(fields))
                record[field] = draw.choice(fields[field])

        edited(folder, change)
        try:
            content(folder)
        except TraceError:
            refused += 1
        restore(whole)
    assert refused > COUNT / 2


def test_any_manifest_is_read_or_refused(tmp_path):
    folder = write(tmp_path / "t")
    truth, whole = content(folder), snapshot(folder)
    keys = list(msgspec.json.decode((folder / "manifest.json").read_bytes()))
    values = [None, 0, -1, 1.5, "x", [], {}, [[]], {"": None}, {"float32": {}}, "complete", "npy", True]
    for key in keys:
        for value in values:
            resealed(folder, lambda found, key=key, value=value: found.update({key: value}))
            try:
                found = content(folder)
            except TraceError:
                found = truth
            assert found[2:] == truth[2:] or (key, value) == ("runs", {}), (key, value)
            restore(whole)


def test_h5py_on_a_damaged_file_never_crashes_and_never_lies(tmp_path):
    base = write(tmp_path / "base")
    without_offsets(base)
    command = [sys.executable, "-m", "tests.parity.trace.mutations", str(base), str(COUNT // 2)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert found.returncode == 0, found.stderr[-2000:]
    assert int(found.stdout) > COUNT / 20
