"""What a run keeps on disk: checkpoints of the weights, and beside each all that it takes to go on from it.

    RUN/weights/SDXL-base-1.0_STEP.ckpt       the whole model, or unet_STEP.ckpt where only the UNet was loaded
    RUN/weights/SDXL-base-1.0_STEP_ema.ckpt   the same with averaged weights
    RUN/state_STEP.safetensors                weights as they are trained, moments, averages, loss scale

Files are written beside and renamed; the state comes last, so that a checkpoint with a state is whole.
"""

# mypy: no-warn-return-any
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from mindspore import Tensor

from mindone_sdxl.errors import InputError, WeightsError
from mindone_sdxl.files import read, write
from mindone_sdxl.train.optimizer import put

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mindone_sdxl.arrays import Array
    from mindone_sdxl.train.step import Trainer

__all__ = ["collect", "find_state", "remove_old", "restore", "state_path"]

_COUNTS = ("rounds", "updates", "scale", "overflows", "since", "fingerprint")


def state_path(run: Path, step: int) -> Path:
    """Where the state after a number of updates lies."""
    return run / f"state_{step}.safetensors"


def steps_of(run: Path) -> list[int]:
    """After how many updates there is a state, ascending."""
    names = (path.stem.removeprefix("state_") for path in run.glob("state_*.safetensors"))
    return sorted(int(name) for name in names if name.isdecimal())


def find_state(run: Path, step: int | None) -> Path:
    """The state to go on from: the one after `step` updates, or the last.

    Raises:
        InputError: there is none.
    """
    known = steps_of(run)
    if not known or (step is not None and step not in known):
        wanted = "no state to go on from" if step is None else f"no state after {step} updates"
        there = f"; there are those after {', '.join(map(str, known))}" if known else "; start without --resume"
        message = f"{run} has {wanted}{there}"
        raise InputError(message)
    return state_path(run, known[-1] if step is None else step)


def collect(trainer: Trainer, fingerprint: int) -> dict[str, Array]:
    """Everything that the next update depends on.

    Args:
        trainer: the run.
        fingerprint: of the recipe and the data, so that another run is not taken for this one.
    """
    scale = trainer.scale
    counts = (trainer.rounds, trainer.updates, scale.value, scale.overflows, scale.since, fingerprint)
    state = {f"count.{name}": np.array(value, np.float64) for name, value in zip(_COUNTS, counts, strict=True)}
    for kind, values in _groups(trainer).items():
        state |= {f"{kind}.{name}": value.asnumpy() for name, value in values.items()}
    return state


def restore(trainer: Trainer, path: Path, fingerprint: int) -> None:
    """Bring a trainer to where a state was kept.

    Raises:
        InputError: the state is damaged, or of a run with another recipe or other data.
    """
    try:
        state = read(path)
    except WeightsError as error:
        message = f"{error}; the checkpoint cannot be gone on from, take an earlier one with --resume_step"
        raise InputError(message) from error
    if int(state.get("count.fingerprint", fingerprint)) != fingerprint:
        message = f"{path} was written with another recipe or other data; give the same flags and files, or start anew"
        raise InputError(message)
    expected = {f"{kind}.{name}": value for kind, values in _groups(trainer).items() for name, value in values.items()}
    counts = {f"count.{name}" for name in _COUNTS}
    strange = sorted(state.keys() ^ (expected.keys() | counts))
    strange += [name for name in expected.keys() & state.keys() if state[name].shape != tuple(expected[name].shape)]
    if strange:
        message = f"{path}: {len(strange)} tensors do not fit the run, the first is {strange[0]}"
        raise InputError(message)
    for name, value in expected.items():
        put(value, Tensor(np.array(state[name]), value.dtype))
    trainer.rounds, trainer.updates = int(state["count.rounds"]), int(state["count.updates"])
    scale = trainer.scale
    scale.value, scale.overflows, scale.since = (
        float(state["count.scale"]),
        int(state["count.overflows"]),
        int(state["count.since"]),
    )
    trainer.hand_out()


def write_state(run: Path, trainer: Trainer, fingerprint: int) -> None:
    """Keep the state of a run."""
    write(state_path(run, trainer.rounds), collect(trainer, fingerprint))


def remove_old(run: Path, keep: int | None) -> None:
    """Remove all checkpoints but the last `keep`, their states first; None keeps all."""
    if keep is None:
        return
    for step in steps_of(run)[:-keep]:
        state_path(run, step).unlink()
        for ending in (f"_{step}.ckpt", f"_{step}_ema.ckpt"):
            for path in (run / "weights").glob(f"*{ending}"):
                path.unlink()


def _groups(trainer: Trainer) -> dict[str, Mapping[str, Tensor]]:
    """The tensors of a run by what they are."""
    groups: dict[str, Mapping[str, Tensor]] = {
        "weight": trainer.kept,
        "first": trainer.adam.first,
        "second": trainer.adam.second,
    }
    if trainer.average is not None:
        groups["ema"] = trainer.average.values
    return groups
