"""A result file on its way to a client: whole, or as one of the faults of downloads has it.

A faulty download is put together in memory, and sent past the HTTP server where its framing is to be wrong. The file on
the disk stays whole, so that the next download of it is.
"""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import orjson
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from local_provider.batches import Batch
from local_provider.faults import Fired, Point
from local_provider.state import state_of
from local_provider.striking import occasion_of
from local_provider.wire import ApiError, answer_raw


async def send_results(
    request: Request, batch: Batch, path: Path, *, media_type: str, filename: str | None
) -> Response:
    """The file, with the faults that are in force for this download of it. Raises ApiError while it lags."""
    state = state_of(request)
    lag = batch.faults.get("results_lag")
    if lag and state.clock.now() < (batch.ended_at or 0) + lag["seconds"]:
        state.faults.strike("results_lag", lag)
        raise ApiError(404, f"The results of {batch.id} are not found.")
    fired = state.faults.take(Point.DOWNLOAD, occasion_of(batch))
    if not fired:
        return FileResponse(path, media_type=media_type, filename=filename)
    content = await asyncio.to_thread(path.read_bytes)
    content = _altered(content, fired)
    torn = next((each for each in fired if each.fault == "truncate"), None)
    if torn is None:
        return Response(content, media_type=media_type)
    sent = content[: _cut(content, torn.params["share"], at_line_end=torn.params["at"] == "line_end")]
    announced = len(content) if torn.params["framing"] == "length" else None
    return await answer_raw(request, sent, media_type=media_type, content_length=announced)


def _altered(content: bytes, fired: Sequence[Fired]) -> bytes:
    lines = content.splitlines(keepends=True)
    for each in fired:
        count = each.params.get("count", 0)
        match each.fault:
            case "missing_lines":
                lines = lines[count:]
            case "duplicate_lines":
                lines = lines + lines[:count]
            case "foreign_lines":
                lines = [_foreign(line) for line in lines if line.strip()][:count] + lines
            case "blank_lines":
                lines = [piece for line in lines[:count] for piece in (b"\n", line, b"  \n")] + lines[count:]
            case "shuffle_lines":
                random.Random(len(lines)).shuffle(lines)
    return b"".join(lines)


def _foreign(line: bytes) -> bytes:
    """The same line for somebody else's request: its custom_id is written backwards."""
    parsed = orjson.loads(line)
    parsed["custom_id"] = parsed["custom_id"][::-1]
    return orjson.dumps(parsed, option=orjson.OPT_APPEND_NEWLINE)


def _cut(content: bytes, share: float, *, at_line_end: bool) -> int:
    """Where a download breaks off that should break off after this share of it."""
    position = int(len(content) * share)
    if at_line_end:
        return content.rfind(b"\n", 0, position) + 1
    while position > 0 and content[position - 1 : position] == b"\n":
        position -= 1
    return position
