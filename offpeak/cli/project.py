"""Where the user's Dagster project is, and how its definitions are loaded: the way `dg` does it.

The project is the nearest folder, from the current one upwards, whose pyproject.toml has a `[tool.dg.project]` table;
its code location target is loaded through Dagster's own code pointers. No project module is imported by name here.
"""

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dotenv import dotenv_values

from offpeak.errors import ConfigurationError

if TYPE_CHECKING:
    import dagster as dg

_DEFAULT_TARGET = "definitions"

POSTGRES_VARIABLE = "DAGSTER_POSTGRES_URL"
_COPIED = "# Written by `offpeak up`, anew each time: dagster.yaml of the project, stored on Postgres."
_ON_POSTGRES = f"storage:\n  postgres:\n    postgres_url:\n      env: {POSTGRES_VARIABLE}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One Dagster project, as its pyproject.toml describes it."""

    root: Path
    target_module: str
    """The module `dg` loads: `code_location_target_module`, by default `<root_module>.definitions`."""
    location_name: str

    @property
    def dagster_home(self) -> Path:
        """The instance that `dagster dev`, `dg launch` and `offpeak` share: DAGSTER_HOME, or `.offpeak/dagster`."""
        chosen = os.environ.get("DAGSTER_HOME")
        return Path(chosen).expanduser() if chosen else _own_home(self)


def find_project(start: Path | None = None) -> Project:
    """The project around `start` (by default the current folder).

    Raises ConfigurationError where there is none, or where it names nothing to load.
    """
    begin = (start or Path.cwd()).resolve()
    for folder in (begin, *begin.parents):
        table = _dg_project_table(folder / "pyproject.toml")
        if table is not None:
            return _project(folder, table)
    raise ConfigurationError(
        f"No Dagster project was found in {begin} or above it: no pyproject.toml there has a [tool.dg.project] table. "
        "Run the command inside the project, or add the table (`dg init` writes one)."
    )


def prepare_dagster_home(project: Project) -> Path:
    """Make the instance's folder with the project's dagster.yaml in it, unless DAGSTER_HOME names another folder.

    A link, so that every program that is given this DAGSTER_HOME reads the same settings. Where DAGSTER_POSTGRES_URL is
    set and the project's own settings choose no storage, a copy that stores on Postgres takes the link's place.
    """
    home = project.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    settings, used = project.root / "dagster.yaml", home / "dagster.yaml"
    if home.resolve() != _own_home(project).resolve() or not settings.exists():
        return home
    ours = used.is_symlink() or not used.exists() or used.read_text(encoding="utf-8").startswith(_COPIED)
    text = settings.read_text(encoding="utf-8")
    if ours:
        used.unlink(missing_ok=True)
        if os.environ.get(POSTGRES_VARIABLE) and not re.search("^storage:", text, re.MULTILINE):
            used.write_text(f"{_COPIED}\n{text}\n{_ON_POSTGRES}", encoding="utf-8")
        else:
            used.symlink_to(os.path.relpath(settings, home))
    return home


def set_variables_of_env_file(project: Project) -> None:
    """Set what `.env` in the project's root says, as Dagster's own commands do, where it is not set already."""
    for name, value in dotenv_values(project.root / ".env").items():
        if value is not None:
            os.environ.setdefault(name, value)


def load_definitions(project: Project) -> "dg.Definitions":
    """The project's `Definitions`, resolved from its code location target.

    The variables of the project's `.env` file are set first. Raises ConfigurationError when the target cannot be
    imported or holds no definitions; an error that the project's own code raises passes through.
    """
    from dagster._core.errors import DagsterImportError, DagsterInvariantViolationError
    from dagster._core.workspace.autodiscovery import loadable_targets_from_python_module

    set_variables_of_env_file(project)
    try:
        targets = loadable_targets_from_python_module(project.target_module, str(project.root))
    except (DagsterImportError, DagsterInvariantViolationError) as error:
        raise ConfigurationError(
            f"The project's definitions (module {project.target_module}, named in {project.root / 'pyproject.toml'}) "
            f"cannot be loaded: {error}"
        ) from error
    return _as_definitions(targets[0].target_definition)


def _as_definitions(target: object) -> "dg.Definitions":
    import dagster as dg

    # A function decorated with @dg.definitions is loaded by calling it.
    loaded = target() if callable(target) else target
    if isinstance(loaded, dg.Definitions):
        return loaded
    raise ConfigurationError(
        f"The project's code location target is a {type(loaded).__name__}; Offpeak reads `Definitions`. "
        "Wrap it: defs = offpeak.with_offpeak(dg.Definitions(...))."
    )


def _own_home(project: Project) -> Path:
    return project.root / ".offpeak" / "dagster"


def _dg_project_table(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("dg", {}).get("project")
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error}), so it is unknown whether the project is here. Mend the file."
        ) from error
    return table if isinstance(table, dict) else None


def _project(root: Path, table: dict[str, Any]) -> Project:
    root_module = table.get("root_module")
    target = table.get("code_location_target_module") or (root_module and f"{root_module}.{_DEFAULT_TARGET}")
    if not target:
        raise ConfigurationError(
            f"[tool.dg.project] in {root / 'pyproject.toml'} names no root_module, so there is nothing to load. "
            'Add root_module = "your_package".'
        )
    return Project(root=root, target_module=target, location_name=table.get("code_location_name") or root.name)
