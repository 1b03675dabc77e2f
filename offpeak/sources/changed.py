"""A table as the rows that have changed since the plan that is valid now.

A parameter annotated `ChangedRows` asks for it. Going through it yields rows as `DataFrame.itertuples(index=False)`
does; rows that are gone are not seen by the function, and what was made of them goes with them.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import dagster as dg

SINCE_KEY = "offpeak/since"
"""Input metadata for the IO manager: the position from which on changes are wanted. Absent: every row."""


def changes_since(position: str | None) -> dict[str, Any]:
    """Input metadata for a load that wants what changed after `position`; None wants every row."""
    return {} if position is None else {SINCE_KEY: position}


class ChangedRows(Iterable[Any]):
    """The changed rows of one table, once through.

    `changes` gives each changed row's key with the row as it is now, or with None where it is gone; a key stands in it
    once. `complete` says that it gives every row there is, so that what it does not give is gone. `position` is where
    the next plan goes on; None where this source cannot say what changed, so that the next plan reads every row too.
    """

    def __init__(
        self, changes: Iterable[tuple[str, Any | None]], *, position: str | None = None, complete: bool = True
    ) -> None:
        self.position, self.complete = position, complete
        self.read_to_end = False
        self._changes = iter(changes)
        self._told: Callable[[str], None] | None = None

    def tell(self, told: Callable[[str], None]) -> None:
        """Have `told` called with every changed key, gone ones included, before its row is yielded."""
        self._told = told

    def __iter__(self) -> Iterator[Any]:
        for key, row in self._changes:
            if self._told is not None:
                self._told(key)
            if row is not None:
                yield row
        self.read_to_end = True


@runtime_checkable
class Versioned(Protocol):
    """What an IO manager offers whose assets can be looked at cheaply."""

    def data_version(self, asset_key: dg.AssetKey, *, since: str | None = None) -> str:
        """What changes when the asset's rows do; `since`, a former one, again where nothing changed after it."""
        ...
