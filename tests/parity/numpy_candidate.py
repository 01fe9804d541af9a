"""A port of `numpy_program` as a candidate: the double for what replays, audits, diagnoses and checks any candidate.

It is another program: its cells have other names, its matrices are stored the other way round, query, key and value are one
product, its first layer keeps images as they are, the activation is two cells, its tokenizer gives 32 bits. So every kind of
row that an alignment can have occurs. A fault is built in by a plant, a Python file with `checkpoint(state)` or
`model(port)`, as in any other candidate; `coarse` in a port makes its platform's kernels of some kinds poor.
"""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
from scipy import special

from parity.adapters.parameters import address_of
from parity.adapters.plants import Plant
from parity.errors import AlignmentError, RepairError, WeightsError, nearest
from parity.frameworks.floors import measure
from parity.repair import AttributeEdit, PrecisionEdit, WeightEdit, relaid
from parity.replay import Options, Parameter, replay
from parity.trace.schema import Row
from tests.parity.numpy_program import HEADS, SHAPES, TEXT_EPS, levels, read_weights, token_ids

__all__ = ["NumpyCandidate", "NumpySystem", "Port", "candidate", "replayed"]

FUNCTIONS = (
    "tokenizer", "scheduler.set_timesteps", "prepare_latents", "scheduler.scale_model_input", "guidance",
    "scheduler.step", "vae.decode", "postprocess",
)  # fmt: skip
QKV = "net.attn.qkv"
HIDDEN = ("hidden_states",)
ROWS = (
    Row(path="text_encoder", native="text", port="output.last_hidden_state", ports=("input_ids",), take="0"),
    Row(path="text_encoder.embeddings.token", native="text.table", ports=("input_ids",)),
    Row(path="text_encoder.embeddings", native="text.ln", take="input.0", replay="embedded"),
    Row(path="text_encoder.norm", native="text.ln", ports=HIDDEN),
    Row(path="unet", native="net", ports=("sample", "timestep", "encoder_hidden_states")),
    Row(path="unet.conv_in", native="net.inp", output="nchw-to-tokens", replay="first", kind="linear"),
    Row(path="unet.context", native="net.told", ports=HIDDEN, kind="linear"),
    Row(path="unet.time_proj", native="net.time", ports=("timestep",)),
    Row(path="unet.act", native="net.act1", call=0, native_call=0, ports=HIDDEN, kind="gelu"),
    Row(path="unet.act", native="net.act2", call=1, native_call=0, ports=HIDDEN, kind="gelu"),
    Row(path="unet.norm", native="net.ln", ports=HIDDEN),
    Row(path="unet.attn", native="net.attn", ports=HIDDEN),
    Row(path="unet.attn.to_q", native=QKV, ports=HIDDEN, output="slice:0/3", kind="linear"),
    Row(path="unet.attn.to_k", native=QKV, ports=HIDDEN, output="slice:1/3", kind="linear"),
    Row(path="unet.attn.to_v", native=QKV, ports=HIDDEN, output="slice:2/3", kind="linear"),
    Row(path="unet.attn.to_out", native="net.attn.out", ports=HIDDEN, kind="linear"),
    Row(path="unet.ff", native="net.ff", ports=HIDDEN, kind="linear"),
    Row(path="unet.conv_out", native="net.outp", ports=HIDDEN, kind="linear"),
    Row(path="vae.decoder", native="decoder", ports=HIDDEN, kind="linear"),
    Row(path="tokenizer", native="tokenizer", port="output.input_ids", function=True, output="integer-width"),
    *(Row(path=name, native=name, function=True) for name in FUNCTIONS[1:]),
)
NOT_COMPARED = {"unet.drop": "identity"}

