"""The Python files of a folder: those that somebody wrote for it, and not what was installed or generated."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from offpeak.errors import ConfigurationError

LEFT_OUT = frozenset({"node_modules", "site-packages", "__pycache__", "venv", "env", "build", "dist", "__pypackages__"})
"""Folders that hold what others wrote. Those that begin with a dot are left out too."""

TESTS = frozenset({"tests", "test", "testing"})

LARGEST = 4_000_000
"""Bytes. A larger file is data that looks like code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file, read."""

    path: Path
    text: bytes


def sources(root: Path, *, tests: bool) -> Iterator[Source]:
    """The files under `root`, in order; `root` itself where it is a file. Links to folders are not followed.

    Raises ConfigurationError where there is nothing at `root`, or no Python.
    """
    if root.is_file():
        yield Source(path=root, text=_bytes(root))
        return
    if not root.is_dir():
        raise ConfigurationError(f"There is no code at {root}: give a folder, or a file of Python.")
    any_there = False
    for path in _paths(root, tests=tests):
        any_there = True
        yield Source(path=path, text=_bytes(path))
    if not any_there:
        raise ConfigurationError(f"There is no Python under {root}: give the folder in which the code is.")


def _paths(root: Path, *, tests: bool) -> Iterator[Path]:
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(
            name
            for name in inner
            if name not in LEFT_OUT and not name.startswith(".") and (tests or name.lower() not in TESTS)
        )
        for name in sorted(names):
            if name.endswith(".py") and (tests or not _is_test(name)):
                path = Path(folder, name)
                if path.is_file() and path.stat().st_size <= LARGEST:
                    yield path


def _is_test(name: str) -> bool:
    return name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error.strerror}), so that the audit would not be whole. See to its rights."
        ) from error
