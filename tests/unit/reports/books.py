"""A ledger with purchases of past days, written by a test: what was bought, when, for how much, and who read it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from offpeak.clock import to_micros
from offpeak.ledger import tables
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import PAID_TWICE, POSSIBLY_PAID

DOLLAR = 10**12
"""Pico-dollars."""

DAY = timedelta(days=1)


def pico(dollars: float) -> int:
    """Whole pico-dollars, of no more than six places."""
    return round(dollars * 10**6) * 10**6


@dataclass
class Books:
    """Writes purchases into a ledger as a collected job leaves them. Money is given in dollars."""

    ledger: Ledger
    _numbers: dict[str, int] = field(default_factory=lambda: {"job": 0, "request": 0})

    def buy(
        self,
        at: datetime,
        cost: float,
        *,
        asset: str = "labels",
        partition: str = "",
        model: str = "openai/gpt-5-mini",
        realtime: float | None = None,
        answers: int = 1,
        unusable: float = 0,
        dead: float = 0,
        paid_twice: float = 0,
        maybe_twice: float = 0,
        cache_saved: float = 0,
        lane: str = "batch",
        rescue: bool = False,
    ) -> None:
        """One job with one submission. `cost` is of its answers; attempts that failed, `unusable`, `dead` (of requests
        that are not tried again) and `paid_twice`, come on top, and so does `maybe_twice` to nothing that is billed.
        What had a batch costs half of the realtime price, what was called all of it, unless `realtime` is given.
        """
        job, first = self._next("job"), self._next("request", answers + 4)
        failures = [("invalid_output", unusable), ("refused", dead), (PAID_TWICE, paid_twice), (POSSIBLY_PAID, 0)]
        factor = 2 if lane == "batch" else 1
        provider, _, name = model.partition("/")
        moment = to_micros(at)
        with self.ledger.database.write() as connection:
            target = self._target(connection, asset, partition, job)
            shared = {"realm": f"{provider}:https://here", "model": name}
            of_job = {"asset": asset, "state": "completed", "run_id": "run", "deadline_at": moment, **shared}
            connection.execute(tables.job.insert().values(id=job, created_at=moment, **of_job))
            connection.execute(tables.job_target.insert().values(job_id=job, target_id=target, as_of=moment))
            connection.execute(
                tables.chunk.insert().values(
                    id=job, state="collected", kind="chat", attempt=1, requests=answers + 4, stamp=job, lane=lane,
                    first_request=first, spool_bytes=0, sha256="", created_at=moment, billed_job_id=job,
                    rescue_at=moment if rescue else None, **shared,
                )
            )  # fmt: skip
            connection.execute(tables.job_chunk.insert().values(job_id=job, chunk_id=job))
            connection.execute(
                tables.submission.insert().values(
                    id=job, chunk_id=job, state="applied", owner="somebody", intended_at=moment, create_at=moment,
                    batch_id=f"batch_{job}" if lane == "batch" else None,
                )
            )  # fmt: skip
            used = {"submission_id": job, "input_tokens": 100, "output_tokens": 10, "cached_tokens": 0}
            for number in range(answers):
                mine = pico(cost) // answers + (pico(cost) % answers if number == 0 else 0)
                full = pico(realtime) // answers if realtime is not None else factor * mine
                connection.execute(
                    tables.answer.insert().values(
                        request_id=first + number, produced_at=moment, model=name, cost_pico=mine, realtime_pico=full,
                        cache_saved_pico=pico(cache_saved) if number == 0 else 0, **used,
                    )
                )  # fmt: skip
            for number, (reason, amount) in enumerate(failures):
                if amount or (reason == POSSIBLY_PAID and maybe_twice):
                    connection.execute(
                        tables.failure.insert().values(
                            request_id=first + answers + number, reason=reason, at=moment, cost_pico=pico(amount),
                            realtime_pico=factor * pico(amount), **used,
                        )
                    )  # fmt: skip
            if (
                maybe_twice
            ):  # by the price of the answer that was bought in its place, long before all that is looked at
                connection.execute(
                    tables.answer.insert().values(
                        request_id=first + answers + 3, produced_at=0, model=name, cost_pico=0,
                        realtime_pico=pico(maybe_twice), **used | {"submission_id": 0},
                    )
                )  # fmt: skip
            if dead:
                connection.execute(
                    tables.dead_letter.insert().values(request_id=first + answers + 1, reason="refused", at=moment)
                )

    def read(self, at: datetime, asset: str = "labels", partition: str = "") -> None:
        """A consumer reads the rows."""
        target = tables.target
        with self.ledger.database.write() as connection:
            connection.execute(
                target.update()
                .where(target.c.asset == asset, target.c.partition_key == partition)
                .values(read_at=to_micros(at))
            )

    def _next(self, name: str, count: int = 1) -> int:
        self._numbers[name] += count
        return self._numbers[name] - count + 1

    def _target(self, connection: sa.Connection, asset: str, partition: str, job: int) -> int:
        target = tables.target
        found = connection.execute(
            sa.select(target.c.id).where(target.c.asset == asset, target.c.partition_key == partition)
        ).scalar()
        if found is None:
            found = connection.execute(
                target.insert().values(asset=asset, partition_key=partition, job_id=job).returning(target.c.id)
            ).scalar_one()
        return int(found)
