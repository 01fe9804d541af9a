"""What the writer refuses, copies, bounds and orders."""

from __future__ import annotations

import threading
from contextlib import suppress

import msgspec
import numpy as np
import pytest

from parity.address import Address
from parity.errors import OutputError, TraceError
from parity.trace import Trace, TraceWriter, check_unused, is_unfinished, place
from parity.trace.pipeline import Pipeline

from .helpers import STORES, manifest, same, write


@pytest.fixture
def writer(tmp_path):
    return TraceWriter(tmp_path / "t", manifest())


def recorded(writer, *records):
    """Record the records in one run."""
    with writer.run("r", mode="run", dtype="float32") as run:
        for address, content in records:
            run.tensor(address, content)


@pytest.mark.parametrize("store", STORES)
def test_the_caller_may_reuse_its_buffer(tmp_path, store):
    writer = TraceWriter(tmp_path / "t", manifest(store))
    buffer = np.zeros(1000)
    with writer.run("r", mode="run", dtype="float64") as run:
        for number in range(200):
            buffer[:] = number
            run.tensor(f"unet.{number}:output", buffer)
        buffer[:] = -1
    writer.finish()
    back = Trace.open(tmp_path / "t").run("r")
    assert all((back.tensor(f"unet.{number}:output") == number).all() for number in range(200))


def test_an_address_may_be_an_object_and_is_written_in_canonical_form(writer):
    recorded(
        writer,
        (Address(path="unet.a", port="output", step=3), np.zeros(1)),
        ("unet.a@step=04,call=1:output", np.ones(1)),
    )
    writer.finish()
    assert list(Trace.open(writer.folder).run("r")) == ["unet.a@step=3:output", "unet.a@step=4,call=1:output"]


def test_stage_native_and_island_are_kept(writer):
    with writer.run("r", mode="run", dtype="float64") as run:
        run.tensor("unet.time_proj:output", np.zeros(1, np.float32), native="model.embed", island="aten.sin")
        run.tensor("loss:output", np.zeros(1), stage="loss")
        run.value("scheduler.step@step=0:input.eta", 1.0, native="sampler.eta")
    writer.finish()
    first, second, third = Trace.open(writer.folder).run("r").records
    assert (first.stage, first.native, first.island) == ("unet", "model.embed", "aten.sin")
    assert second.stage == "loss"
    assert (third.kind, third.native, third.value) == ("value", "sampler.eta", 1.0)


@pytest.mark.parametrize(
    ("address", "content", "message"),
    [
        ("unet.conv_in", np.zeros(1), "is not an address"),
        ("nonsense.a:output", np.zeros(1), "belongs to no component of the reference"),
        ("unet.\ud800:output", np.zeros(1), "surrogates not allowed"),
        ("unet.a:output", [1.0], "is a list; expected a numpy array"),
        ("unet.a:output", np.array(["x"]), "is not a tensor type"),
        ("unet.a:output", np.array([None]), "'object' is not a tensor type"),
        ("unet.a:output", np.zeros(1, "V2"), "is not a tensor type"),
    ],
)
def test_what_is_no_address_or_no_tensor_is_refused(writer, address, content, message):
    with pytest.raises(TraceError, match=message):
        recorded(writer, (address, content))


def test_a_named_type_must_be_the_arrays_own(writer):
    with writer.run("r", mode="run", dtype="float32") as run:
        with pytest.raises(TraceError, match="the array is float32 and not uint16, the storage type of bfloat16"):
            run.tensor("unet.a:output", np.zeros(1, np.float32), dtype="bfloat16")
        with pytest.raises(TraceError, match="has stage 'nowhere'; one of weights"):
            run.tensor("unet.b:output", np.zeros(1, np.float32), stage="nowhere")


def test_an_address_recorded_twice_is_refused(writer):
    with pytest.raises(TraceError, match=r"'unet.a:output' is recorded twice in run r; count calls in the address"):
        recorded(writer, ("unet.a:output", np.zeros(1)), ("unet.a:output", np.zeros(1)))


@pytest.mark.parametrize("value", [{"a": 1}, {1}, object(), "\ud800", np.zeros(2), [b"x"]])
def test_what_is_no_plain_value_is_refused(writer, value):
    with (
        writer.run("r", mode="run", dtype="float32") as run,
        pytest.raises(TraceError, match=r"'unet.a:input.x' cannot be recorded"),
    ):
        run.value("unet.a:input.x", value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**63),
        2**64 - 1,
        2**70,
        0.1,
        -0.0,
        1.0,
        float("inf"),
        float("-inf"),
        "",
        "ü\n<b>",
        [],
        [1, [2.5, None]],
        np.float32(0.5),
    ],
)
def test_a_plain_value_comes_back(writer, value):
    with writer.run("r", mode="run", dtype="float32") as run:
        run.value("unet.a:input.x", value)
        run.value("unet.a:input.nan", [float("nan")])
    writer.finish()
    back = Trace.open(writer.folder).run("r")
    assert back.value("unet.a:input.x") == value
    assert type(back.value("unet.a:input.x")) is type(value if not isinstance(value, np.generic) else value.item())
    assert np.isnan(back.value("unet.a:input.nan")[0])


