"""Jobs of several assets, of which a test decides how far they come, and a clock that it moves."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from offpeak.clock import SystemClock
from offpeak.ledger import parked_runs, sightings
from offpeak.ledger.jobs import listed
from offpeak.ledger.ledger import Ledger
from offpeak.providers.base import Provider

from ...conftest import LocalProvider, Place, Rows, Shop, tickets, until


class MovedClock(SystemClock):
    """Stands still, ahead of when it was made by as much as a test says; nobody sleeps for long by it."""

    def __init__(self) -> None:
        self.ahead, self._made = timedelta(0), super().now()

    def now(self) -> datetime:
        return self._made + self.ahead

    def sleep(self, duration: timedelta) -> None:
        super().sleep(min(duration, timedelta(seconds=0.02)))


class Office:
    """A shop whose batches end only when a test says so."""

    def __init__(self, shop: Shop, clock: MovedClock, local_provider: LocalProvider) -> None:
        self.shop, self.ledger, self.clock, self.local_provider = shop, shop.ledger, clock, local_provider
        self._keep_batches()

    def _keep_batches(self) -> None:
        self.local_provider.fault("never_end", times=None)

    def buy(self, asset: str, count: int = 1, *, rows: Rows | None = None, **more: Any) -> None:
        """A job that is through."""
        self.local_provider.call("DELETE", "/local/faults")
        self.shop.buy(rows or tickets(count), **{"asset": asset, "system": f"Label for {asset}."} | more)
        self._keep_batches()

    def leave(self, asset: str, count: int = 1, *, parked: bool = True, **more: Any) -> int:
        """A job whose batch is at the provider, as a run leaves it that is parked."""
        job_id = self.shop.leave(tickets(count, start=1_000), asset=asset, system=f"Label for {asset}.", **more)
        if parked:
            self.park(job_id)
        return job_id

    def park(self, *job_ids: int) -> None:
        """One parked run holds the place of these jobs."""
        origin, held = f"origin of {job_ids[0]}", dict[int, str]()
        for row in reversed(listed(self.ledger, ids=job_ids)):
            held[row.id] = row.asset
            run_id = f"{origin} with {row.id}"
            number = parked_runs.intend(self.ledger, run_id=run_id, origin_run_id=origin, location="here")
            replaced = parked_runs.hold(
                self.ledger, number, origin_run_id=origin, jobs=held, joining=row.id, progress="0%"
            )
            assert replaced is not None

    def end(self, job_id: int) -> None:
        """The job's batches end at the provider, and its list shows that."""
        (row,) = listed(self.ledger, ids=[job_id])
        for batch in row.batch_ids:
            self.local_provider.heal(batch)
        until(lambda: self._look(job_id), what="the end of the batches")

    def _look(self, job_id: int) -> bool:
        chunks = sightings.of_jobs(self.ledger, [job_id])[job_id]
        since = sightings.since(chunks)
        assert since is not None
        sightings.see(self.ledger, chunks, {each.id: each for each in self.shop.provider.batches(since=since)})
        return all(chunk.landed for chunk in sightings.of_jobs(self.ledger, [job_id])[job_id])


@pytest.fixture
def office(place: Place, local_provider: LocalProvider, open_account: Callable[..., Provider]) -> Any:
    """An office over a SQLite ledger."""
    clock = MovedClock()
    with Ledger.open(place.url, spool_dir=place.spool, clock=clock) as ledger:
        yield Office(Shop(ledger, open_account(), clock=clock), clock, local_provider)
