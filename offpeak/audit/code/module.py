"""What one file of Python says about calls: who calls what, and in which loops."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from offpeak.audit.code.loops import Loop

MODULE = "<module>"
"""The scope of what stands outside of all functions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decorator:
    """`@app.post("/digest", ...)`: what is applied, and what it is given first."""

    names: tuple[str, ...]
    first: str | None
    keywords: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function as it is defined."""

    scope: str
    """Where it stands in its file, such as `Labeller.label`."""
    owner: str | None
    """The class whose method it is."""
    decorators: tuple[Decorator, ...]
    parameters: tuple[str, ...]
    annotations: Mapping[str, tuple[str, ...]]
    returns: tuple[str, ...] = ()
    """The class that it says to return."""

    @property
    def name(self) -> str:
        return self.scope.rpartition(".")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A place where something is called, or handed on to be called by another."""

    names: tuple[str, ...]
    """Such as `client`, `messages`, `create`."""
    scope: str
    line: int
    column: int
    loops: tuple[Loop, ...]
    """Around it within its function, the outermost first."""
    buys: bool = False
    batch: bool = False
    model: str | None = None
    max_tokens: int | None = None
    streams: bool = False
    handed_to: tuple[str, ...] = ()
    """The function that it is handed to; empty where it is called."""
    text: str | None = None
    """A text that it is given, such as a schedule or a path."""


@dataclass(frozen=True, kw_only=True)
class Module:
    """A file, as far as calls go."""

    path: Path
    imports: Mapping[str, tuple[int, tuple[str, ...]]]
    """Names as used here, to (level of a relative import, the path they stand for)."""
    functions: Mapping[str, Function]
    bases: Mapping[str, tuple[tuple[str, ...], ...]]
    """Of each class that is defined here."""
    uses: Sequence[Use]
    types: Mapping[tuple[str, str], tuple[str, ...]]
    """(scope, variable) to the class that it was made from; the scope of `self.x` is its class."""
    stands_for: Mapping[tuple[str, str], Sequence[tuple[str, ...]]]
    """(scope, variable) to the functions that it may hold: `ask = self.ask_openai if small else self.ask_claude`."""

    @cached_property
    def packages(self) -> frozenset[str]:
        """Those that it takes something from, by their own name."""
        return frozenset(path[0] for level, path in self.imports.values() if not level and path)