def test_a_trace_is_never_written_over(tmp_path):
    write(tmp_path / "t")
    with pytest.raises(TraceError, match="holds a trace already; choose another folder, or resume it"):
        TraceWriter(tmp_path / "t", manifest())
    (tmp_path / "u" / "r").mkdir(parents=True)
    (tmp_path / "u" / "r" / "mine.txt").touch()
    with pytest.raises(TraceError, match="is not empty, and no run of the manifest"):
        TraceWriter(tmp_path / "u", manifest()).run("r", mode="run", dtype="float32")
    (tmp_path / "file").touch()
    with pytest.raises(TraceError, match="cannot be made a trace"):
        TraceWriter(tmp_path / "file", manifest())


@pytest.mark.parametrize("name", ["", "..", "a/b", "/absolute", "a\n", ".hidden", "x" * 200])
def test_a_run_has_a_safe_name(writer, name):
    with pytest.raises(TraceError, match="cannot name a run"):
        writer.run(name, mode="run", dtype="float32")


def test_runs_do_not_overlap_and_finish_needs_them_complete(writer):
    with writer.run("a", mode="run", dtype="float32"):
        with pytest.raises(TraceError, match="a run is open; leave its with block before run 'b' begins"):
            writer.run("b", mode="run", dtype="float32")
        with pytest.raises(TraceError, match="run a is not complete"):
            writer.finish()
    with pytest.raises(TraceError, match="run 'a' is recorded already"):
        writer.run("a", mode="run", dtype="float32")
    with writer.run("b", mode="run", dtype="float32") as run:
        pass
    with pytest.raises(TraceError, match="the run b is closed"):
        run.tensor("unet.a:output", np.zeros(1))
    writer.finish()
    assert Trace.open(writer.folder).runs == ("a", "b")


def test_the_manifest_may_be_changed_until_the_end(writer):
    recorded(writer, ("unet.a:output", np.zeros(1)))
    writer.manifest.modules["unet.a"] = "Linear"
    writer.finish()
    writer.manifest.wall_s = 2.5
    writer.save_manifest()
    trace = Trace.open(writer.folder)
    assert trace.manifest.modules == {"unet.a": "Linear"}
    assert trace.manifest.wall_s == 2.5
    assert sorted(path.name for path in writer.folder.iterdir()) == ["manifest.json", "r"]


def test_a_manifest_that_would_not_read_back_is_refused(writer):
    writer.manifest.checks.repeat_max_abs["unet.a:output"] = float("nan")
    with pytest.raises(TraceError, match=r"the manifest is not JSON that reads back: .*Expected `float`, got `null`"):
        writer.finish()
    assert msgspec.json.decode((writer.folder / "manifest.json").read_bytes())["status"] == "recording"


def test_the_queue_is_bounded_by_bytes_and_keeps_order():
    handled: list[int] = []
    gate = threading.Event()

    def handle(item: int) -> None:
        gate.wait(5)
        handled.append(item)

    pipeline = Pipeline(handle, 100, "test")
    for number in range(10):
        pipeline.put(number, 10)
    late = threading.Thread(target=lambda: pipeline.put(10, 10))
    late.start()
    late.join(0.1)
    assert late.is_alive()
    gate.set()
    late.join(5)
    pipeline.put(11, 1000)
    pipeline.close()
    assert handled == list(range(12))


def test_the_queues_first_error_is_raised_again_and_ends_its_thread():
    def handle(item: int) -> None:
        if item == 3:
            raise ZeroDivisionError

    pipeline = Pipeline(handle, 10, "test")

    def endless():
        for number in range(1_000_000):
            pipeline.put(number, 5)

    with pytest.raises(ZeroDivisionError):
        endless()
    with pytest.raises(ZeroDivisionError):
        pipeline.close()


