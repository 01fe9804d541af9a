"""One trial: alter an input or an argument, run the command, and say what is wrong with how it ended."""

# ruff: noqa: S311 - reproducible draws
from __future__ import annotations

import contextlib
import io
import random
import resource
import shutil
import signal
import struct
import sys
import warnings
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity import children, cli
from parity.errors import InputError
from tests.meta.fuzz import alterations, corpus

if TYPE_CHECKING:
    from collections.abc import Iterator

CPU_S = 10.0
MEMORY_BYTES = 2 << 30
LONGEST = 2100
ARGUMENTS = [
    "", "-", "--", "--only", "--taps", "--steps", "--dtype", "--size", "--jobs", "--out", "--store", "--mode", "--device", "--seed",
    "--headroom", "--json", "--candidate", "--reference", "--tolerances", "--mapping", "--plant", "--repair", "--weights", "--source",
    "ref", "cand", "result", "a.npz", "a", "map.toml", "t.toml", "case/case.toml", "/dev/null", "/dev/zero", "/dev/tty", "nowhere",
    "new", "ref/manifest.json", "(a+)+b", "(", ".*", "(?=x)", "[" * 300, "unet.conv_in@step=0:output", "unet.conv_in", "0", "-1", "1",
    "1e999", "nan", "1" * 5000, "0x10", "99999999999999999999", "256x192", "0x0", "9" * 50 + "x8", "float64", "bfloat16", "float31",
    "layers", "cuda:" + "9" * 400, "\x1b[31m\n", "\u202e", "\udcff", "x" * 5000, "..", "a:b", "os:system", "tests:", ":x", "a:b:c",
    corpus.HERE, "..x:y",
]  # fmt: skip
COMMANDS = [
    "record", "replay", "compare", "map", "report", "show", "explain", "judge", "calibrate", "verify", "pack", "diagnose", "run",
]  # fmt: skip


