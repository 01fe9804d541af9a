"""Write the gold files anew: `python -m tests.parity.report.update`."""

from .gold import FOLDER, texts

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")
        print(FOLDER / name)  # noqa: T201 - a command for people
