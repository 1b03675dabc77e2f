"""Holds the rows of launches against what is asked for: past traffic comes in pages, and each is looked up at once."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby

from offpeak.launches.coverage import Counting, Coverage
from offpeak.launches.launch import Launch
from offpeak.launches.traffic import Asked
from offpeak.ledger.database import Database
from offpeak.results.effective import effective_until


def coverages(
    database: Database, launches: Sequence[Launch], pages: Iterable[Sequence[Asked]], *, now: datetime
) -> Sequence[Coverage]:
    """What each launch has of what is asked for, page by page; nothing is kept of a page but what is listed."""
    counts = [Counting(each, now=now) for each in launches]
    for page in pages:
        for count in counts:
            count.add(_looked_up(database, count.launch, page))
    return [each.coverage() for each in counts]


def _looked_up(database: Database, launch: Launch, page: Sequence[Asked]) -> Iterator[tuple[Asked, datetime | None]]:
    for asset, some in groupby(page, key=lambda each: each.row.asset):
        asked = list(some)
        found = effective_until(database, asset, launch.name, [each.row.key for each in asked])
        yield from ((each, found.get(each.row.key)) for each in asked)
