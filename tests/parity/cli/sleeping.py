"""Sides that wait until their process ends, or behave badly in other ways; as `MODULE:ATTR` of a command."""

from __future__ import annotations

import os
import signal
import sys
import time

from tests.parity.numpy_candidate import NumpyCandidate

__all__ = ["candidate", "deaf", "killed", "loud", "reference"]


def sleep(*_, **__):
    """Say the number of this process, and wait."""
    sys.stderr.write(f"waiting {os.getpid()}\n")
    sys.stderr.flush()
    time.sleep(60)


class Side:
    """As a reference or as a candidate."""

    name = "sleeping"
    sections = ("model", "prompt", "sampling", "size", "precision")
    load = prepare = alignment = staticmethod(sleep)


class Killed(Side):
    """One whose process is killed as by a system that is out of memory."""

    @staticmethod
    def load(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)


class Deaf(Side):
    """One that makes an error of its own of whatever ends its sleep."""

    @staticmethod
    def load(*_, **__):
        try:
            sleep()
        except KeyboardInterrupt:
            message = "returned a result with an exception set"
            raise SystemError(message) from None


class Loud(NumpyCandidate):
    """The port in numpy, with a library that writes to stdout."""

    name = "loud"

    def build(self, request):
        """Say so twice, once as a library in C does, and load the weights."""
        sys.stdout.write("a library says so\n")
        os.write(1, b"a library says so\n")
        return super().build(request)


reference = candidate = Side()
killed = Killed()
deaf = Deaf()
loud = Loud()
