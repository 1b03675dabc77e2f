"""A plan over changed rows names its requests by the keys of rows that it read, and reads all of them."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator

from offpeak.errors import PlanError
from offpeak.ledger.readings import Reading
from offpeak.ledger.staging import Staging
from offpeak.requests import Request

BLOCK = 5_000
"""Keys that memory holds."""


class ChangedKeys:
    """The keys of changed rows while a plan reads them; memory holds no more than a block of them."""

    def __init__(self, asset: str, target_id: int, reading: Reading, staging: Staging) -> None:
        self._asset, self._target_id, self._reading, self._staging = asset, target_id, reading, staging
        self._block: list[str] = []
        self._first: set[str] = set()
        self._last: deque[str] = deque(maxlen=BLOCK)
        reading.feed.tell(self._add if reading.partial else self._remember)

    def _add(self, key: str) -> None:
        self._block.append(key)
        if len(self._block) == BLOCK:
            self._flush()

    def _flush(self) -> None:
        if self._block:
            self._staging.touch(self._target_id, self._block)
            self._block = []

    def _remember(self, key: str) -> None:
        if len(self._first) < BLOCK:
            self._first.add(key)
        self._last.append(key)

    def checked(self, requests: Iterable[Request]) -> Iterator[Request]:
        """The same requests. Raises PlanError where the first is not called by the key of a row that was just read.

        A plan over every row need not know; but that is the time to be told, and not when the first row is gone.
        """
        rows = iter(requests)
        for first in itertools.islice(rows, 1):
            if not self._reading.partial and first.key not in self._first and first.key not in self._last:
                raise PlanError(self._strange(first.key))
            yield first
        yield from rows

    def finish(self) -> None:
        """The function has ended. Raises PlanError where it left rows unread, or named one that did not change."""
        if not self._reading.feed.read_to_end:
            raise PlanError(
                f"{self._asset}: its function did not read {self._reading.source} to the end. Nothing was submitted. A "
                "change that is left unread would be taken for one that is done: go through all rows, and skip those "
                "that are not to be asked."
            )
        if self._reading.partial:
            self._flush()
            stranger = self._staging.untouched(self._target_id)
            if stranger is not None:
                raise PlanError(self._strange(stranger))

    def _strange(self, key: str) -> str:
        return (
            f"{self._asset}: {key!r} is the key of no row of {self._reading.source} that was read. Nothing was "
            "submitted. An asset that reads changed rows has one request for a row at most and calls it by the row's "
            "key, because that is how the plan knows what is gone; read a DataFrame or an Iterator to be free in this."
        )
