"""The ceiling of a floor: the largest error of the reference that rounding explains.

What the reference errs by is measured, and a candidate may err by three times as much. So an error that is no rounding
- a tensor scaled by 1.05, a reference that computes in TensorFloat-32 and says float32 - would excuse as large a one of
the candidate. Therefore a floor ends at a multiple of the modelled error of one operator in the working type
(`parity.compare.limits.MODEL`), and where the reference's own error is beyond it the reference is at fault.

- A module in the layer replay starts from inputs that both runs share: one operator errs as modelled; of several inside
  each other the errors add up as independent ones do, to the largest of them times the root of their number. What is
  computed between them may raise it further: the softmax of large scores makes of one ulp of a half type many.
- In the step and the free replay `DEPTH` more: what came before is in it too.
- Where one operator subtracts large numbers, or takes the sine of some, its error is relative to what it was given: the
  recorded inputs are read where its output is beyond its ceiling, and a few ulp of the largest of them raise it. In the
  layer replay these are ulp of float32, in which the half types accumulate; in a run the inputs are rounded themselves.

    >>> from parity.distance.sums import Distances, Moments
    >>> found = Distances(64, Moments(64.0, 4.0), Moments(), Moments(64e-14, 3e-7))
    >>> model = Model.of("float32")
    >>> model.ceiling(found)
    Floor(rms=4e-05, max=8e-05)
    >>> model.ceiling(found).covers(found.working_rms, found.working_max)
    True
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from functools import cache, cached_property
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from parity.address import is_input, path_of, place_of, step_of
from parity.compare.floor import SMALLEST, Floor, coarser, ulp
from parity.compare.limits import BETWEEN_PARTS, DEPTH, MAX_FACTOR, MODEL, MODEL_ULPS, REACH_ULPS, REFERENCE_FACTOR
from parity.distance.measure import measure
from parity.distance.sums import Distances
from parity.distance.tensor import Tensor
from parity.dtypes import eps, is_float

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from parity.compare.plan import Job, RunPlan
    from parity.compare.work import Found
    from parity.result import Flag
    from parity.trace import Manifest, Record, RunReader

__all__ = ["Ceiling", "Model", "ceilings", "working_type"]

_COARSE_PRODUCTS: Final = {"tf32": "float16", "hf32": "float16"}
"""Policies of a float32 run whose products keep no more digits than a half type does, and that type."""
_ALONE: Final = (REFERENCE_FACTOR, REFERENCE_FACTOR)
_ACCUMULATED: Final = {"float16": "float32", "bfloat16": "float32"}
"""The type in which an operator adds up numbers of a half type."""


class Model(NamedTuple):
    """The modelled errors from which a ceiling is made, relative to the rms of what they are errors of.

    Attributes:
        dtype: The type whose rounding it is.
        rms, max: Of the whole, and of one element.
        reach: Of both, relative to what a tensor was made from.
        factors: How many times that is still rounding, of the whole and of one element.
        words: What makes such an error, as a person reads it.
    """

    dtype: str
    rms: float
    max: float
    reach: float
    factors: tuple[float, float]
    words: str

    @staticmethod
    @cache
    def of(dtype: str) -> Model:
        """Return what one operator errs by."""
        reach = REACH_ULPS * eps(_ACCUMULATED.get(dtype, dtype))
        return Model(dtype, *MODEL[dtype], reach, _ALONE, f"one operator in {dtype}")

    @staticmethod
    @cache
    def of_run(dtype: str) -> Model:
        """Return what a run may err by whose operators do so, in which errors are handed on from module to module."""
        rms = DEPTH * MODEL[dtype][0]
        # What has grown through many modules is noise, of which one element may be several times the rms.
        reach = REACH_ULPS * eps(dtype)
        return Model(dtype, rms, MAX_FACTOR * rms, reach, _ALONE, f"a whole run in {dtype}")

    def ceiling(self, found: Distances, reach: float = 0.0) -> Floor:
        """Return the ceiling of a tensor's floor; `reach` is the rms of what it was made from, where that counts."""
        least = max(MODEL_ULPS * SMALLEST[self.dtype], self.reach * reach)
        one_element = MODEL_ULPS * ulp(self.dtype, found.largest)
        return Floor(
            rms=self.factors[0] * max(self.rms * found.scale, least),
            max=self.factors[1] * max(self.max * found.scale, one_element, least),
        )


class Ceiling(NamedTuple):
    """How large the floor of a pair may be.

    Attributes:
        floor: The largest.
        fault: What of the reference is beyond it, in words; empty where nothing is.
        flags: What a pair gets by that.
    """

    floor: Floor
    fault: str = ""
    flags: tuple[Flag, ...] = ()


class _Own(NamedTuple):
    """The reference's own error at an address: against its float64 run, and from run to run."""

    found: Distances
    repeat: float

    def is_below(self, floor: Floor) -> bool:
        """Tell whether it is no more than rounding explains."""
        return floor.covers(self.found.working_rms, max(self.found.working_max, self.repeat))

    def fault(self, floor: Floor, words: str) -> str:
        """Say by how much the reference is off, and what rounding explains."""
        found = self.found
        explained = f"{words} may err by"
        if self.repeat > floor.max:
            return (
                f"the reference differs from itself by {self.repeat:.2g} from run to run; {explained} {floor.max:.2g}"
            )
        apart = "the reference's working run is off its own float64 run by"
        if found.working_rms > floor.rms:
            return f"{apart} {found.working_rms:.2g} in rms; {explained} {floor.rms:.2g} here"
        return f"{apart} {found.working_max:.2g} in one element; {explained} {floor.max:.2g} here"


