"""Write sample_data/llm_calls.jsonl.gz: four weeks of one company's calls, as LiteLLM's spend log has them.

Everything in it is made up, and the same every time. Newest first, as logs are exported:

- morning_digest: 60 calls at 09:00 in Berlin, every day; the clocks are set back on 25 October.
- review_labels: 10,000 reviews labelled in one loop, on one afternoon.
- inbox_agent: looks every minute, around the clock, for nine days.
- quarterly_report: the four hours of "please wait", five times.
- caption_images: a progress bar over calls that follow each other, twice.
- support_chat: people who ask, in working hours.
- nightly_tags: a batch a night, which is on the batch tier already.
"""

import gzip
import io
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

TARGET = Path(__file__).resolve().parent.parent / "sample_data" / "llm_calls.jsonl.gz"

BERLIN = ZoneInfo("Europe/Berlin")
DAYS = 28
CHOICES = random.Random(20261001)

HAIKU = ("anthropic", "claude-haiku-4-5")
SONNET = ("anthropic", "claude-sonnet-5")
MINI = ("openai", "gpt-5.4-mini")
OLD_MINI = ("openai", "gpt-4o-mini")


def berlin(day: int, hour: int, minute: int = 0, second: float = 0) -> datetime:
    """A moment of October 2026 on Berlin's clocks."""
    return datetime(2026, 10, day, hour, minute, tzinfo=BERLIN).astimezone(UTC) + timedelta(seconds=second)


def call(
    start: datetime,
    seconds: float,
    model: tuple[str, str],
    tokens: tuple[int, int],
    *,
    tags: list[str] | None = None,
    alias: str = "backend",
    call_type: str = "acompletion",
    usage: dict[str, Any] | None = None,
    first_token: float | None = None,
    **metadata: Any,
) -> dict[str, Any]:
    """A row of the spend log, without the columns that say nothing here."""
    end = start + timedelta(seconds=seconds)
    return {
        "call_type": call_type,
        "startTime": text(start),
        "endTime": text(end),
        "completionStartTime": text(end if first_token is None else start + timedelta(seconds=first_token)),
        "model": model[1],
        "custom_llm_provider": model[0],
        "prompt_tokens": tokens[0],
        "completion_tokens": tokens[1],
        "status": "success",
        "cache_hit": "False",
        "request_tags": tags or [],
        "metadata": {"user_api_key_alias": alias, "usage_object": usage or {}, **metadata},
    }


