"""A real reference without a framework: a denoiser of three numpy functions, recorded as any other."""

from __future__ import annotations

import numpy as np

from parity.address import Address
from parity.case import DIFFUSION
from parity.components import Components
from parity.record import Outcome
from parity.taps import Call
from parity.trace import digest

STAGES = {"unet": "unet", "scheduler.step": "sampler", "prepare_latents": "schedule"}
PROVENANCE = {"framework": "numpy", "versions": {"numpy": np.__version__}}


class System:
    """Scales, shifts and steps; `meddle` changes what hooks see, `restless` draws anew in each run."""

    def __init__(self, steps, dtype, *, meddle=False, restless=False, forgets=(), stages=STAGES):
        self._count, self._dtype = steps, dtype
        self._meddle, self._restless, self._forgets = meddle, restless, forgets
        self.components = Components(stages=stages)
        self._generator = np.random.default_rng(3)
        self._weight = np.random.default_rng(1).standard_normal((3, 2)).astype(dtype)
        self._noise = np.random.default_rng(2).standard_normal((steps + 1, 1, 4, 2, 3)).astype(np.float32)
        self._latents = []

    def modules(self):
        """Return the two modules."""
        return {"unet": "Denoiser", "unet.conv_in": "Scale"}

    def attributes(self):
        """Return the scale."""
        return {"unet.conv_in": {"scale": 0.7}}

    def weights(self):
        """Yield the only one."""
        yield "unet.conv_in:weight", self._weight, self._dtype

    def provenance(self):
        """Return numpy's version."""
        return PROVENANCE

    def floors(self):
        """Return one operator."""
        return {"exp": {self._dtype: {"rel_l2": 3e-8, "rel_max": 1e-7}}}

    def policy(self):
        """Return the working type."""
        return self._dtype

    def run(self, taps, progress):
        """Run in the working type."""
        return self._loop(taps, np.dtype(self._dtype), progress)

    def twin(self, taps, progress):
        """Run in float64."""
        self._loop(taps, np.dtype("float64"), progress)
        return []

    def steps(self, taps, progress):
        """Run in float64 from the last run's latents."""
        self._loop(taps, np.dtype("float64"), progress, starts=self._latents)

    def forced(self, recorded, skipped, taps, progress):
        """Apply each function to its recorded input."""
        for number, text in enumerate(recorded):
            address = Address.parse(text)
            if address.port != "output" or Call.of(address) in skipped or address.path in self._forgets:
                continue
            if address.path == "prepare_latents":
                wanted = 2.0 * recorded.wide("prepare_latents:input.noise")
            else:
                given = f"{address.path}{address.index}:input.sample"
                wanted = (0.9 if address.path == "scheduler.step" else 0.7) * recorded.wide(given)
                if address.path == "unet":
                    wanted = np.tanh(wanted)
            taps.repeat(address, wanted, "float64")
            progress(number + 1, len(recorded))

    def _loop(self, taps, dtype, progress, starts=None):
        latents = (2 * self._noise[0]).astype(dtype)
        self._report(taps, "prepare_latents", {"noise": self._noise[0].astype(dtype)}, latents)
        finals, seen = {}, []
        for step in range(self._count):
            if taps is not None:
                taps.step = step
            latents = latents if starts is None else starts[step].astype(dtype)
            seen.append(latents)
            call = None if taps is None else taps.enter("unet")
            scaled = latents * dtype.type(0.7)
            if self._meddle and taps is not None:
                scaled = scaled * dtype.type(1.001)
            if self._restless:
                scaled = scaled + self._generator.standard_normal(scaled.shape).astype(dtype) * dtype.type(1e-3)
            self._report(taps, "unet.conv_in", {"sample": latents}, scaled)
            output = np.tanh(scaled)
            if call is not None:
                self._fill(taps, call, {"sample": latents}, output)
            latents = output * dtype.type(0.9)
            self._report(taps, "scheduler.step", {"sample": output}, latents)
            finals[f"latents@step={step}"] = digest(latents, dtype.name)
            progress(step + 1, self._count)
        if taps is not None:
            taps.step = None
        if starts is None and dtype != np.float64:
            self._latents = seen
        return Outcome(finals=finals, latents=self._noise[0], noise=self._noise[1:])

    def _report(self, taps, path, inputs, output):
        if taps is not None:
            self._fill(taps, taps.enter(path), inputs, output)

    @staticmethod
    def _fill(taps, call, inputs, output):
        for name, array in inputs.items():
            if taps.address(call, f"input.{name}") is not None:
                taps.tensor(call, f"input.{name}", array.copy(), array.dtype.name)
        taps.tensor(call, "output", output.copy(), output.dtype.name)
        taps.leave(call)


class Reference:
    """Loads the system with what the test asks for."""

    name = "numpy"
    sections = DIFFUSION

    def __init__(self, **options):
        self._options = options

    def load(self, resolved, *, device, dtype, source=None):
        """Return a system."""
        del device, source
        return System(resolved.case.sampling.steps, dtype, **self._options)


reference = Reference()
