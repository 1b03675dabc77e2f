"""Write .offpeak/env: sourced in another terminal, it joins the Dagster instance and the provider of `make run`.

Arguments are names of more variables to write, where they are set.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from offpeak.cli.project import Project, find_project

INHERITED = ("OFFPEAK_PROVIDER", "OFFPEAK_LOCAL_URL")


def shell_settings(project: Project, more: Sequence[str] = ()) -> str:
    """Lines for a POSIX shell. Keys and passwords are never among them: they stay where the user keeps them."""
    lines = [
        f"export DAGSTER_HOME={shlex.quote(str(project.dagster_home))}",
        f"export PATH={shlex.quote(str(project.root / '.venv' / 'bin'))}:$PATH",
        *(f"export {name}={shlex.quote(os.environ[name])}" for name in (*INHERITED, *more) if os.environ.get(name)),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    project = find_project(Path(__file__).resolve().parent)
    target = project.root / ".offpeak" / "env"
    target.parent.mkdir(exist_ok=True)
    target.write_text(shell_settings(project, sys.argv[1:]), encoding="utf-8")
