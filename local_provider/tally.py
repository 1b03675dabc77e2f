"""What was bought: counted when an answer is generated, not when somebody fetches it."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from local_provider.batches import ProviderName
from local_provider.store import Store

COUNTERS = ("batches_created", "requests_accepted", "realtime_calls")


class Purchase(NamedTuple):
    """One answer that is billed."""

    digest: bytes
    model: str
    input_tokens: int
    output_tokens: int
    usable: bool
    custom_id: str | None = None


class Tally:
    """Counts per provider, model and lane, and per distinct request body how often it was answered."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def count(self, provider: ProviderName, counter: str, n: int = 1) -> None:
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO counters VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
                (provider, counter, n),
            )

    def record(self, provider: ProviderName, purchases: Iterable[Purchase], *, realtime: bool) -> None:
        purchases = list(purchases)
        sums: Counter[tuple[str, str]] = Counter()
        for purchase in purchases:
            sums[purchase.model, "answers"] += 1
            sums[purchase.model, "usable"] += purchase.usable
            sums[purchase.model, "input_tokens"] += purchase.input_tokens
            sums[purchase.model, "output_tokens"] += purchase.output_tokens
        with self._store.transaction() as db:
            for model in {purchase.model for purchase in purchases}:
                _add_bought(db, provider, model, "realtime" if realtime else "batch", sums)
            db.executemany(
                "INSERT INTO answered VALUES (?, ?, ?, ?, 1, ?, ?) ON CONFLICT DO UPDATE SET answered = answered + 1, "
                "usable = usable + excluded.usable, realtime = realtime + excluded.realtime, "
                "custom_id = coalesce(excluded.custom_id, custom_id)",
                [(provider, p.digest, p.model, p.custom_id, p.usable, realtime) for p in purchases],
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

    def _of(self, provider: ProviderName) -> dict[str, Any]:
        with self._store.transaction() as db:
            counters = dict(db.execute("SELECT name, n FROM counters WHERE provider = ?", (provider,)).fetchall())
            rows = db.execute(
                "SELECT model, lane, answers, usable, input_tokens, output_tokens FROM bought WHERE provider = ? "
                "ORDER BY model, lane",
                (provider,),
            ).fetchall()
        by_model: dict[str, dict[str, int]] = {}
        for model, lane, answers, usable, input_tokens, output_tokens in rows:
            entry = by_model.setdefault(model, dict.fromkeys(_FIGURES, 0))
            entry["answers_delivered"] += answers
            entry["usable_answers"] += usable
            entry[f"{lane}_answers"] += answers
            entry["input_tokens"] += input_tokens
            entry["output_tokens"] += output_tokens
        totals = {name: sum(entry[name] for entry in by_model.values()) for name in _FIGURES}
        return {**{name: counters.get(name, 0) for name in COUNTERS}, **totals, "by_model": by_model}


_FIGURES = (
    "answers_delivered", "usable_answers", "batch_answers", "realtime_answers", "input_tokens", "output_tokens"
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
