"""A sample that has landed: what came of it, whether the rest of the plan may follow, and how that is shown.

The figures and the table are made from the ledger alone, so that whichever run comes by can make them, and make them
again where a process died before it wrote the verdict down.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from offpeak.assets.markdown import as_markdown
from offpeak.errors import CouldNotRead
from offpeak.ledger import jobs, retrying, samples
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.samples import DrawnRow, DrawnSample
from offpeak.ledger.states import SampleState
from offpeak.money import ModelRates, dollars
from offpeak.providers.base import Provider, Usage

ROWS_SHOWN = 50
"""Of a sample's table, failures first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a sample, and what follows from it. Money is pico-dollars."""

    sample: DrawnSample
    rows: Sequence[DrawnRow]
    asked: Sequence[str]
    """What each of the first `ROWS_SHOWN` rows asked."""
    rest: int
    """Requests that are held."""
    rest_pico: int
    """What those would cost by the tokens of the sample's, in the lane that they are for."""
    possibly_paid_twice: int
    """Requests that were called again, since nobody knows what had become of the first call."""

    @property
    def failed(self) -> int:
        """Rows without a usable answer."""
        return sum(row.failed for row in self.rows)

    @property
    def share(self) -> float:
        return self.failed / len(self.rows) if self.rows else 1.0

    @property
    def reasons(self) -> str:
        """Such as "invalid_output (3), refused (1)"; empty without a failure."""
        counted = Counter(row.reason for row in self.rows if row.reason is not None)
        return ", ".join(f"{reason} ({count:,})" for reason, count in counted.most_common())

    @property
    def cost_pico(self) -> int:
        return sum(row.cost_pico for row in self.rows)

    @property
    def to(self) -> SampleState:
        """Whether the rest is released without anybody being asked."""
        most = self.sample.max_failures
        released = most is not None and bool(self.rows) and self.share <= most
        return SampleState.RELEASED if released else SampleState.WAITING

    @property
    def why(self) -> str:
        """What was found, and what follows; one sentence without a full stop."""
        found = f"{self.failed:,} of {len(self.rows):,} sampled rows have no usable answer"
        if self.reasons:
            found += f": {self.reasons}"
        most = self.sample.max_failures
        if most is None:
            return f"{found}; a person decides about the rest"
        if self.to is SampleState.RELEASED:
            return f"{found}; the asset accepts {most:.0%}, so the rest is released"
        return f"{found}; the asset accepts {most:.0%}, so a person decides about the rest"

    @property
    def table(self) -> str:
        """The rows in Markdown: key, what was asked, the answer's fields, and why one failed."""
        shown = self.rows[: len(self.asked)]
        answers = [_fields(row) for row in shown]
        fields = list(dict.fromkeys(name for answer in answers for name in answer))
        lines = [
            ["; ".join(row.keys) or "(removed)", asked, *(answer.get(name, "") for name in fields), _failure(row)]
            for row, asked, answer in zip(shown, self.asked, answers, strict=True)
        ]
        text = as_markdown(["key", "asked", *fields, "failure"], lines)
        more = len(self.rows) - len(shown)
        return f"{text}\n\n{more:,} more rows" if more else text


Show = Callable[[Verdict], None]
"""Tells people of a verdict. It may be called twice for one sample, where a process died in between."""


def look(ledger: Ledger, provider: Provider, sample: DrawnSample, rates: ModelRates) -> Verdict:
    """What came of a sample that has landed."""
    rows, rest = samples.rows(ledger, sample.id), samples.held_requests(ledger, sample.id)
    used = Usage(sum(row.input_tokens for row in rows), sum(row.output_tokens for row in rows))
    cost = rates.cost_of_many(used, answers=len(rows))
    in_batches = samples.lane_of_rest(ledger, sample.id) is Lane.BATCH
    return Verdict(
        sample=sample,
        rows=rows,
        asked=_asked(ledger, provider, rows[:ROWS_SHOWN]),
        rest=rest,
        possibly_paid_twice=jobs.possibly_paid_twice(ledger, sample.id),
        rest_pico=(cost.batch_pico if in_batches else cost.realtime_pico) * rest // max(len(rows), 1),
    )


def _asked(ledger: Ledger, provider: Provider, rows: Sequence[DrawnRow]) -> list[str]:
    """The text that each row asked; where its file cannot be read, that."""
    by_chunk: dict[int, list[DrawnRow]] = {}
    for row in rows:
        by_chunk.setdefault(row.chunk_id, []).append(row)
    asked: dict[int, str] = {}
    for chunk_id, members in by_chunk.items():
        try:
            bodies = retrying.bodies(ledger, provider, chunk_id, [row.request_id for row in members])
        except CouldNotRead as error:
            asked |= {row.request_id: f"(cannot be read: {error})" for row in members}
        else:
            asked |= {row.request_id: question(body) for row, body in zip(members, bodies, strict=True)}
    return [asked[row.request_id] for row in rows]


def question(body: bytes) -> str:
    """The text of an encoded request that differs from row to row: the last message, or the input."""
    try:
        found = json.loads(body)
    except ValueError:
        return "(erased)"
    asked = found.get("messages") or found.get("input")
    if isinstance(asked, list) and asked and isinstance(asked[-1], dict) and "content" in asked[-1]:
        asked = asked[-1]["content"]
    return _text(asked)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(filter(None, map(_text, content)))
    if isinstance(content, dict):
        return str(content["text"]) if "text" in content else f"({content.get('type', 'part')})"
    return ""


def _fields(row: DrawnRow) -> dict[str, str]:
    """The answer by field."""
    if row.vector is not None:
        return {"embedding": f"{len(row.vector) // 4:,} numbers"}
    if row.output is None:
        return {}
    try:
        found = json.loads(row.output)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return {"answer": row.output}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}


def _failure(row: DrawnRow) -> str:
    return ": ".join(filter(None, (row.reason, row.message)))


def summary(verdict: Verdict) -> str:
    """What a person has to know to decide; sentences."""
    cost, rest = dollars(verdict.cost_pico), dollars(verdict.rest_pico)
    return (
        f"The sample of job {verdict.sample.id} has landed: {verdict.why}. It cost ${cost:,.6f} at list price; the "
        f"{verdict.rest:,} requests that are held would cost about ${rest:,.4f} by its tokens."
    )
