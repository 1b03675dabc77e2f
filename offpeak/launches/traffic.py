"""The table of past traffic: which rows visitors asked for, and how often. What comes is expected to be like it."""

import sqlite3
from bisect import bisect
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate, islice
from random import Random
from typing import Any, NamedTuple

from offpeak.errors import ConfigurationError

TABLE = "launch_traffic"
COLUMNS = ("asset", "key", "requests")
NEEDED = (
    f"What visitors will ask for is told by what they asked for before: it needs the table {TABLE} beside the "
    "application's tables, with the columns asset, key (of a row of that asset) and requests (how often it was asked "
    "for). Nothing was reckoned or played."
)

Open = Callable[[str], tuple[Sequence[str], Iterator[tuple[Any, ...]]]]
"""Opens one of the application's tables: its columns, and its rows as a stream."""


class Row(NamedTuple):
    """A row of an asset that a visitor asks for."""

    asset: str
    key: str


PAGE = 1_000
"""Rows that are looked up at once."""


class Asked(NamedTuple):
    """A row, and how often it was asked for in all."""

    row: Row
    requests: float


@dataclass(frozen=True, slots=True)
class Traffic:
    """Rows, and how often each was asked for, to draw from."""

    rows: Sequence[Row]
    up_to: Sequence[float]
    """The sum of the weights up to and with each row."""

    @classmethod
    def of(cls, requests: Mapping[Row, float]) -> "Traffic":
        """Rows without a request are left out. Raises ValueError where none is left, or a number is below nought."""
        for weight in requests.values():
            _counted(weight)
        asked = sorted((row, weight) for row, weight in requests.items() if weight)
        if not asked:
            raise ValueError("no row was ever asked for")
        return cls([row for row, _ in asked], list(accumulate(weight for _, weight in asked)))

    def draw(self, random: Random) -> Row:
        """A row, by how often it was asked for."""
        place = bisect(self.up_to, random.random() * self.up_to[-1])
        return self.rows[min(place, len(self.rows) - 1)]


def read_traffic(opened: Open) -> Traffic:
    """All of the table; rows that name the same asset and key are added up.

    Raises ConfigurationError where there is no such table, or no column, or a number in it that is none.
    """
    found: defaultdict[Row, float] = defaultdict(float)
    for row, requests in _stream(opened):
        found[row] += requests
    try:
        return Traffic.of(found)
    except ValueError as error:
        raise ConfigurationError(f"{NEEDED} It cannot be used: {error}.") from error


def pages_of_traffic(opened: Open, *, page: int = PAGE) -> Iterator[Sequence[Asked]]:
    """Each row once, with its requests added up, in the order of assets and keys; rows without a request are left out.

    Memory does not grow with the table: it is added up in a temporary file of SQLite's, which no other process sees.
    Raises ConfigurationError as `read_traffic` does, before the first page.
    """
    with closing(sqlite3.connect("")) as database:
        database.execute(
            "CREATE TABLE asked (asset TEXT, key TEXT, requests REAL, PRIMARY KEY (asset, key)) WITHOUT ROWID"
        )
        rows = ((row.asset, row.key, requests) for row, requests in _stream(opened))
        while some := list(islice(rows, 10 * PAGE)):
            database.executemany(
                "INSERT INTO asked VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET requests = requests + excluded.requests",
                some,
            )
        cursor = database.execute("SELECT asset, key, requests FROM asked WHERE requests > 0 ORDER BY asset, key")
        found = cursor.fetchmany(page)
        if not found:
            raise ConfigurationError(f"{NEEDED} It cannot be used: no row was ever asked for.")
        while found:
            yield [Asked(Row(asset, key), requests) for asset, key, requests in found]
            found = cursor.fetchmany(page)


def _stream(opened: Open) -> Iterator[tuple[Row, float]]:
    """The rows of the table as they stand in it. Raises ConfigurationError where it cannot be used."""
    try:
        columns, rows = opened(TABLE)
    except ConfigurationError as error:
        raise ConfigurationError(f"{NEEDED} {error}") from error
    missing = [each for each in COLUMNS if each not in columns]
    if missing:
        raise ConfigurationError(f"{NEEDED} It has no {' and no '.join(missing)}, only {', '.join(columns)}.")
    places = [list(columns).index(each) for each in COLUMNS]
    for row in rows:
        asset, key, requests = (row[place] for place in places)
        try:
            yield Row(str(asset), str(key)), _counted(float(requests))
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{NEEDED} It cannot be used: {error}.") from error


def _counted(requests: float) -> float:
    if not 0 <= requests < float("inf"):
        raise ValueError("a number of requests is not from 0 up")
    return requests
