"""What makes a CPU ready: its threads apart, and the quicker of two ways to convolve."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.mindspore

THREADS = """
import json, os, sys, time
cores = json.loads(sys.argv[1])
os.sched_setaffinity(0, cores)
import mindspore
mindspore.set_context(mode=mindspore.PYNATIVE_MODE, pynative_synchronize=True, device_target="CPU")
from mindone_sdxl import cpu
bind, calls = os.sched_setaffinity, []
os.sched_setaffinity = lambda thread, mask: calls.append(thread) or bind(thread, mask)
mindspore.ops.silu(mindspore.Tensor([0.0])).asnumpy()
for _ in range(100):  # on a busy machine the pool's threads may be long in naming themselves
    cpu.prepare()
    pool = [int(task.name) for task in cpu._TASKS.iterdir() if cpu._name(task).startswith(cpu._POOL)]
    bound = [sorted(os.sched_getaffinity(thread)) for thread in pool]
    if pool and (len(pool) != len(cores) or all(len(each) == 1 for each in bound)):
        break
    time.sleep(0.1)
print(json.dumps([bound, calls]))
"""

CONVOLUTION = """
import sys
import mindspore
mindspore.set_context(mode=mindspore.PYNATIVE_MODE, pynative_synchronize=True, device_target="CPU")
from mindone_sdxl import cpu
cpu._MAY_BE_SLOW, cpu._SLOW = sys.argv[1] == "True", float(sys.argv[2])
print(cpu.convolution_is_slow())
"""


def said(code: str, *arguments: str) -> str:
    """The last line of a new process's output."""
    ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return ran.stdout.strip().splitlines()[-1]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system does not bind threads")
def test_computing_threads_are_kept_apart_where_there_is_a_core_for_each():
    everything = list(range(os.cpu_count() or 1))
    pool, _ = json.loads(said(THREADS, json.dumps(everything)))
    assert pool
    if len(pool) == len(everything) > 1:
        assert sorted(pool) == [[core] for core in everything]
    else:
        assert all(cores == everything for cores in pool)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system does not bind threads")
def test_computing_threads_are_left_alone_where_there_are_too_few_cores():
    pool, calls = json.loads(said(THREADS, json.dumps([0])))
    assert pool
    assert calls == []


@pytest.mark.parametrize(("may_be_slow", "factor", "slow"), [(True, 0, True), (True, 1e9, False), (False, 0, False)])
def test_the_way_to_convolve_is_chosen_by_its_time(may_be_slow, factor, slow):
    assert said(CONVOLUTION, str(may_be_slow), str(factor)) == str(slow)
