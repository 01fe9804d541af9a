"""What makes a CPU ready: its threads, and which way a convolution is quick there.

    >>> prepare()  # after the device is chosen and before the first large operator

An operator's work is shared out among the threads of a pool while the thread that asked for it waits in a loop, ready
to run at any time. Where there are as many of the pool as there are cores, the system often puts two of them on one core
beside the waiting one, and a product takes up to twice as long, for a dozen calls or for a second.

From 2.9 on the convolution's kernel takes 200 times as long as before on some processors and is as quick as ever on
others. Which it is here is found by trying.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import mindspore
import numpy as np
from mindspore import Tensor, ops

from mindone_sdxl.graphs import made_once
from mindone_sdxl.kernels import on_cpu

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["convolution_is_slow", "prepare"]

_TASKS = Path("/proc/self/task")
_POOL = ("ActorThread", "KernelThread")
_LOOKS = 20
_LOOK_S = 0.01
_MAY_BE_SLOW = tuple(int(part) for part in mindspore.__version__.split(".")[:2]) >= (2, 9)
_SLOW = 8


def prepare() -> None:
    """Keep the threads apart, and find out about the convolution; does nothing on other devices."""
    if on_cpu():
        _keep_threads_apart()
        convolution_is_slow()


def _keep_threads_apart() -> None:
    """Bind each thread of the pool to one of this process's cores, where there are as many of both and more than one.

    Does nothing where the system cannot say which threads there are, or refuses.
    """
    if not (_TASKS.exists() and hasattr(os, "sched_setaffinity")):
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        return
    ops.silu(Tensor([0.0], mindspore.float32)).asnumpy()  # the pool starts with the first operator
    for _ in range(_LOOKS):  # a thread names itself when it begins to run
        pool = sorted(int(task.name) for task in _TASKS.iterdir() if _name(task).startswith(_POOL))
        if len(pool) == len(cores):
            with contextlib.suppress(PermissionError):
                for thread, core in zip(pool, cores, strict=True):
                    os.sched_setaffinity(thread, {core})
            return
        time.sleep(_LOOK_S)


def _name(task: Path) -> str:
    """A thread's name; nothing if it has ended."""
    try:
        return (task / "comm").read_text()
    except OSError:
        return ""


@made_once
def convolution_is_slow() -> bool:
    """Whether the convolution's kernel takes many times as long as unfolding and a matrix product."""
    if not _MAY_BE_SLOW:
        return False
    image, weight = (Tensor(np.ones(shape, np.float32)) for shape in ((1, 64, 16, 16), (64, 64, 3, 3)))
    convolution, product = ops.Conv2D(64, 3, pad_mode="pad", pad=1), ops.MatMul()
    by_kernel = _seconds(lambda: convolution(image, weight))
    by_product = _seconds(lambda: product(weight.reshape(64, -1), ops.unfold(image, 3, 1, 1, 1)[0]))
    return by_kernel > _SLOW * by_product


def _seconds(call: Callable[[], Tensor]) -> float:
    """How long the fastest of three calls takes after a first one."""
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        call().asnumpy()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
