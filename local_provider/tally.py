"""What was bought: counted when an answer is generated, not when somebody fetches it."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from local_provider.batches import ProviderName
from local_provider.clock import Clock
from local_provider.replies import Reply
from local_provider.store import Store
from local_provider.tokens import Cached

COUNTERS = ("batches_created", "requests_accepted")


class Lane(StrEnum):
    """How an answer was bought."""

    BATCH = "batch"
    REALTIME = "realtime"
    FLEX = "flex"
    """A synchronous call on OpenAI's flex tier."""


class Ending(StrEnum):
    """How a synchronous call ended."""

    ANSWERED = "answered"
    """And billed, whether or not its caller got the answer."""
    REFUSED = "refused"
    """By a limit; it can be tried again later."""
    FAILED = "failed"


@dataclass(slots=True)
class CountedCall:
    """A synchronous call in flight; whoever serves it says how it ends."""

    ending: Ending = Ending.FAILED


class Purchase(NamedTuple):
    """One answer that is billed."""

    digest: bytes
    model: str
    input_tokens: int
    output_tokens: int
    cached: Cached
    usable: bool
    custom_id: str | None = None

    @classmethod
    def of(cls, reply: Reply, digest: bytes, custom_id: str | None = None) -> "Purchase":
        """The answer to the request that a digest identifies."""
        return cls(
            digest, reply.model, reply.input_tokens, reply.output_tokens, reply.cached, reply.usable, custom_id
        )  # fmt: skip


