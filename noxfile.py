"""The two commands of the README: `nox -s parity` and `nox -s tests`; `nox -s mutants` and `nox -s compatibility`.

The first three use one environment, `.nox/env-3.11` (or 3.12), made with pip from pyproject.toml and constraints.txt and
made again only when one of these changes; the last has one for each version of mindspore. PARITY_TORCH_INDEX names the
index that torch comes from, for example the one with its CPU builds.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["parity"]

ROOT = Path(__file__).parent
VERSIONS = ("3.11", "3.12")
MINDSPORES = ("2.7.2", "2.8.0", "2.9.0", "2.10.0")
MAIN_JOB = "fixtures/cases/tiny.toml"
OPEN_CLIP = "open_clip_torch==3.3.0"  # only its file of BPE merges is read, so none of its dependencies


def interpreter(session: nox.Session) -> tuple[str, str]:
    """Return (version, path) of the first supported Python: the one that runs nox, else one on PATH."""
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    if running in VERSIONS:
        return running, sys.executable
    for version in VERSIONS:
        path = shutil.which(f"python{version}")
        if path is not None:
            return version, path
    return session.error(
        f"needs Python {' or '.join(VERSIONS)}, found only {running}; install one of them and start again"
    )


def constraints(mindspore: str) -> str:
    """Return the path of the pins, with this version of mindspore if one is given."""
    if not mindspore:
        return "constraints.txt"
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    changed = [f"mindspore=={mindspore}" if line.startswith("mindspore==") else line for line in lines]
    path = ROOT / ".nox" / f"constraints-mindspore-{mindspore}.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([*changed, ""]))
    return str(path)


def environment(session: nox.Session, mindspore: str = "") -> Path:
    """Return the folder with the environment's programs; set it up when it is new or its pins changed.

    A version of mindspore other than the pinned one has an environment of its own.
    """
    version, path = interpreter(session)
    folder = ROOT / ".nox" / f"env-{version}{mindspore and '-mindspore-'}{mindspore}"
    pinned = constraints(mindspore)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    pins = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt", "noxfile.py"))
    stamp, wanted = folder / "pins", hashlib.sha256(pins).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return programs
    session.log("setting up %s (a few minutes and 4 GB the first time)", folder)
    session.run(path, "-m", "venv", "--clear", str(folder), external=True)
    pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    index = os.environ.get("PARITY_TORCH_INDEX")
    session.run(*pip, *(["--index-url", index] if index else []), "-c", pinned, "torch", external=True)
    session.run(*pip, "-c", pinned, "-e", ".[torch,mindspore,dev]", external=True)
    session.run(*pip, "--no-deps", OPEN_CLIP, external=True)
    # pip would compile on one core; 1: some package has a file that is no Python 3
    compiling = [str(programs / "python"), "-m", "compileall", "-qq", "-j", "0", str(folder)]
    session.run(*compiling, external=True, success_codes=[0, 1])
    stamp.write_text(wanted)
    return programs


def build_tiny(session: nox.Session, python: str) -> None:
    """Build the tiny model of the main job when it is not there."""
    if not (ROOT / "fixtures" / "tiny" / "model_index.json").exists():
        session.run(python, "-m", "torch_refs.tiny", "fixtures/tiny", external=True)


def finish_main_job(python: str) -> Path:
    """Run the main job once, on all cores, for the tests of both workers; return the folder with its reports and words."""
    folder = ROOT / ".nox" / "main-job"
    shutil.rmtree(folder, ignore_errors=True)
    command = [python, "-m", "parity", "run", MAIN_JOB, "--out", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    folder.mkdir(exist_ok=True)
    (folder / "finished.json").write_text(json.dumps([done.returncode, done.stdout, done.stderr]))
    return folder


@nox.session(venv_backend="none")
def parity(session: nox.Session) -> None:
    """Record, replay, compare, diagnose and report: the tiny case, or `-- CASE.toml`, or `-- --plant NAME`."""
    python = str(environment(session) / "python")
    arguments = list(session.posargs)
    if not arguments or arguments[0].startswith("-"):
        arguments.insert(0, MAIN_JOB)
    build_tiny(session, python)
    session.run(python, "-m", "parity", "run", *arguments, external=True)


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """Lint, types, import contract, every test, and one full parity run among them."""
    programs = environment(session)
    if not session.posargs:
        session.run(str(programs / "ruff"), "check", ".", external=True)
        session.run(str(programs / "ruff"), "format", "--check", ".", external=True)
        session.run(str(programs / "mypy"), external=True)
        session.run(str(programs / "lint-imports"), external=True)
    build_tiny(session, str(programs / "python"))
    python = str(programs / "python")
    if session.posargs:
        session.run(python, "-m", "pytest", *session.posargs, external=True)
        return
    # two workers take file after file as they become free; tests/conftest.py gives each its half of the cores
    main_job = {"PARITY_MAIN_JOB": str(finish_main_job(python))}
    session.run(
        python, "-m", "pytest", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", env=main_job, external=True
    )


@nox.session(venv_backend="none")
def mutants(session: nox.Session) -> None:
    """Draw small changes of modules and print those that no test notices: `-- parity/compare/judge.py --seed 1 --count 50`."""
    python = str(environment(session) / "python")
    session.run(python, "-m", "tests.meta.mutants", *session.posargs, external=True)


@nox.session(venv_backend="none")
@nox.parametrize("mindspore", MINDSPORES, ids=MINDSPORES)
def compatibility(session: nox.Session, mindspore: str) -> None:
    """Run the tests of the MindSpore port under every supported mindspore, or under one: `compatibility(2.10.0)`."""
    python = str(environment(session, mindspore) / "python")
    session.run(python, "-m", "pytest", "tests/mindone_sdxl", *session.posargs, external=True)
