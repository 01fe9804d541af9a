"""Recording someone's own script: the call of a pipeline in a with-block becomes a trace.

    import parity

    with parity.recording(pipeline, "trace"):
        image = pipeline("a fox in the snow", num_inference_steps=30, generator=generator).images[0]

The call runs as it always does and returns what it always returns. When the block is left it is made again, from the
same state of its random numbers, and recorded as `parity record` records a case: the working run with the random
numbers that were drawn, the float64 twin, the twin's modules on the recorded inputs. The call, its arguments resolved,
is the trace's case. The check `neutral` then says whether the recorded run gives the user's own latents and image bit
for bit, `repeatable` whether it gives the same bytes again.

An adapter takes part by a method `adopt(pipeline, model)` of its reference, which returns a reference that is a
context manager and has `resolved` once its block has ended. This module imports no framework.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from parity import disk
from parity.errors import InputError
from parity.record import Options, Reference, find, record
from parity.trace import check_unused

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from contextlib import AbstractContextManager

    from parity.case import Resolved
    from parity.record import Tell
    from parity.trace import Store

__all__ = ["Adopted", "recording"]


class Adopted(Reference, Protocol):
    """A reference made of a pipeline in memory; entering it watches, leaving it stops."""

    @property
    def resolved(self) -> Resolved:
        """The watched call as a case; InputError when there was none."""


@contextmanager
def recording(
    pipeline: Any,
    out: str | Path,
    *,
    reference: str = "diffusers",
    model: str | Path | None = None,
    dtypes: Sequence[str] | None = None,
    store: Store = "hdf5",
    taps: str | None = None,
    steps: Collection[int] | None = None,
    resume: bool = False,
    progress: Tell | None = None,
) -> Iterator[None]:
    """Record the one call of `pipeline` in the block as a trace in the folder `out`.

    Args:
        pipeline: What is called in the block.
        out: The trace's folder.
        reference: Whose adapter knows the pipeline.
        model: The folder of its weights, for candidates; default: where the pipeline says it was loaded from.
        dtypes: The pipeline's type, and float64 for the twin; default: both.
        store: Format of the tensors.
        taps: A pattern; only addresses that match as a whole are recorded.
        steps: Only these steps of the loop are recorded.
        resume: Continue the recording of the same call that was interrupted.
        progress: Called with stage, done and total.

    Raises:
        AddressError: `taps` is no regular expression.
        InputError: the pipeline cannot be recorded, or was not called exactly once.
        CaseError: an argument of the call cannot be said in a case.
        TraceError: `out` holds a trace already, someone's own files, or what cannot be resumed.
        OutputError: `out` cannot be written to.
    """
    chosen = Options(dtypes=tuple(dtypes or ()), store=store, taps=taps, steps=steps, resume=resume)
    check_unused(out, resume=resume)
    disk.check_file(Path(out) / "manifest.json")
    found: Any = find(reference)
    if not hasattr(found, "adopt"):
        message = f"the reference {reference} records no pipeline in memory; use parity record"
        raise InputError(message)
    adopted: Any = found.adopt(pipeline, model)
    watching: AbstractContextManager[Any] = adopted
    with watching:
        yield
    record(adopted.resolved, adopted, out, chosen, progress=progress)