def test_a_small_queue_and_small_shards_change_nothing(tmp_path):
    arrays = [np.random.default_rng(seed).standard_normal((seed % 5, 7)) for seed in range(60)]
    folders = []
    for number, options in enumerate(
        ({}, {"shard_bytes": 1}, {"queue_bytes": 1}, {"shard_bytes": 500, "queue_bytes": 600})
    ):
        writer = TraceWriter(tmp_path / str(number), manifest(), **options)
        recorded(writer, *((f"unet.{seed}:output", array) for seed, array in enumerate(arrays)))
        writer.finish()
        folders.append(Trace.open(writer.folder, verify=True))
    assert len({trace.digest for trace in folders}) == 1
    assert all(same(folders[1].run("r").tensor(f"unet.{seed}:output"), array) for seed, array in enumerate(arrays))


# the folder of a trace


def test_a_trace_is_not_written_among_someones_own_files(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(TraceError, match=r"holds 'notes.txt' and no trace; give a folder that is new"), place(tmp_path):
        pytest.fail("the folder is not for us")
    with pytest.raises(TraceError, match=r"holds 'notes.txt' and no trace"):
        check_unused(tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_block_that_fails_before_the_first_record_leaves_nothing(tmp_path):
    def failed():
        with place(tmp_path / "t"):
            writer = TraceWriter(tmp_path / "t", manifest())
            (tmp_path / "t" / "weights.ckpt").write_bytes(b"converted")
            with writer.run("r", mode="run", dtype="float32"):
                raise KeyError

    with pytest.raises(KeyError):
        failed()
    assert not list(tmp_path.iterdir())
    (tmp_path / "empty").mkdir()
    with pytest.raises(KeyError), place(tmp_path / "empty"):
        raise KeyError
    assert (tmp_path / "empty").is_dir()


def test_a_block_that_fails_later_leaves_what_is_recorded(tmp_path):
    def failed():
        with place(tmp_path / "t"):
            writer = TraceWriter(tmp_path / "t", manifest())
            with writer.run("r", mode="run", dtype="float32") as run:
                run.tensor("unet.a:output", np.zeros(3))
                raise KeyError

    with pytest.raises(KeyError):
        failed()
    assert is_unfinished(tmp_path / "t")
    assert list(Trace.open(tmp_path / "t", allow_incomplete=True).run("r")) == ["unet.a:output"]
    with pytest.raises(TraceError, match="holds a trace already"), place(tmp_path / "t"):
        pytest.fail("the trace would be written over")
    with place(tmp_path / "t", resume=True):
        assert is_unfinished(tmp_path / "t")


def test_a_trace_has_one_writer(tmp_path):
    with place(tmp_path / "t"):
        with pytest.raises(OutputError, match="t is being written by another process"), place(tmp_path / "t"):
            pytest.fail("two are in")
        TraceWriter(tmp_path / "t", manifest()).finish()
    assert not is_unfinished(tmp_path / "t")


def test_a_continuation_under_other_conditions_is_refused(tmp_path):
    TraceWriter(tmp_path / "t", manifest(conditions={"taps": "all"}))
    with pytest.raises(TraceError, match=r"cannot be resumed: its taps is 'all', now 'unet\.\*'; choose another"):
        TraceWriter(tmp_path / "t", manifest(conditions={"taps": r"unet.*"}), resume=True)
    with pytest.raises(TraceError, match="its repairs is 'unknown', now 'none'"):
        TraceWriter(tmp_path / "t", manifest(conditions={"taps": "all", "repairs": "none"}), resume=True)


def test_runs_that_were_left_unfinished_can_be_recorded_anew(tmp_path):
    writer = TraceWriter(tmp_path / "t", manifest())
    for name in ("whole", "half"):
        with suppress(KeyError), writer.run(name, mode="run", dtype="float64") as run:
            run.tensor("unet.a:output", np.zeros(3))
            if name == "half":
                raise KeyError
    writer = TraceWriter(tmp_path / "t", manifest(), resume=True)
    writer.discard_unfinished()
    with writer.run("half", mode="run", dtype="float64") as run:
        assert "unet.a:output" not in run
        run.tensor("unet.a:output", np.ones(3))
    writer.finish()
    trace = Trace.open(tmp_path / "t", verify=True)
    assert [trace.run(name).tensor("unet.a:output")[0] for name in ("whole", "half")] == [0, 1]


def test_no_link_is_followed_when_unfinished_runs_are_removed(tmp_path):
    writer = TraceWriter(tmp_path / "t", manifest())
    with pytest.raises(KeyError), writer.run("half", mode="run", dtype="float64"):
        raise KeyError
    (tmp_path / "t" / "half").rename(tmp_path / "outside")
    (tmp_path / "t" / "half").symlink_to(tmp_path / "outside")
    with pytest.raises(TraceError, match="half cannot be removed"):
        TraceWriter(tmp_path / "t", manifest(), resume=True).discard_unfinished()
    assert (tmp_path / "outside" / "records.jsonl").exists()
