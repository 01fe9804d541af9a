"""A process of one framework: imports it once, then does what each line of its input asks and answers with a line.

`record` runs `parity record` and `judge` a replay, a comparison and a diagnosis, all in this process; the replays that a
diagnosis asks for are run here too. What is asked and answered is JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import traceback
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

WIDTH, BINS = 0.02, 500
"""Ratios to the floor are counted in bins of this width; the last bin holds what is beyond."""


def command(*arguments: str) -> None:
    """Run a command of this program here."""
    from parity.cli import app

    app(list(arguments), standalone_mode=False)


def replay(arguments: list[str]) -> None:
    """Replay here, and undo afterwards that operators were computed in float64."""
    from parity.frameworks import mindspore_system_

    own = mindspore_system_.widen_operators
    with ExitStack() as widened:

        def widen(kinds: Any) -> Any:
            widened.enter_context(own(kinds))
            return nullcontext()

        mindspore_system_.widen_operators = widen
        try:
            command(*arguments)
        finally:
            mindspore_system_.widen_operators = own


def record(asked: dict[str, Any]) -> dict[str, Any]:
    """Record a case."""
    if asked.get("threads"):
        import torch

        torch.set_num_threads(asked["threads"])
    command("record", asked["case"], "--out", asked["out"], *asked["options"])
    return {}


def judge(asked: dict[str, Any]) -> dict[str, Any]:
    """Replay a recording, compare and diagnose, and return what is kept of it."""
    from parity import diagnose
    from parity.compare import awaits_decision, compare
    from parity.diagnose import counterfactual
    from parity.trace import Trace

    counterfactual.children = SimpleNamespace(run=replay)  # no child is started that imports the framework anew
    folder = Path(asked["out"])
    shutil.rmtree(folder, ignore_errors=True)
    replay(["replay", asked["trace"], "--out", str(folder / "candidate"), *asked["options"]])
    trace = Trace.open(folder / "candidate")
    result = compare(Trace.open(asked["trace"]), [trace])
    found = {"compared": summary(result), "undecided alone": awaits_decision(result), "ratios": ratios(result)}
    found["versions"] = result.provenance["candidate"]["versions"]
    if result.verdict != "MATCH":
        result = diagnose.diagnose(result, folder, progress=lambda *_: None)
    found["diagnosed"] = summary(result)
    found["causes"] = [(cause.slug, cause.address, cause.confirmed) for cause in result.causes]
    shutil.rmtree(folder)
    return found


def summary(result: Any) -> dict[str, Any]:
    """Return the verdict, and what is behind it."""
    from parity.compare.summary import is_finding

    wrong = [
        [pair.mode, pair.dtype, pair.address, pair.ratio_to_floor, pair.detail[-120:]]
        for pair in result.pairs
        if is_finding(pair) or "platform-undecided" in pair.flags
    ]
    first = result.first_divergence
    return {
        "verdict": result.verdict, "counts": {name: count for name, count in result.counts.items() if count},
        "first": first and [first.address, first.question, first.mode], "wrong": wrong[:20],
        "unexplained": result.coverage.unexplained[:5],
    }  # fmt: skip


def ratios(result: Any) -> dict[str, Any]:
    """Return, for each replay in the working type, the multiples of the floor in bins, and the largest ones by address."""
    found: dict[str, Any] = {}
    for pair in result.pairs:
        if pair.question != "precision" or pair.ratio_to_floor is None:
            continue
        of_mode = found.setdefault(pair.mode, {"bins": [0] * BINS, "largest": []})
        multiple = float(pair.ratio_to_floor)
        of_mode["bins"][min(int(multiple / WIDTH), BINS - 1)] += 1
        of_mode["largest"].append((multiple, pair.address))
    for of_mode in found.values():
        of_mode["largest"] = sorted(of_mode["largest"], reverse=True)[:5]
    return found


def main(kind: str, cores: str) -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the commands print is no answer
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    work = {"record": record, "judge": judge}[kind]
    for line in sys.stdin:
        started = time.perf_counter()
        try:
            found = work(json.loads(line))
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to this one case
            traceback.print_exc()
            found = {"error": f"{type(error).__name__}: {error}"}
        found["seconds"] = time.perf_counter() - started
        answers.write(json.dumps(found) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