class Tally:
    """Counts per provider, model and lane, and per distinct request body how often it was answered; lists purchases."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._in_flight: Counter[tuple[ProviderName, str | None]] = Counter()
        self._most_in_flight: Counter[tuple[ProviderName, str | None]] = Counter()

    def clear(self) -> None:
        """Forget how many calls were in flight; those that are go on."""
        self._most_in_flight = self._in_flight.copy()

    def count(self, provider: ProviderName, counter: str, n: int = 1) -> None:
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO counters VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
                (provider, counter, n),
            )

    @contextmanager
    def call(self, provider: ProviderName, model: str) -> Iterator[CountedCall]:
        """Count a synchronous call from its beginning to its end. For the HTTP loop alone."""
        self._count_call(provider, model, calls=1)
        counted = CountedCall()
        keys = ((provider, model), (provider, None))
        for key in keys:
            self._in_flight[key] += 1
            self._most_in_flight[key] = max(self._most_in_flight[key], self._in_flight[key])
        try:
            yield counted
        finally:
            for key in keys:
                self._in_flight[key] -= 1
            match counted.ending:
                case Ending.ANSWERED:
                    pass  # counted among what was bought
                case Ending.REFUSED:
                    self._count_call(provider, model, refused=1)
                case Ending.FAILED:
                    self._count_call(provider, model, failed=1)

    def _count_call(
        self, provider: ProviderName, model: str, *, calls: int = 0, refused: int = 0, failed: int = 0
    ) -> None:
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO calls VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET calls = calls + excluded.calls, "
                "refused = refused + excluded.refused, failed = failed + excluded.failed",
                (provider, model, calls, refused, failed),
            )

    def record(self, provider: ProviderName, purchases: Iterable[Purchase], *, lane: Lane) -> None:
        purchases = list(purchases)
        sums: Counter[tuple[str, str]] = Counter()
        for purchase in purchases:
            sums[purchase.model, "answers"] += 1
            sums[purchase.model, "usable"] += purchase.usable
            sums[purchase.model, "input_tokens"] += purchase.input_tokens
            sums[purchase.model, "output_tokens"] += purchase.output_tokens
            sums[purchase.model, "cache_read_tokens"] += purchase.cached.read
            sums[purchase.model, "cache_write_tokens"] += purchase.cached.written
        at = self._clock.now()
        with self._store.transaction() as db:
            for model in {purchase.model for purchase in purchases}:
                _add_bought(db, provider, model, lane, sums)
            db.executemany(
                f"INSERT INTO purchases ({', '.join(_OF_A_PURCHASE)}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                [(provider, p.model, lane, p.input_tokens, p.output_tokens, *p.cached, p.usable, at, p.custom_id)
                 for p in purchases],
            )  # fmt: skip
            db.executemany(
                "INSERT INTO answered VALUES (?, ?, ?, ?, 1, ?, ?) ON CONFLICT DO UPDATE SET answered = answered + 1, "
                "usable = usable + excluded.usable, realtime = realtime + excluded.realtime, "
                "custom_id = coalesce(excluded.custom_id, custom_id)",
                [(provider, p.digest, p.model, p.custom_id, p.usable, lane is not Lane.BATCH) for p in purchases],
            )

    def summary(self) -> dict[str, Any]:
        """Per provider: counters, answers, tokens, and the same by model as it was asked for."""
        return {provider.value: self._of(provider) for provider in ProviderName}

    def requests(self, *, at_least: int = 1) -> list[dict[str, Any]]:
        """Every distinct request body that was answered at least that often: the most often first."""
        with self._store.lock, self._store.transaction() as db:
            rows = db.execute(
                "SELECT provider, lower(hex(digest)), model, custom_id, answered, usable, realtime FROM answered "
                "WHERE answered >= ? ORDER BY answered DESC, provider, digest",
                (at_least,),
            ).fetchall()
        names = ("provider", "body_hash", "model", "last_custom_id", "answered", "usable", "realtime")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def purchases(self, *, after: int, limit: int) -> list[dict[str, Any]]:
        """Each billed answer in the order they were counted, from the first of a higher id than `after`.

        Its input tokens include those of the cache, at both providers.
        """
        names = ("id", *_OF_A_PURCHASE)
        with self._store.transaction() as db:
            rows = db.execute(
                f"SELECT {', '.join(names)} FROM purchases WHERE id > ? ORDER BY id LIMIT ?",  # noqa: S608
                (after, limit),
            ).fetchall()
        found = [dict(zip(names, row, strict=True)) for row in rows]
        return [{**each, "usable": bool(each["usable"])} for each in found]

    def _of(self, provider: ProviderName) -> dict[str, Any]:
        with self._store.transaction() as db:
            counters = dict(db.execute("SELECT name, n FROM counters WHERE provider = ?", (provider,)).fetchall())
            bought = db.execute(
                "SELECT model, lane, answers, usable, input_tokens, output_tokens FROM bought WHERE provider = ? "
                "ORDER BY model, lane",
                (provider,),
            ).fetchall()
            calls = db.execute(
                "SELECT model, calls, refused, failed FROM calls WHERE provider = ? ORDER BY model", (provider,)
            ).fetchall()
            cached = db.execute(
                "SELECT model, cache_read_tokens, cache_write_tokens FROM cached WHERE provider = ?", (provider,)
            ).fetchall()
        by_model: defaultdict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_FIGURES, 0))
        for model, lane, answers, usable, input_tokens, output_tokens in bought:
            entry = by_model[model]
            entry["answers_delivered"] += answers
            entry["usable_answers"] += usable
            entry[f"{lane}_answers"] += answers
            if lane == Lane.FLEX:
                entry["realtime_answers"] += answers
            entry["input_tokens"] += input_tokens
            entry["output_tokens"] += output_tokens
        for model, *figures in calls:
            by_model[model].update(zip(("realtime_calls", "realtime_refused", "realtime_failed"), figures, strict=True))
        for model, read, written in cached:
            by_model[model].update(cache_read_tokens=read, cache_write_tokens=written)
        totals = {name: sum(entry[name] for entry in by_model.values()) for name in _FIGURES}
        for model, entry in by_model.items():
            entry["realtime_most_in_flight"] = self._most_in_flight[provider, model]
        return {
            **{name: counters.get(name, 0) for name in COUNTERS},
            **totals,
            "realtime_in_flight": self._in_flight[provider, None],
            "realtime_most_in_flight": self._most_in_flight[provider, None],
            "by_model": by_model,
        }


_FIGURES = (
    "answers_delivered", "usable_answers", "batch_answers", "realtime_answers", "flex_answers", "realtime_calls",
    "realtime_refused", "realtime_failed", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
)  # fmt: skip
_OF_A_PURCHASE = (
    "provider", "model", "lane", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
    "cache_write_long_tokens", "usable", "at", "custom_id",
)  # fmt: skip


def _add_bought(
    db: sqlite3.Connection, provider: ProviderName, model: str, lane: str, sums: Mapping[tuple[str, str], int]
) -> None:
    figures = [sums[model, name] for name in ("answers", "usable", "input_tokens", "output_tokens")]
    db.execute(
        "INSERT INTO bought VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET answers = answers + "
        "excluded.answers, usable = usable + excluded.usable, input_tokens = input_tokens + excluded.input_tokens, "
        "output_tokens = output_tokens + excluded.output_tokens",
        (provider, model, lane, *figures),
    )
    read, written = sums[model, "cache_read_tokens"], sums[model, "cache_write_tokens"]
    if read or written:
        db.execute(
            "INSERT INTO cached VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET cache_read_tokens = cache_read_tokens + "
            "excluded.cache_read_tokens, cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens",
            (provider, model, read, written),
        )
