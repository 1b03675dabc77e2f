"""Where the ledger is when nobody says so: never an empty one by accident."""

import os
import tomllib
from pathlib import Path

from offpeak.errors import ConfigurationError

DATABASE_VARIABLE = "OFFPEAK_DATABASE_URL"


def default_database_url(start: Path | None = None) -> str:
    """OFFPEAK_DATABASE_URL; else SQLite in `.offpeak/` beside the nearest pyproject.toml with a `[tool.dg]` table.

    The search goes from `start` (the current folder) upwards. Raises ConfigurationError where there is none: a ledger
    made in the wrong place is empty, and an empty ledger buys everything again.
    """
    chosen = os.environ.get(DATABASE_VARIABLE)
    return chosen or f"sqlite:///{offpeak_folder(start) / 'offpeak.db'}"


def offpeak_folder(start: Path | None = None) -> Path:
    """`.offpeak/` beside the nearest pyproject.toml with a `[tool.dg]` table, from `start` upwards; it may not exist
    yet.

    Raises ConfigurationError where there is no such file.
    """
    begin = (start or Path.cwd()).resolve()
    for folder in (begin, *begin.parents):
        if _is_dagster_project(folder / "pyproject.toml"):
            return folder / ".offpeak"
    raise ConfigurationError(
        f"Offpeak does not know where its ledger is: {DATABASE_VARIABLE} is not set, and no pyproject.toml with a "
        f"[tool.dg] table was found in {begin} or above. Nothing was opened, because an empty ledger would buy "
        f"everything again. Set {DATABASE_VARIABLE} to a database URL (sqlite:///PATH or postgresql+psycopg://...), "
        "or run inside the project."
    )


def _is_dagster_project(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        return "dg" in tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error}), so it is unknown whether the ledger lives beside it. Mend the file, "
            f"or set {DATABASE_VARIABLE}."
        ) from error
