"""Right ports are recorded, replayed, compared and diagnosed by the hundred, and so are faulty ones: who is blamed?

    python benchmarks/healthy_campaign.py OUT --runs 200            healthy runs 0 to 199 of seed 16
    python benchmarks/healthy_campaign.py OUT --faults              planted and precision faults
    python benchmarks/healthy_campaign.py OUT --runs 40 --mindspore 2.9.0=FOLDER --threads 1
    python benchmarks/healthy_campaign.py OUT --table               what OUT has come to so far

A run is a whole tiny pipeline (fixtures/tiny, or the least model that `torch_refs.tiny` builds) or one block of SDXL's UNet
at its own width, of a size, batch, prompt, sampler and type that are drawn from the seed and the run's number
(`campaign.cases`). Each framework is imported once, in a process of its own (`campaign.worker`); while one run is replayed
the next is recorded. Every run adds a line to OUT/runs.jsonl, and what is there is not run again. FOLDER is another version
of MindSpore (`pip install --no-deps --target FOLDER mindspore==2.9.0`), which replays the same recordings.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from campaign import faults
from campaign.cases import Drawn, drawn
from campaign.worker import WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ROOT = Path(__file__).resolve().parents[1]
WORKER = Path(__file__).with_name("campaign") / "worker.py"
CANDIDATES = {"tiny": "mindone_sdxl", "least": "mindone_sdxl"}
BLOCK = ("blocks_torch:reference", "blocks_mindspore:candidate")
PLANTED = (
    "noise-one-step-late", "text-encoder-2-layernorm-eps", "text-projection-untransposed", "timestep-angles-summed",
    "timestep-frequencies-exp", "unet-gelu-tanh",
)  # fmt: skip
COST = {"least": 1, "tiny": 2}
"""Kinds of case by how long one takes."""
RIGHT = {"timestep-frequencies-exp"}
"""Plants that are no fault of the port."""
CONTAMINATES = {"noise-one-step-late"}
"""Plants that change the program for every later run of the same process."""


class Setting(NamedTuple):
    """What replays: a version of MindSpore in a folder (none: the one that is installed), on so many threads."""

    version: str
    folder: str
    threads: int


class Worker:
    """A process of one framework that answers line by line; it starts when it is first asked."""

    def __init__(self, kind: str, setting: Setting) -> None:
        """Keep what it shall be."""
        self.kind, self.setting, self.process = kind, setting, None

    def ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Ask for one thing; a process that died is started again for the next."""
        if self.process is None:
            self.process = self._start()
        assert self.process.stdin is not None  # noqa: S101 - both are pipes
        assert self.process.stdout is not None  # noqa: S101
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            code, self.process = self.process.returncode, None
            return {"error": f"the process ended with {code}"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """Let it end."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait()
        self.process = None

    def _start(self) -> subprocess.Popen[str]:
        paths = [self.setting.folder, str(ROOT), os.environ.get("PYTHONPATH", "")]
        threads = {"OMP_NUM_THREADS": str(self.setting.threads)} if self.setting.threads else {}
        return subprocess.Popen(
            [sys.executable, str(WORKER), self.kind, "0" if self.setting.threads == 1 else ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | threads,
        )


class Run(NamedTuple):
    """One run: a case, replayed with a fault or none."""

    name: str
    case: Drawn
    fault: str = ""
    text: str = ""


def healthy(seed: int, numbers: Iterable[int], dtypes: tuple[str, ...]) -> list[Run]:
    """Return the healthy runs of these numbers, those that take the least time first."""
    found: list[Run] = []
    for number in numbers:
        case = drawn(seed, number, dtypes)
        found.append(Run(case.name, case))
    return sorted(found, key=lambda run: COST.get(run.case.kind, 0))


def faulty(seed: int, dtype: str) -> Iterator[Run]:
    """Yield the planted faults in a pipeline, and precision faults in a block and in a pipeline each."""
    for kind, rows in (("transformer-320", faults.TRANSFORMER), ("resnet-320", faults.RESNET)):
        block = _first(seed, kind, dtype)
        for row in rows:
            yield Run(f"{faults.name(*row)}-{kind}-{dtype}", block, faults.name(*row), faults.text(*row))
    least = _first(seed, "least", dtype, steps=2)
    for name in PLANTED:
        yield Run(f"{name}-least-{dtype}", least, name)
    for row in (*faults.TRANSFORMER[::3], faults.RESNET[0]):
        yield Run(f"{faults.name(*row)}-least-{dtype}", least, faults.name(*row), faults.text(*row))


def _first(seed: int, kind: str, dtype: str, steps: int | None = None) -> Drawn:
    """Return the first drawn case of a kind; of a pipeline one that is guided, draws noise in each step, and has so many."""
    for number in range(100_000):
        case = drawn(seed, number, (dtype,))
        sampling = case.tables["sampling"]
        if case.kind != kind:
            continue
        if steps is None:
            return case
        if sampling["sampler"] == "EulerAncestral" and sampling["steps"] == steps and sampling["guidance"] > 1:
            return case
    raise LookupError(kind)


class Campaign:
    """A folder of runs, and the processes that do them."""

    def __init__(self, out: Path, settings: Sequence[Setting]) -> None:
        """Make what every run needs."""
        self.out, self.settings = out, settings
        out.mkdir(parents=True, exist_ok=True)
        self.lines = out / "runs.jsonl"
        self.recorder = Worker("record", settings[0]._replace(folder=""))
        self.judges = {setting: Worker("judge", setting) for setting in settings}
        self.models = out / "models"
        self.models.mkdir(exist_ok=True)
        if not (self.models / "tiny").exists():
            (self.models / "tiny").symlink_to(ROOT / "fixtures" / "tiny")
        if not (self.models / "least").exists():
            subprocess.run(
                [sys.executable, "-m", "torch_refs.tiny", str(self.models / "least"), "--least"], check=True, cwd=ROOT
            )

    def run(self, runs: Sequence[Run]) -> None:
        """Do what has not been done: record a case while the one before is replayed in every setting."""
        done = {(line["run"], line["version"], line["threads"]) for line in read(self.lines)}
        left = []
        for run in runs:
            missing = [each for each in self.settings if (run.name, each.version, each.threads) not in done]
            if missing:
                left.append((run, missing))
        with ThreadPoolExecutor(1) as pool:
            recorded = [pool.submit(self._record, run) for run, _ in left[:1]]
            for place, (run, settings) in enumerate(left):
                answer = recorded[place].result()
                if place + 1 < len(left):
                    recorded.append(pool.submit(self._record, left[place + 1][0]))
                for setting in settings:
                    self._judge(run, setting, answer)
                following = left[place + 1][0].case if place + 1 < len(left) else None
                if following != run.case:
                    shutil.rmtree(self._folder(run), ignore_errors=True)
        for worker in (self.recorder, *self.judges.values()):
            worker.end()

    def _folder(self, run: Run) -> Path:
        return self.out / "work" / run.case.name

    def _record(self, run: Run) -> dict[str, Any]:
        """Record a run's case, unless the run before it has."""
        folder = self._folder(run)
        if (folder / "recorded").exists():
            return {"seconds": 0.0}
        shutil.rmtree(folder, ignore_errors=True)
        case = run.case.write(folder, self.models)
        options = [] if run.case.kind in CANDIDATES else [f"--reference={BLOCK[0]}"]
        answer = self.recorder.ask(
            {
                "case": str(case),
                "out": str(folder / "reference"),
                "options": options,
                "threads": self.settings[0].threads,
            }
        )
        if "error" not in answer:
            (folder / "recorded").touch()
        return answer

    def _judge(self, run: Run, setting: Setting, recorded: dict[str, Any]) -> None:
        """Replay and judge a run in a setting, and keep the line."""
        folder, answer = self._folder(run), recorded
        if "error" not in recorded:
            answer = self.judges[setting].ask(
                {
                    "trace": str(folder / "reference"),
                    "out": str(folder / "replay"),
                    "options": self._options(run, folder),
                }
            )
        if run.fault in CONTAMINATES:
            self.judges[setting].end()
        case = run.case
        line = {
            "run": run.name, "kind": case.kind, "size": case.size, "dtype": case.dtype, "fault": run.fault,
            "version": setting.version, "threads": setting.threads, "case": case.tables, **answer,
        }  # fmt: skip
        with self.lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        diagnosed = answer.get("diagnosed", {}).get("verdict", answer.get("error"))
        print(
            run.name,
            setting.version,
            answer.get("compared", {}).get("verdict"),
            diagnosed,
            f"{answer['seconds']:.0f} s",
            flush=True,
        )

    def _options(self, run: Run, folder: Path) -> list[str]:
        """Return the options of the replay."""
        found = [f"--candidate={CANDIDATES.get(run.case.kind, BLOCK[1])}"]
        if run.text:
            file = folder / f"{run.fault}.py"
            file.write_text(run.text, encoding="utf-8")
            found.append(f"--plant={file}")
        elif run.fault:
            found.append(f"--plant={run.fault}")
        return found


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines that there are."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def outcome(line: dict[str, Any], when: str) -> str:
    """Return what was said of a run before (`compared`) or after (`diagnosed`) its diagnosis."""
    if "error" in line:
        return "no result"
    if when == "compared" and line["undecided alone"]:
        return "undecided"
    verdict: str = line[when]["verdict"]
    if verdict == "MATCH" and line[when]["counts"].get("platform-precision"):
        return "MATCH by the platform"
    return verdict


def told(counts: Counter[str]) -> str:
    """Return how many runs came out in which way."""
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


def table(lines: Sequence[dict[str, Any]]) -> None:
    """Print false alarms and misses by type, size, threads and version, and the distribution of healthy ratios."""
    print(
        "| type | size | threads | MindSpore | healthy: compared | diagnosed | faulty: compared | diagnosed |\n|---|---|---|---|---|---|---|---|"
    )
    groups: defaultdict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        groups[line["dtype"], line["size"], line["threads"] or "all", line["version"]].append(line)
    for group, members in sorted(groups.items(), key=str):
        cells = []
        for is_healthy in (True, False):
            mine = [line for line in members if (not line["fault"] or line["fault"] in RIGHT) is is_healthy]
            cells += [told(Counter(outcome(line, when) for line in mine)) for when in ("compared", "diagnosed")]
        print("|", " | ".join(map(str, (*group, *cells))), "|")
    print("\n| type | size | replay | pairs | median | 99 % | largest | at |\n|---|---|---|---|---|---|---|---|")
    for key, members in sorted(_by_replay(lines).items()):
        print("|", " | ".join((*key, *_distribution(members))), "|")


def _by_replay(lines: Iterable[dict[str, Any]]) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """Return the binned ratios of healthy runs by type, size and replay."""
    found: defaultdict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        if not line["fault"]:
            for mode, ratios in line.get("ratios", {}).items():
                found[line["dtype"], line["size"], mode].append(ratios)
    return found


def _distribution(members: Sequence[dict[str, Any]]) -> list[str]:
    """Return number, median, 99 % and largest of binned ratios, and where the largest is."""
    bins = [sum(column) for column in zip(*(each["bins"] for each in members), strict=True)]
    total, reached, quantiles = sum(bins), 0, {}
    for place, amount in enumerate(bins):
        reached += amount
        for share in (0.5, 0.99):
            if reached >= share * total:
                quantiles.setdefault(share, WIDTH * (place + 0.5))
    largest, at = max(tuple(each["largest"][0]) for each in members)
    return [str(total), f"{quantiles[0.5]:.2f}", f"{quantiles[0.99]:.2f}", f"{largest:.2f}", f"`{at}`"]


def main() -> None:
    """Read the options and do what they ask."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=16)
    parser.add_argument("--start", type=int, default=0, help="the number of the first healthy run")
    parser.add_argument("--runs", type=int, default=0, help="healthy runs")
    parser.add_argument("--faults", action="store_true", help="planted and precision faults")
    parser.add_argument("--dtype", action="append", help="repeatable; default: float32 and float16")
    parser.add_argument("--threads", type=int, default=0, help="of both frameworks; default: their own choice")
    parser.add_argument(
        "--mindspore", action="append", default=[], help="VERSION=FOLDER of another MindSpore; repeatable"
    )
    parser.add_argument("--table", action="store_true", help="print what came out")
    parser.add_argument("--only", default="", help="a pattern in the names of the runs that are done")
    asked = parser.parse_args()
    dtypes = tuple(asked.dtype or ("float32", "float16"))
    runs = list(healthy(asked.seed, range(asked.start, asked.start + asked.runs), dtypes))
    for dtype in dtypes if asked.faults else ():
        runs += faulty(asked.seed, dtype)
    runs = [run for run in runs if re.search(asked.only, run.name)]
    if runs:
        settings = [Setting(*each.split("=", 1), asked.threads) for each in asked.mindspore]
        Campaign(asked.out, settings or [Setting("installed", "", asked.threads)]).run(runs)
    if asked.table:
        table(read(asked.out / "runs.jsonl"))


if __name__ == "__main__":
    main()
