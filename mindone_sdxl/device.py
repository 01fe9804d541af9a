"""How MindSpore is set up before a model is built."""

from __future__ import annotations

import mindspore

__all__ = ["prepare"]


def prepare(target: str, *, deterministic: bool, keep_types: bool) -> None:
    """Choose the device, and operator by operator as the way in which everything runs that is no graph.

    Args:
        target: "Ascend", "GPU" or "CPU".
        deterministic: the same bits in every run.
        keep_types: whether an Ascend is kept from computing float32 coarser.
    """
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE, device_target=target)
    # On few CPU cores the asynchronous queue is many times slower; elsewhere it is only less reproducible.
    mindspore.set_context(pynative_synchronize=deterministic or target == "CPU")
    if deterministic:
        mindspore.set_context(deterministic="ON")
    if keep_types and target == "Ascend":
        mindspore.set_context(ascend_config={"precision_mode": "must_keep_origin_dtype"})
