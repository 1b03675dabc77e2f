"""Write docs/reference/command-line.md from the help of the `offpeak` command itself."""

from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from offpeak.cli import build_app

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference" / "command-line.md"

FOOT = """---

An error is one message on stderr and exit code 1; a wrong option is exit code 2.
This page is written from the commands' own help by `make docs`.
"""


def command_reference() -> str:
    """The whole page, ending in a line break."""
    command = typer.main.get_command(build_app())
    context = typer.Context(command, info_name="offpeak")
    return get_docs_for_click(obj=command, ctx=context, name="offpeak", title="The command line") + FOOT


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(command_reference(), encoding="utf-8")
    print(f"Wrote {TARGET}")