# The port's name of a parameter, by the reference's; matrices of layers are transposed on the way.
NAMES = {
    "text_encoder.embeddings.position": "text.position", "text_encoder.embeddings.token.weight": "text.table",
    "text_encoder.norm.weight": "text.ln.gain", "text_encoder.norm.bias": "text.ln.bias",
    "unet.conv_in.weight": "net.inp.matrix", "unet.conv_in.bias": "net.inp.bias", "unet.context.weight": "net.told.matrix",
    "unet.norm.weight": "net.ln.gain", "unet.norm.bias": "net.ln.bias",
    "unet.attn.to_q.weight": "net.attn.q", "unet.attn.to_k.weight": "net.attn.k", "unet.attn.to_v.weight": "net.attn.v",
    "unet.attn.to_out.weight": "net.attn.out.matrix", "unet.attn.to_out.bias": "net.attn.out.bias",
    "unet.ff.weight": "net.ff.matrix", "unet.ff.bias": "net.ff.bias",
    "unet.conv_out.weight": "net.outp.matrix", "unet.conv_out.bias": "net.outp.bias",
    "vae.decoder.weight": "decoder.matrix", "vae.decoder.bias": "decoder.bias",
}  # fmt: skip
TRANSPOSED = {name for name, shape in SHAPES.items() if len(shape) == 2 and "embeddings" not in name}
ATTRIBUTES = {
    "text_encoder.norm": ("eps",), "unet.norm": ("eps",), "unet.act": ("approximate",), "unet.attn": ("heads", "scale"),
    "guidance": ("guidance_scale",),
}  # fmt: skip


def convert(state):
    """Return the reference's weights as the port's checkpoint.

    Raises:
        WeightsError: a tensor is missing or has no place.
    """
    wrong = [f"missing {name}" for name in NAMES if name not in state]
    wrong += [f"unexpected {name}" for name in state if name not in NAMES]
    if wrong:
        message = f"the weights do not fit: {', '.join(wrong)}"
        raise WeightsError(message)
    return {
        native: np.ascontiguousarray(state[name].T if name in TRANSPOSED else state[name])
        for name, native in NAMES.items()
    }


def normal(x, eps):
    """Bring the last axis to mean 0 and variance 1."""
    centred = x - np.mean(x, axis=-1, keepdims=True)
    return centred * (np.var(x, axis=-1, keepdims=True) + x.dtype.type(eps)) ** x.dtype.type(-0.5)


