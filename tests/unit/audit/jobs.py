"""Jobs to be judged, and what they would cost."""

from datetime import UTC, datetime, timedelta
from typing import Any

from offpeak.audit.job import Job, Source
from offpeak.audit.pricing import Prices
from offpeak.audit.usage.jobs import Tokens
from offpeak.audit.verdict import Verdict, verdict
from offpeak.lanes.workload import Waiting
from offpeak.money import PriceSheet

NOW = datetime(2026, 11, 28, tzinfo=UTC)
MODEL = "openai/gpt-5.4-mini"


def prices() -> Prices:
    return Prices(PriceSheet.load(), NOW)


def month(calls: int = 10_000, model: str = MODEL) -> dict[str, Tokens]:
    return {model: Tokens(calls=calls, input=calls * 1_000, cache_read=0, cache_write=0, output=calls * 200)}


def job(**said: Any) -> Job:
    given = {
        "name": "digest",
        "sources": (Source.LIST,),
        "where": ("workloads.yaml:2",),
        "waiting": Waiting.NOBODY,
        "month": month(),
        "deadline": timedelta(hours=24),
    }
    return Job(**{**given, **said})


def judged(**said: Any) -> Verdict:
    return verdict(job(**said), prices())