_FORMLESS = (
    ValueError, KeyError, IndexError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip
"""What is raised where a file has not the form that an alteration needs."""


class Hang(BaseException):
    """A command has taken too much of the processor's time."""


@dataclass
class Ended:
    """How a command ended."""

    code: Any
    out: str
    err: str
    hung: bool = False


@dataclass
class Trials:
    """Trials on one corpus; `ended` counts the exit codes by kind."""

    root: Path
    seed: int
    ended: dict[tuple[str, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write the corpus."""
        corpus.build(self.root)
        self._whole = {path: path.read_bytes() for path in sorted(self.root.rglob("*")) if path.is_file()}
        self._folders = {path for path in self.root.rglob("*") if path.is_dir()}
        self._truths = {kind.name: kind.truth(self.root) for kind in corpus.KINDS if kind.truth}

    def run(self, number: int) -> str:
        """Do one trial; return what is wrong with it, and nothing where all is well."""
        draw = random.Random(f"{self.seed} {number}")
        try:
            place = number % (len(corpus.KINDS) + 1)
            if place == len(corpus.KINDS):
                return self._arguments(draw)
            return self._altered(draw, corpus.KINDS[place])
        finally:
            self.restore()

    def _arguments(self, draw: random.Random) -> str:
        """Run a command with arguments of any kind."""
        drawn = draw.choice(corpus.KINDS)
        base = list(draw.choice(drawn.commands)) if draw.random() < 0.5 else [draw.choice(COMMANDS)]
        for _ in range(draw.choice((1, 1, 2, 3))):
            word = draw.choice(ARGUMENTS)
            base.insert(draw.randrange(1, len(base) + 1), word)
        ended = ran(self.root, base)
        self._count("arguments", ended)
        return judged(ended, f"{base!r:.300}")

    def _altered(self, draw: random.Random, kind: corpus.Kind) -> str:
        """Alter a file of a kind, run one of its commands, and look at how that ended."""
        path = draw.choice([path for pattern in kind.files for path in sorted(self.root.glob(pattern))])
        command = draw.choice(kind.commands)
        how = "sealed" if kind.seal else ""
        if kind.whole and draw.randrange(8) == 0:
            how = alterations.replaced(draw, path)
        else:
            for way in draw.choices(kind.ways, k=draw.choice((1, 1, 1, 2))):
                path.write_bytes(_in_form(way, draw, path.read_bytes()))
                how += f" {way.__name__}"
            if kind.seal:
                with contextlib.suppress(Exception):  # what cannot be read cannot be sealed
                    kind.seal(self.root, path)
        what = f"{kind.name}: {path.relative_to(self.root)!s} {how}: parity {' '.join(command)}"
        ended = ran(self.root, command)
        self._count(kind.name, ended)
        wrong = judged(ended, what)
        if not wrong and kind.truth and command[0] == "compare" and ended.code == 0:
            try:
                sys.set_int_max_str_digits(0)  # a reader may skip what it does not need
                same = kind.truth(self.root) == self._truths[kind.name]
            except zipfile.BadZipFile:
                same = True  # an archive may be damaged where no tensor of it lies
            except Exception as error:  # noqa: BLE001 - another reader may fail in any way
                same = False
                what += f" ({error!r:.200})"
            finally:
                sys.set_int_max_str_digits(sys.int_info.default_max_str_digits)
            if not same:
                return f"{what}: MATCH, though what it says is another thing"
        return wrong

    def _count(self, name: str, ended: Ended) -> None:
        """Note the exit code."""
        self.ended[name, ended.code] = self.ended.get((name, ended.code), 0) + 1

    def restore(self) -> None:
        """Put everything back as it was."""
        for path in sorted(self.root.rglob("*"), reverse=True):
            if path.is_symlink() or not path.is_dir():
                if path.is_symlink() or not path.is_file() or path not in self._whole:
                    path.unlink()
            elif path not in self._folders:
                shutil.rmtree(path)
        for path, data in self._whole.items():
            if not path.exists() or path.stat().st_size != len(data) or path.read_bytes() != data:
                path.write_bytes(data)


def _in_form(way: Any, draw: random.Random, data: bytes) -> bytes:
    """Alter a file; one that an earlier alteration left without its form is altered by byte."""
    try:
        return way(draw, data)
    except _FORMLESS:
        return alterations.by_byte(draw, data)


def judged(ended: Ended, what: str) -> str:
    """Return what is wrong with how a command ended, whatever it was given; nothing where all is well."""
    lines = [line for line in ended.err.splitlines() if not line.startswith("[")]
    errors = [line for line in ended.err.split("\n") if line.startswith("error: ")]
    wrong = ""
    if ended.hung:
        wrong = f"more than {CPU_S:g} s"
    elif ended.code not in {0, 1, 2, 4}:
        wrong = f"exit code {ended.code}"
    elif "Traceback" in ended.err:
        wrong = "a traceback"
    elif ended.code == 2 and (len(errors) != 1 or len(lines) != 1):
        wrong = f"{len(lines)} lines of error"
    elif ended.code == 2 and len(errors[0]) > LONGEST:
        wrong = f"an error of {len(errors[0])} characters"
    elif not all(line.isprintable() for line in ended.err.split("\n")):
        wrong = "a control character on stderr"
    elif not all(line.isprintable() for line in ended.out.split("\n")):
        wrong = "a control character on stdout"
    if not wrong:
        return ""
    return f"{what}: {wrong}\n{ended.err[-3000:]!s}"


def ran(root: Path, arguments: Any) -> Ended:
    """Run a command in this process, in the corpus, within bounds of time and memory."""
    out, err = io.StringIO(), io.StringIO()
    argv, hung = sys.argv, False
    code: Any = "nothing"
    listening = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    started = children.start
    children.start = _no_process
    sys.argv = ["parity", *arguments]
    try:
        # Python prints a warning once, and those of a header or a pattern only from 3.12 on.
        with (
            contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.chdir(root), _bounded(),
            warnings.catch_warnings(action="ignore"),
        ):  # fmt: skip
            cli.main()
    except SystemExit as left:
        code = left.code
    except Hang:
        code, hung = None, True
    except BaseException as error:  # noqa: BLE001 - whatever leaves main is a finding
        code = repr(error)
    finally:
        sys.argv, children.start = argv, started
        for number, handler in listening.items():
            signal.signal(number, handler)
    return Ended(code, out.getvalue(), err.getvalue(), hung or _Clock.struck)


def _no_process(arguments: Any, **_: Any) -> Any:
    """Stop where a process would be started: a trial is one process."""
    message = f"stopped before `{arguments[0]}` was started"
    raise InputError(message)


class _Clock:
    """Whether the time was up, also where something has swallowed the exception."""

    struck = False


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """Raise where more time or memory is used than any of these inputs can need."""

    def strike(*_: Any) -> None:
        _Clock.struck = True
        raise Hang

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGPROF, strike)
    _Clock.struck = False
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, limits[1]))
    signal.setitimer(signal.ITIMER_PROF, CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGPROF, before)