class Port:
    """The ported program; a cell is a method, called by its name through `cell`."""

    def __init__(self, state, dtype, guidance):
        self.dtype = np.dtype(dtype)
        self.state = {name: array.astype(dtype) for name, array in state.items()}
        self.settings = {
            "text_encoder.norm": {"eps": TEXT_EPS}, "unet.norm": {"eps": 1e-6}, "unet.act": {"approximate": "none"},
            "unet.attn": {"heads": HEADS, "scale": 0.5}, "guidance": {"guidance_scale": guidance},
        }  # fmt: skip
        self.noise_late = 0  # by how many steps the sampler's noise is late
        self.coarse: set[str] = set()  # kinds of operator whose kernel is poor in float32
        self.wide: set[str] = set()  # kinds that a repair has computed in float64
        self.unloaded: set[str] = set()  # the port's own names of parameters that nothing filled
        self.hooks: dict[str, object] = {}
        self.cells = {
            "text": self.text, "text.table": lambda ids: self.state["text.table"][ids], "text.ln": self._text_ln,
            "net": self.net, "net.inp": self._inp, "net.told": lambda x: self._layer("net.told", x), "net.time": self._time,
            "net.act1": self._act, "net.act2": self._act, "net.ln": self._ln, "net.attn": self._attn, QKV: self._qkv,
            "net.attn.out": lambda x: self._layer("net.attn.out", x), "net.ff": lambda x: self._layer("net.ff", x),
            "net.outp": lambda x: self._layer("net.outp", x), "decoder": lambda x: self._layer("decoder", x),
        }  # fmt: skip

    def cell(self, name, *inputs):
        """Run a cell, and let whoever hooked it see the call and replace its output."""
        output = self.cells[name](*inputs)
        if name in self.hooks:
            replacement = self.hooks[name](name, inputs, output)
            output = output if replacement is None else replacement
        return output

    def kernel(self, kind, compute, x):
        """Run an operator as this platform does: exactly, or poorly where its kernel of this kind is coarse."""
        if kind in self.wide:
            return compute(x.astype(np.float64)).astype(x.dtype)
        if kind in self.coarse and x.dtype == np.float32:
            return compute(x) * np.float32(1 + 3e-4)
        return compute(x)

    def softmax(self, x):
        """Return softmax along the last axis."""
        powers = np.exp(x - x.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)

    def gelu(self, x):
        """Return the activation in the variant that is set."""
        if self.settings["unet.act"]["approximate"] == "tanh":
            return x * special.expit(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)).astype(x.dtype)
        return x * (1 + special.erf(x / x.dtype.type(np.sqrt(2)))) / 2

    def embedded(self, ids):
        """Return token and position embeddings together."""
        return self.cell("text.table", ids) + self.state["text.position"]

    def text(self, ids):
        """Return the states of each token, and of the last one."""
        hidden = self.cell("text.ln", self.embedded(ids))
        return hidden, hidden[:, -1]

    def net(self, sample, timestep, states):
        """Return the denoiser's output, one channel after the other."""
        batch, channels, height, width = sample.shape
        first = self.cell("net.inp", sample)
        hidden = first.reshape(batch, first.shape[1], -1).swapaxes(1, 2)
        hidden = hidden + self.cell("net.told", states.mean(axis=1))[:, None] + self.cell("net.time", timestep)
        hidden = self.cell("net.act1", hidden)
        hidden = hidden + self.cell("net.attn", self.cell("net.ln", hidden))
        hidden = hidden + self.cell("net.act2", self.cell("net.ff", hidden))
        return self.cell("net.outp", hidden).swapaxes(1, 2).reshape(batch, channels, height, width)

    def _layer(self, name, x):
        return np.einsum("...i,ij->...j", x, self.state[f"{name}.matrix"]) + self.state.get(f"{name}.bias", 0)

    def _inp(self, sample):
        product = np.einsum("bchw,cd->bdhw", sample, self.state["net.inp.matrix"])
        return product + self.state["net.inp.bias"][:, None, None]

    def _time(self, timestep):
        angles = timestep / np.exp(np.arange(6, dtype=timestep.dtype))
        return np.concatenate([np.sin(angles), np.cos(angles)])

    def _text_ln(self, x):
        return (
            normal(x, self.settings["text_encoder.norm"]["eps"]) * self.state["text.ln.gain"]
            + self.state["text.ln.bias"]
        )

    def _ln(self, x):
        return normal(x, self.settings["unet.norm"]["eps"]) * self.state["net.ln.gain"] + self.state["net.ln.bias"]

    def _act(self, x):
        return self.kernel("gelu", self.gelu, x)

    def _qkv(self, x):
        return x @ np.concatenate([self.state[f"net.attn.{name}"] for name in "qkv"], axis=1)

    def _attn(self, x):
        batch, tokens, width = x.shape
        heads, scale = self.settings["unet.attn"]["heads"], x.dtype.type(self.settings["unet.attn"]["scale"])
        query, key, value = (
            np.moveaxis(part.reshape(batch, tokens, heads, -1), 2, 1)
            for part in np.split(self.cell(QKV, x), 3, axis=-1)
        )
        weights = self.kernel("softmax", self.softmax, np.einsum("bhqd,bhkd->bhqk", query * scale, key))
        return self.cell("net.attn.out", np.moveaxis(weights @ value, 1, 2).reshape(batch, tokens, width))

    def image(self, latents):
        """Return the decoded image, in -1 to 1."""
        batch, channels, height, width = latents.shape
        return (
            self.cell("decoder", latents.reshape(batch, channels, -1).swapaxes(1, 2))
            .swapaxes(1, 2)
            .reshape(batch, 3, height, width)
        )