def ceilings(run: RunPlan, jobs: Sequence[Job], found: Sequence[Found], reference: Manifest) -> list[Ceiling | None]:
    """Return the ceiling of every pair of a run that has a measured floor, None for the others."""
    limits: list[Ceiling | None] = [None] * len(jobs)
    if run.working is None:
        return limits
    paths = reference.modules.keys() | set(map(path_of, map(attrgetter("address"), jobs)))
    program = _Program(run, run.working, reference, paths)
    # In order of completion what is inside a module comes before it.
    for place in sorted(range(len(jobs)), key=lambda place: jobs[place].order):
        job, measured = jobs[place], found[place]
        if job.ground == "floor" and isinstance(measured, Distances):
            limits[place] = program.ceiling(job, measured)
    return limits


class _Program:
    """What the ceilings of a run follow from: its type, how many operators each module has inside, how these err."""

    def __init__(self, run: RunPlan, working: RunReader, reference: Manifest, paths: Iterable[str]) -> None:
        """Count for each module those inside it that have none inside themselves."""
        self._working = working
        self._manifest = reference
        self._is_local = run.mode == "layers"
        self._containers = reference.program.containers
        self._around = set(chain.from_iterable(map(self._containers, paths)))
        single = set(paths) - self._around
        self._amounts = Counter(chain.from_iterable(map(self._containers, single)))
        # Only where modules start from the reference's own inputs do their errors say something of what they are in.
        self._noted = {"layers": single}.get(run.mode, set())
        self._worst: defaultdict[tuple[str, int | None], Floor] = defaultdict(lambda: Floor(0.0, 0.0))

    def ceiling(self, job: Job, found: Distances) -> Ceiling:
        """Return the ceiling of a pair; called in order of completion."""
        # A wider tensor of a run in a half type was made from tensors of that type.
        dtype = working_type(coarser(job.run.working_dtype, (job.working or job.expected).dtype), self._manifest.policy)
        own = _Own(found, self._manifest.checks.repeat_max_abs.get(job.address, 0.0))
        path = path_of(job.address)
        model = self._model(job.address, dtype)
        floor = model.ceiling(found)
        if not own.is_below(floor) and path not in self._around:
            floor = model.ceiling(found, self._reach(job.address))
        if path in self._noted:
            self._note(job.address, own, floor)
        if own.is_below(floor):
            return Ceiling(floor)
        return Ceiling(floor, own.fault(floor, model.words), ("reference-error",))

    def _model(self, address: str, dtype: str) -> Model:
        """Return what the tensor of an address may err by."""
        if not self._is_local:
            return Model.of_run(dtype)
        single, path = Model.of(dtype), path_of(address)
        amount = self._amounts[path]
        if not amount:
            return single
        growth = math.sqrt(amount)
        worst = self._worst.get((path, step_of(address)), Floor(single.rms, single.max))
        rms, peak = max(single.rms, growth * worst.rms), max(single.max, growth * worst.max)
        of_rms, of_max = BETWEEN_PARTS.get(dtype, (1.0, 1.0))
        factors = REFERENCE_FACTOR * of_rms, REFERENCE_FACTOR * of_max
        return single._replace(rms=rms, max=peak, factors=factors, words=f"{amount} modules in {dtype}")

    def _note(self, address: str, own: _Own, floor: Floor) -> None:
        """Take note of how one operator errs, for all that it is inside of; what nothing explains explains nothing."""
        found = own.found
        relative = Floor(0.0, 0.0)
        if found.scale and own.is_below(floor):
            relative = Floor(found.working_rms / found.scale, found.working_max / found.scale)
        for container in self._containers(path_of(address)):
            key = container, step_of(address)
            before = self._worst[key]
            self._worst[key] = Floor(max(before.rms, relative.rms), max(before.max, relative.max))

    def _reach(self, address: str) -> float:
        """Return the largest rms of the inputs of a call; 0 where none is recorded."""
        return max(map(self._rms, self._inputs.get(place_of(address), ())), default=0.0)

    @cached_property
    def _inputs(self) -> dict[str, list[Record]]:
        """What each call was given."""
        found: dict[str, list[Record]] = {}
        for record in filter(_can_reach, self._working.records):
            found.setdefault(place_of(record.address), []).append(record)
        return found

    def _rms(self, record: Record) -> float:
        """Return the rms of an input, of its finite elements where some are not."""
        tensor = Tensor(self._working.tensor(record.address), record.dtype)
        return measure(tensor, tensor).scale  # block by block, however large it is


def _can_reach(record: Record) -> bool:
    """Tell whether a record is an input that an error may be relative to: several numbers, no index and no setting."""
    return is_input(record.address) and is_float(record.dtype) and math.prod(record.shape) > 1


def working_type(dtype: str, policy: str) -> str:
    """Return the type whose rounding a run in `dtype` has under a policy."""
    return _COARSE_PRODUCTS.get(policy, dtype) if dtype == "float32" else dtype
