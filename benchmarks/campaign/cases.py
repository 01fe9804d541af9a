"""The cases of a campaign, drawn from a seed: whole tiny pipelines and single blocks of SDXL, each with all that it needs.

The case of a number is the same whatever else is drawn, so that a campaign can be continued, enlarged, and repeated in part.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

WORDS = [
    "fox",
    "snow",
    "harbour",
    "violin",
    "teacup",
    "lantern",
    "fern",
    "copper",
    "glacier",
    "moth",
    "orchard",
    "kite",
    "marble",
    "thunder",
    "velvet",
    "anchor",
]
SAMPLERS = ("EulerAncestral", "EulerDiscrete", "DDIM", "DPMSolverMultistep")
SIDES = (1, 2, 4, 8, 16)
BLOCKS = {"transformer-320": 8, "transformer-640": 2, "transformer-1280": 1, "resnet-320": 4, "resnet-640": 1}
"""Kinds of block, and how often each is drawn: a narrow one takes less time."""
SHARES = {"block": 14, "least": 3, "tiny": 1}
"""How often a case is a pipeline of the least model, one of fixtures/tiny, or a block."""


class Drawn(NamedTuple):
    """One case: its name, what it is of, the working type, and the tables of its file."""

    name: str
    kind: str
    dtype: str
    tables: dict[str, Any]

    @property
    def size(self) -> str:
        """What it is of, as the published table groups it."""
        return self.kind if self.kind in {"tiny", "least"} else f"block {self.kind.rpartition('-')[2]}"

    def write(self, folder: Path, models: Path) -> Path:
        """Write the case's file, and what a block is made from; return the file."""
        folder.mkdir(parents=True, exist_ok=True)
        model = models / self.kind
        if self.kind.partition("-")[0] in {"transformer", "resnet"}:
            model = folder / "block"
            model.mkdir(exist_ok=True)
            (model / "block.json").write_text(json.dumps(self.tables["block"]), encoding="utf-8")
        tables = {name: table for name, table in self.tables.items() if name != "block"}
        lines = ["schema = 1", "[model]", f"folder = {json.dumps(str(model))}"]
        for name, table in tables.items():
            lines.append(f"[{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
        file = folder / "case.toml"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return file


def drawn(seed: int, number: int, dtypes: tuple[str, ...]) -> Drawn:
    """Draw the case of a number."""
    dice = random.Random(f"{seed}/{number}")  # noqa: S311 - nothing is secret
    kind = dice.choices(list(SHARES), list(SHARES.values()))[0]
    dtype = dice.choice(dtypes)
    if kind == "block":
        return _block(dice, number, dtype)
    return _pipeline(dice, kind, number, dtype)


def _pipeline(dice: random.Random, model: str, number: int, dtype: str) -> Drawn:
    """Draw a pipeline's case: one to four prompts of one to many words, any sampler, one or two steps, with guidance or without."""
    batch = dice.choice((1, 1, 2, 4))
    sides = (4, 4, 8, 8, 16) if batch == 1 else (4, 8)
    prompts = [" ".join(dice.choices(WORDS, k=dice.choice((1, 4, 20, 90)))) for _ in range(batch)]
    guidance = dice.choice((1.0, 5.0, 7.5))
    prompt: dict[str, Any] = {"positive": prompts}
    if guidance > 1 and dice.random() < 0.5:  # noqa: PLR2004 - half of them
        prompt["negative"] = [dice.choice(WORDS) for _ in range(batch)]
    sampling = {
        "sampler": dice.choice(SAMPLERS), "steps": dice.choice((1, 1, 2)), "guidance": guidance, "seed": dice.randrange(1 << 31),
    }  # fmt: skip
    size = {"height": 8 * dice.choice(sides), "width": 8 * dice.choice(sides)}
    tables = {"prompt": prompt, "sampling": sampling, "size": size, "precision": {"dtype": dtype}}
    return Drawn(f"{number:04d}-{model}-{dtype}", model, dtype, tables)


def _block(dice: random.Random, number: int, dtype: str) -> Drawn:
    """Draw one block: its width, the places of its image, the size of its inputs, and how much its attention prefers some."""
    kind = dice.choices(list(BLOCKS), list(BLOCKS.values()))[0]
    block = {
        "kind": kind.partition("-")[0], "channels": int(kind.rpartition("-")[2]), "batch": dice.choice((1, 2, 4)),
        "height": dice.choice(SIDES[:4]), "width": dice.choice(SIDES[:4]), "tokens": dice.choice((1, 8, 77)),
        "scale": dice.choice((0.1, 1.0, 3.0)), "sharpness": dice.choice((1.0, 4.0, 16.0)),
    }  # fmt: skip
    tables = {"sampling": {"seed": dice.randrange(1 << 31)}, "precision": {"dtype": dtype}, "block": block}
    return Drawn(f"{number:04d}-{kind}-{dtype}", kind, dtype, tables)
