"""Gold files of the renderers: what each writes for a made result, with everything that is not ours taken out.

`python -m tests.parity.report.update` writes them anew; look at the difference before you commit it.
"""

import io
import re
import tempfile
from pathlib import Path

from rich.console import Console

from parity.report import card, html, junit, show, terminal
from parity.result import write

from . import made

FOLDER = Path(__file__).parent / "gold"


def page(result):
    """The page without styles, scripts, data and pictures."""
    text = html.page(result)
    text = re.sub(r"<(style|script)([^>]*)>.*?</\1>", r"<\1\2></\1>", text, flags=re.DOTALL)
    return re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "data:image/png;base64,", text)


def printed(action):
    """What `action(console)` prints into a pipe."""
    console = Console(file=io.StringIO(), width=120)
    action(console)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def cards(result):
    """The five lines of the gravest pair of each verdict."""
    first = {}
    for pair in result.pairs:
        first.setdefault((pair.verdict, pair.question, pair.mode), pair)
    return "\n\n".join("\n".join(card.of(result, pair)) for pair in first.values()) + "\n"


def texts():
    """Return file name -> text for every gold file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = {kind: made.make(kind, folder) for kind in made.KINDS if kind != "huge"}
        write(results["small"], folder / "result.json")
        found = {
            f"{kind}.terminal.txt": printed(lambda console, result=result: terminal.render(result, console))
            for kind, result in results.items()
        }
        found["small.html"] = page(results["small"])
        found["empty.html"] = page(results["empty"])
        found["program.html"] = page(results["program"])
        found["several.html"] = page(results["several"])
        found["several.junit.xml"] = junit.document(results["several"]).decode()
        found["off.html"] = page(results["off"])
        found["off.junit.xml"] = junit.document(results["off"]).decode()
        found["small.junit.xml"] = junit.document(results["small"]).decode()
        found["small.cards.txt"] = cards(results["small"])
        found["incomplete.cards.txt"] = cards(results["incomplete"])
        found["small.show.txt"] = printed(lambda console: show.show(folder, console=console))
        found["small.explain.txt"] = printed(lambda console: show.explain(folder, console=console))
        found["small.explain-inherited.txt"] = printed(
            lambda console: show.explain(folder, "scheduler.step@step=3:output", console=console)
        )
        write(results["several"], folder / "result.json")
        found["several.show.txt"] = printed(lambda console: show.show(folder, console=console))
        found["several.explain.txt"] = printed(lambda console: show.explain(folder, "unet.conv_in", console=console))
    return found
