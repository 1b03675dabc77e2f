"""What finding the jobs in a log of calls costs, and that its memory does not grow with the log.

    python -m tests.bench.bench_audit_usage [--lines 1000000] [--format jsonl|csv|parquet|otel] [--json]

Two logs of the same four weeks are written, in no order, one with a tenth of the other's lines; each is read in a
process of its own. Seconds are of the wall, imports included; the peak is what the process had in memory at most, and
what it had before it began to read is told beside it.
"""

import argparse
import csv
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = 28
JOBS = 20
MODELS = (("openai", "gpt-5.4-mini"), ("anthropic", "claude-haiku-4-5"), ("openai", "gpt-4o-mini"))
SPANS_A_LINE = 50
ROWS_A_GROUP = 50_000
SUFFIXES = {"jsonl": ".jsonl", "csv": ".csv", "parquet": ".parquet", "otel": ".jsonl"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One log, read."""

    lines: int
    megabytes: float
    seconds: float
    before: float
    """Megabytes in memory when reading begins."""
    peak: float
    """Megabytes in memory at most."""
    jobs: int
    calls: int


def rows(lines: int) -> Iterator[dict[str, Any]]:
    """Calls of LiteLLM's spend log, at any minute of the four weeks."""
    chance = random.Random(1)
    for number in range(lines):
        provider, model = MODELS[number % len(MODELS)]
        start = BEGIN + timedelta(seconds=chance.random() * DAYS * 86_400)
        yield {
            "request_id": f"chatcmpl-{chance.getrandbits(96):024x}",
            "call_type": "acompletion",
            "api_key": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
            "spend": 0.00123,
            "startTime": start.isoformat(timespec="milliseconds"),
            "endTime": (start + timedelta(seconds=1 + 4 * chance.random())).isoformat(timespec="milliseconds"),
            "model": model,
            "model_group": model,
            "custom_llm_provider": provider,
            "prompt_tokens": chance.randrange(200, 8_000),
            "completion_tokens": chance.randrange(10, 900),
            "cache_hit": "False",
            "request_tags": json.dumps([f"job:job_{'abcdefghijklmnopqrst'[chance.randrange(JOBS)]}"]),
            "metadata": json.dumps(
                {
                    "user_api_key_alias": "backend",
                    "status": "success",
                    "usage_object": {"total_tokens": 1_200, "prompt_tokens_details": {"cached_tokens": 128}},
                    "additional_usage_values": {},
                }
            ),
            "status": "success",
            "session_id": f"{chance.getrandbits(128):032x}",
        }


def write(path: Path, lines: int, form: str) -> None:
    """Write a log without holding it."""
    if form == "parquet":
        _write_parquet(path, lines)
        return
    with path.open("w", newline="") as file:
        if form == "csv":
            writer = csv.DictWriter(file, next(rows(1)))
            writer.writeheader()
            writer.writerows(rows(lines))
        elif form == "otel":
            found = rows(lines)
            while batch := list(islice(found, SPANS_A_LINE)):
                file.write(json.dumps(_otlp(batch)) + "\n")
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows(lines))


def _write_parquet(path: Path, lines: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.Table.from_pylist(list(rows(1))).schema
    found = rows(lines)
    with pq.ParquetWriter(path, schema) as writer:
        while group := list(islice(found, ROWS_A_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema))


def _otlp(batch: list[dict[str, Any]]) -> dict[str, Any]:
    service = {"key": "service.name", "value": {"stringValue": "bench"}}
    spans = [_span(row) for row in batch]
    return {"resourceSpans": [{"resource": {"attributes": [service]}, "scopeSpans": [{"spans": spans}]}]}


def _span(row: dict[str, Any]) -> dict[str, Any]:
    texts = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": row["custom_llm_provider"],
        "gen_ai.request.model": row["model"],
        "gen_ai.agent.name": json.loads(row["request_tags"])[0],
    }
    numbers = {
        "gen_ai.usage.input_tokens": row["prompt_tokens"],
        "gen_ai.usage.output_tokens": row["completion_tokens"],
    }
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in texts.items()]
    attributes += [{"key": key, "value": {"intValue": str(value)}} for key, value in numbers.items()]
    ends = {name: round(datetime.fromisoformat(row[name]).timestamp() * 1e9) for name in ("startTime", "endTime")}
    return {
        "traceId": row["session_id"],
        "name": f"chat {row['model']}",
        "startTimeUnixNano": str(ends["startTime"]),
        "endTimeUnixNano": str(ends["endTime"]),
        "attributes": attributes,
    }


def read(path: Path, lines: int) -> Measured:
    """Find the jobs in this process, and say what it took."""
    began = time.perf_counter()
    from offpeak.audit.usage.jobs import usage_jobs

    before = _peak()
    found = usage_jobs([path])
    return Measured(
        lines=lines,
        megabytes=path.stat().st_size / 2**20,
        seconds=time.perf_counter() - began,
        before=before,
        peak=_peak(),
        jobs=len(found.jobs),
        calls=found.calls,
    )


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(folder: Path, lines: int, form: str) -> Measured:
    """Write a log, and read it."""
    path = folder / f"calls{lines}{SUFFIXES[form]}"
    command = [sys.executable, "-m", "tests.bench.bench_audit_usage", "--lines", str(lines), "--format", form]
    # In a process of its own, too: a process starts with the peak of the one that started it.
    subprocess.run([*command, "--write", str(path)], check=True)
    done = subprocess.run([*command, "--read", str(path)], check=True, capture_output=True, text=True)
    path.unlink()
    return Measured(**json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--format", choices=tuple(SUFFIXES), default="jsonl")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.write, arguments.lines, arguments.format)
        return
    if arguments.read:
        print(json.dumps(asdict(read(arguments.read, arguments.lines))))
        return
    with tempfile.TemporaryDirectory() as folder:
        few, many = (measured(Path(folder), n, arguments.format) for n in (arguments.lines // 10, arguments.lines))
    if arguments.json:
        print(json.dumps({"format": arguments.format, "few": asdict(few), "many": asdict(many)}, indent=2))
        return
    for each in (few, many):
        print(
            f"{each.lines:>10,} lines of {arguments.format} ({each.megabytes:,.0f} MB): {each.seconds:.1f} s, "
            f"peak {each.peak:.0f} MB ({each.before:.0f} MB before reading), {each.jobs} jobs"
        )
    slower, larger = many.seconds / few.seconds, many.peak / few.peak
    print(f"ten times the lines: {slower:.1f} times the seconds, {larger:.2f} times the peak")


if __name__ == "__main__":
    main()