class NumpySystem:
    """The port in one type, as the harness drives it."""

    def __init__(self, port, request):
        self.port, self.dtype = port, request.dtype
        self.case = request.manifest.case
        self.steps_made = int(self.case["sampling"]["steps"])
        self.timesteps, self.sigmas = levels(self.steps_made, request.dtype)

    def weights(self):
        """Yield every parameter in the reference's layout."""
        for name, native in NAMES.items():
            array = self._held(name).astype(np.float32)  # what the file and the reference hold
            yield Parameter(
                address=address_of(name), native=native, array=array, loaded=native not in self.port.unloaded
            )

    def _held(self, name):
        """Return a parameter in the reference's layout."""
        array = self.port.state[NAMES[name]]
        return np.ascontiguousarray(array.T if name in TRANSPOSED else array)

    def attributes(self):
        """Return what is set."""
        return {path: dict(values) for path, values in self.port.settings.items()}

    def provenance(self):
        """Return numpy's version."""
        return {"framework": "numpy", "versions": {"numpy": np.__version__}}

    def floors(self):
        """Return the own error of the port's kernels; none in float64."""
        if self.dtype == "float64":
            return {}
        kernels = {"softmax": self.port.softmax, "gelu": self.port.gelu}

        def own(kind):
            return lambda x: self.port.kernel(kind, kernels[kind], x.astype(self.dtype))

        return measure({kind: own(kind) for kind in kernels}, self.dtype)

    @contextmanager
    def observe(self, natives, seen):
        """Hook cells.

        Raises:
            AlignmentError: one is not there.
        """
        for native in natives:
            if native not in self.port.cells:
                message = f"the candidate has no cell {native!r}{nearest(native, self.port.cells)}; its alignment table names it"
                raise AlignmentError(message)
        self.port.hooks.update(dict.fromkeys(natives, seen))
        try:
            yield
        finally:
            self.port.hooks.clear()

    def numpy(self, value):
        """Return the arrays of a cell's inputs or output by their place."""
        if isinstance(value, tuple):
            return {str(index): each for index, each in enumerate(value) if isinstance(each, np.ndarray)}
        return {"": value}

    def native(self, array):
        """Return an array in the port's type."""
        return array.astype(self.port.dtype if array.dtype.kind == "f" else np.int32)

    def free(self, given, reporter):
        """Run everything from prompts and noise."""
        self._run(given, reporter, restart=False)

    def steps(self, given, reporter):
        """Run each stage and step from the reference's tensors."""
        self._run(given, reporter, restart=True)

    def _run(self, given, reporter, *, restart):
        encoded = []
        for call, half in enumerate(("positive", "negative")):
            ids = self.function("tokenizer", {"text": self.case["prompt"][half]}, None)["output.input_ids"]
            reporter.function("tokenizer", {"output.input_ids": ids}, call)
            encoded.append(self.port.cell("text", ids)[0])
        self._told(reporter, "scheduler.set_timesteps", {}, None)
        latents = self._told(reporter, "prepare_latents", {"noise": given.tensor("prepare_latents:input.noise")}, None)
        context = np.concatenate(encoded[::-1])
        for step in filter(reporter.wants, range(self.steps_made)) if restart else range(self.steps_made):
            reporter.step(step)
            if restart:
                latents = given.tensor(f"scheduler.step@step={step}:input.sample")
                context = given.tensor(f"unet@step={step}:input.encoder_hidden_states")
            latents = self._step(self.native(latents), self.native(context), given.noise, step, reporter)
        reporter.step(None)
        if restart:
            latents = given.tensor(f"scheduler.step@step={self.steps_made - 1}:output")
        image = self._told(reporter, "vae.decode", {"z": self.native(latents)}, None)
        self._told(reporter, "postprocess", {"image": image}, None)

    def _step(self, latents, context, noise, step, reporter):
        scaled = self._told(reporter, "scheduler.scale_model_input", {"sample": latents}, step)
        both = np.concatenate([scaled, scaled])
        uncond, text = np.split(self.port.cell("net", both, self.timesteps[step], context), 2)
        halves = {"noise_pred_uncond": uncond, "noise_pred_text": text}
        predicted = self._told(reporter, "guidance", halves, step)
        late = np.roll(noise, self.port.noise_late, axis=0)
        moved = {"sample": latents, "model_output": predicted, "noise": self.native(late[step])}
        return self._told(reporter, "scheduler.step", moved, step)

    def _told(self, reporter, name, inputs, step):
        """Run a function and report what it gives."""
        outputs = self.function(name, inputs, step)
        reporter.function(name, outputs)
        return outputs.get("output")

    def layer(self, rows, inputs, given, step):
        """Run one cell or function on recorded inputs."""
        row = rows[0]
        tensors = {key: self.native(each) if isinstance(each, np.ndarray) else each for key, each in inputs.items()}
        if row.function:
            if row.path == "scheduler.step":
                late = np.roll(given.noise, self.port.noise_late, axis=0)
                tensors["noise"] = self.native(late[step])
            return self.function(row.path, tensors, step)
        if row.replay == "embedded":
            return {row.port: self.port.embedded(tensors["input_ids"])}
        if row.replay == "first":  # the reference's tokens are an image of one column here
            return {row.port: self.port.cell(row.native, tensors["hidden_states"].swapaxes(1, 2)[..., None])}
        found = self.numpy(self.port.cell(row.native, *(tensors[key] for key in row.ports)))
        return {each.port: found[each.take] for each in rows if each.take in found}

    def function(self, name, inputs, step):
        """Run a named function on inputs by the reference's keys."""
        if name == "tokenizer":
            return {"output.input_ids": token_ids(inputs["text"]).astype(np.int32)}
        if name == "scheduler.set_timesteps":
            return {"output.timesteps": self.timesteps, "output.sigmas": self.sigmas}
        return {"output": getattr(self, "_" + name.replace(".", "_"))(step=step, **inputs)}

    def _prepare_latents(self, noise, step):
        del step
        return self.native(noise) * self.sigmas[0]

    def _scheduler_scale_model_input(self, sample, step, timestep=None):
        del timestep
        return sample / np.hypot(self.sigmas[step], self.port.dtype.type(1))

    def _guidance(self, noise_pred_uncond, noise_pred_text, step):
        del step
        scale = self.port.dtype.type(self.port.settings["guidance"]["guidance_scale"])
        return noise_pred_uncond * (1 - scale) + noise_pred_text * scale

    def _scheduler_step(self, sample, model_output, noise, step, timestep=None):
        del timestep
        sigma, following = self.sigmas[step], self.sigmas[step + 1]
        down = following**2 / sigma
        return sample + model_output * (down - sigma) + noise * np.sqrt(following**2 - down**2)

    def _vae_decode(self, z, step):
        del step
        return self.port.image(z)

    def _postprocess(self, image, step):
        del step
        return ((image + 1) / 2).clip(0, 1)

    def apply(self, edit):
        """Apply one repair.

        Raises:
            RepairError: it names something that the port does not have.
        """
        if isinstance(edit, PrecisionEdit):
            self.port.wide.update(edit.operators)
        elif isinstance(edit, WeightEdit):
            self._edit_weight(edit)
        elif isinstance(edit, AttributeEdit):
            if edit.name not in self.port.settings.get(edit.path, {}):
                message = f"{edit.path} has no attribute {edit.name!r} here"
                raise RepairError(message)
            self.port.settings[edit.path][edit.name] = edit.value

    def _edit_weight(self, edit):
        names = {address_of(name): name for name in NAMES}
        if edit.address not in names:
            message = f"{edit.address} is no parameter of this model; give PATH:PARAMETER of the reference"
            raise RepairError(message)
        name = names[edit.address]
        edited = relaid(self._held(name), edit)
        self.port.state[NAMES[name]] = np.ascontiguousarray(edited.T if name in TRANSPOSED else edited)


class NumpyCandidate:
    """The port as a candidate; a test may give it other rows or another system."""

    name = "numpy port"
    rows = ROWS
    not_compared = NOT_COMPARED
    system = NumpySystem

    def alignment(self, request):
        """Return the table."""
        del request
        return self.rows, self.not_compared

    def build(self, request):
        """Load the weights that the case names, and build in a fault where one is planted."""
        plant = Plant.of(request.plant)
        state = convert(read_weights(request.model))
        plant.checkpoint(state)
        port = Port(state, request.dtype, float(request.manifest.case["sampling"]["guidance"]))
        plant.model(port)
        return self.system(port, request)


candidate = NumpyCandidate()


def replayed(trace, out, port=candidate, plant="", **options):
    """Replay a trace in the port, with the fault of a plant's text built in, as the command line would do it again."""
    command = ["--candidate=tests.parity.numpy_candidate:candidate"]
    if plant:
        file = out.with_name(f"{out.name}-plant.py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(plant, encoding="utf-8")
        command.append(f"--plant={file}")
        options["plant"] = file
    return replay(trace.folder, port, out, Options(**{"command": tuple(command), **options}), lambda *_: None)