def text(moment: datetime) -> str:
    """A moment as the database exports it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def about(mean: float, share: float, step: float) -> float:
    """A figure around a mean, in whole steps so that the file stays small."""
    return max(step, round(CHOICES.gauss(mean, mean * share) / step) * step)


def one_by_one(
    begin: datetime, calls: int, seconds: float, share: float, breath: float
) -> Iterator[tuple[datetime, float]]:
    """Calls that each wait for the one before: when they begin and how long they take."""
    for _ in range(calls):
        took = about(seconds, share, 0.1)
        yield begin, took
        begin += timedelta(seconds=took + breath)


def morning_digest() -> Iterator[dict[str, Any]]:
    """Four calls at a time."""
    for day in range(1, DAYS + 1):
        for lane in range(4):
            begin = berlin(day, 9, second=4 + lane / 10 + CHOICES.randrange(12))
            for start, took in one_by_one(begin, 15, 6.0, 0.3, 0.2):
                tokens = (int(about(3_800, 0.1, 50)), int(about(320, 0.15, 10)))
                yield call(start, took, MINI, tokens, tags=["job:morning_digest"])


def review_labels() -> Iterator[dict[str, Any]]:
    """Eight calls at a time, for an hour."""
    for lane in range(8):
        for start, took in one_by_one(berlin(15, 13, 41, lane / 10), 1_250, 2.9, 0.25, 0.1):
            yield call(start, took, HAIKU, (int(about(640, 0.1, 20)), 40), tags=["job:review_labels"])


def inbox_agent() -> Iterator[dict[str, Any]]:
    """A cron job that asks the model each time, whether anything came or not."""
    for minute in range(9 * 24 * 60):
        start = berlin(1, 0, second=60 * minute + 2 + CHOICES.randrange(3))
        came = CHOICES.random() < 0.12
        yield call(
            start, 1.5 if not came else 4.0, OLD_MINI, (2_150, 25) if not came else (3_400, 180), alias="inbox_agent"
        )


def quarterly_report() -> Iterator[dict[str, Any]]:
    """Started by hand; the sources are cached from the second call on."""
    for day, hour, minute in ((6, 13, 12), (9, 9, 38), (14, 10, 27), (20, 14, 6), (27, 8, 51)):
        for number, (start, took) in enumerate(one_by_one(berlin(day, hour, minute), 250, 56.0, 0.25, 1.6)):
            sources, asked = 18_000, int(about(2_400, 0.2, 100))
            kind = "cache_read_input_tokens" if number else "cache_creation_input_tokens"
            yield call(
                start,
                took,
                SONNET,
                (sources + asked, int(about(1_900, 0.2, 50))),
                tags=["job:quarterly_report"],
                usage={kind: sources},
            )


PICTURE = 14_200
"""Tokens: what this model counts for a picture of two tiles (OpenAI, "Images and vision"), and the question."""


def caption_images() -> Iterator[dict[str, Any]]:
    """A loop with a progress bar."""
    for day, hour, minute in ((8, 15, 22), (22, 11, 4)):
        for start, took in one_by_one(berlin(day, hour, minute), 1_300, 2.2, 0.3, 0.1):
            yield call(start, took, OLD_MINI, (PICTURE, int(about(60, 0.2, 5))), tags=["job:caption_images"])


def support_chat() -> Iterator[dict[str, Any]]:
    """Conversations of a few turns, most of them on weekdays, with a pause at noon."""
    for day in range(1, DAYS + 1):
        weekend = berlin(day, 12).weekday() >= 5
        for _ in range(6 if weekend else 44):
            hour = CHOICES.choice((8, 9, 9, 10, 10, 10, 11, 11, 12, 13, 14, 14, 14, 15, 15, 16, 16, 17))
            at = berlin(day, hour, second=CHOICES.randrange(3_600))
            for turn in range(CHOICES.choice((1, 2, 3, 3, 4, 6))):
                took = about(5.0, 0.3, 0.5)
                tokens = (900 + 400 * turn + int(about(120, 0.5, 20)), int(about(260, 0.4, 20)))
                yield call(at, took, HAIKU, tokens, alias="support_chat", first_token=0.6)
                at += timedelta(seconds=took + about(45, 0.6, 1))


def nightly_tags() -> Iterator[dict[str, Any]]:
    """What LiteLLM writes when it is asked for a batch that has ended."""
    for day in range(1, DAYS + 1):
        tokens = (int(about(210_000, 0.1, 1_000)), int(about(14_000, 0.1, 100)))
        yield call(
            berlin(day, 4, 15, CHOICES.randrange(40)),
            0.8,
            MINI,
            tokens,
            tags=["job:nightly_tags"],
            call_type="aretrieve_batch",
            batch_models=["gpt-5.4-mini"],
        )


JOBS = (morning_digest, review_labels, inbox_agent, quarterly_report, caption_images, support_chat, nightly_tags)


def rows() -> list[dict[str, Any]]:
    """The whole log, newest first."""
    CHOICES.seed(20261001)
    found = sorted((row for job in JOBS for row in job()), key=lambda row: row["startTime"], reverse=True)
    return [{"request_id": f"call-{len(found) - number:06}", **row} for number, row in enumerate(found)]


def content() -> bytes:
    """The log as lines of JSON."""
    return b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in rows())


def main() -> None:
    written = io.BytesIO()
    # Without the time of writing, the file is the same every time.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=written, mtime=0) as file:
        file.write(content())
    TARGET.write_bytes(written.getvalue())
    print(f"Wrote {TARGET}")


if __name__ == "__main__":
    main()
