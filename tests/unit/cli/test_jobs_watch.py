"""`offpeak jobs --watch` on a real terminal, in a pipe, and as JSON lines; Ctrl-C is the way out and no error."""

import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from rich.console import Console, ConsoleDimensions

from offpeak.cli.watch import Look, changes, frame, looks
from offpeak.ledger import jobs, sightings
from offpeak.ledger.conditions import Condition
from offpeak.ledger.states import JobState
from offpeak.ledger.watching import Watched, watched

from ...conftest import LocalProvider, Place, QuickClock, Shop, tickets, until

DUE = {"second": 5, "first": 4, "third": 6}
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ENDS_WITHIN = 30
"""Seconds, far beyond what it takes."""


@dataclass
class Watching:
    """A command that runs until it is interrupted, and what it has written so far."""

    process: "subprocess.Popen[bytes]"
    output: int
    written: bytearray = field(default_factory=bytearray)
    errors: bytearray = field(default_factory=bytearray)

    @property
    def text(self) -> str:
        return self.written.decode(errors="replace")

    def shows(self, *words: str) -> None:
        """Wait until all of it was written."""
        until(lambda: all(word in self.text for word in words), what=f"{words} in {self.text!r}", seconds=ENDS_WITHIN)

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(ENDS_WITHIN)


Watch = Callable[..., Watching]


@pytest.fixture
def watch(place: Place) -> Iterator[Watch]:
    """Starts `offpeak jobs --watch` on the shop's ledger, on a terminal of so many columns or in a pipe."""
    started: list[Watching] = []

    def start(*arguments: str, columns: int | None = None) -> Watching:
        ours, theirs = os.pipe() if columns is None else pty.openpty()
        if columns is not None:
            fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 20, columns, 0, 0))
        variables = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "CI"}}
        process = subprocess.Popen(
            [sys.executable, "-m", "offpeak.cli", "jobs", "--watch", *arguments],
            env={**variables, "OFFPEAK_DATABASE_URL": place.url, "TERM": "xterm-256color"},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.PIPE,
        )
        os.close(theirs)
        watching = Watching(process, ours)
        assert process.stderr is not None
        for descriptor, into in ((ours, watching.written), (process.stderr.fileno(), watching.errors)):
            threading.Thread(target=_drain, args=(descriptor, into), daemon=True).start()
        started.append(watching)
        return watching

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


def _drain(descriptor: int, into: bytearray) -> None:
    while True:
        try:
            part = os.read(descriptor, 65_536)
        except OSError:  # a terminal whose other end is closed
            return
        if not part:
            return
        into += part


@pytest.fixture
def half_done(shop: Shop, local_provider: LocalProvider) -> int:
    """A job with 2 of 4 requests finished, as the provider's list showed it."""
    local_provider.fault("never_end", share=0.5)
    job = shop.leave(tickets(4))

    def seen() -> bool:
        look(shop, job)
        (chunk,) = sightings.of_jobs(shop.ledger, [job])[job]
        return chunk.finished == 2

    until(seen, what="half of the batch")
    return job


def look(shop: Shop, job: int) -> None:
    chunks = sightings.of_jobs(shop.ledger, [job])[job]
    since = sightings.since(chunks)
    assert since is not None
    sightings.see(shop.ledger, chunks, {batch.id: batch for batch in shop.provider.batches(since=since)})


def test_a_terminal_shows_bars_until_ctrl_c(half_done: int, watch: Watch) -> None:
    watching = watch(columns=120)
    watching.shows("1 open at", "labels", "running", "━", "2/4", "time left")
    assert watching.interrupt() == 0
    assert "Traceback" not in watching.text + watching.errors.decode()
    assert watching.errors == b""
    assert watching.text.rindex("\x1b[?25h") > watching.text.rindex("\x1b[?25l"), "the cursor is shown again"


def test_a_job_that_ends_leaves_the_bars_and_is_named(
    half_done: int, shop: Shop, local_provider: LocalProvider, watch: Watch
) -> None:
    watching = watch(columns=120)
    watching.shows("2/4")
    (batch,) = local_provider.batches()
    local_provider.heal(batch["id"])
    shop.collect(half_done)
    watching.shows("No job is open at", f"Job {half_done} of labels ended: completed.")
    assert watching.interrupt() == 0


def test_in_a_pipe_each_change_is_one_line(
    half_done: int, shop: Shop, local_provider: LocalProvider, watch: Watch
) -> None:
    watching = watch()
    watching.shows("running")
    (batch,) = local_provider.batches()
    local_provider.heal(batch["id"])

    def landed() -> bool:
        look(shop, half_done)
        return watched(shop.ledger, now=datetime.now(UTC))[0].condition is Condition.LANDED

    until(landed, what="the batch's end")
    watching.shows("landed")
    shop.collect(half_done)
    watching.shows("completed")
    assert watching.interrupt() == 0
    lines = [re.split(r"\s{2,}", line)[1:] for line in watching.text.splitlines()]
    assert lines[0] == [f"job {half_done}", "labels", "running", "2/4 requests"]
    assert [f"job {half_done}", "labels", "landed", "4/4 requests"] in lines
    assert lines[-1] == [f"job {half_done}", "labels", "completed"]
    assert all(line != after for line, after in pairwise(lines))
    assert "\x1b" not in watching.text
    assert watching.errors == b""


def test_as_json_each_change_is_one_document_on_a_line_also_on_a_terminal(
    half_done: int, shop: Shop, local_provider: LocalProvider, watch: Watch
) -> None:
    watching = watch("--json", columns=80)
    watching.shows("\n")
    (batch,) = local_provider.batches()
    local_provider.heal(batch["id"])
    shop.collect(half_done)
    watching.shows('"completed"')
    assert watching.interrupt() == 0
    first, *_, last = [json.loads(line) for line in watching.text.splitlines()]
    assert (first["id"], first["state"], first["condition"]) == (half_done, "in_progress", "running")
    assert (first["progress"]["finished"], first["cost_usd"]) == (2, None)
    assert datetime.fromisoformat(first["at"]) <= datetime.fromisoformat(last["at"])
    assert (last["id"], last["condition"], last["progress"]) == (half_done, None, None)
    assert last["cost_usd"] is not None


def test_only_the_asset_that_was_asked_for_is_watched(shop: Shop, half_done: int, watch: Watch) -> None:
    shop.begin(tickets(1, start=9), asset="other")
    watching = watch("--asset", "other")
    watching.shows("queued")
    assert watching.interrupt() == 0
    assert "labels" not in watching.text


def test_an_asset_that_nobody_knows_is_refused_at_once(half_done: int, watch: Watch) -> None:
    watching = watch("--asset", "lables")
    assert watching.process.wait(ENDS_WITHIN) == 1
    until(lambda: b"Did you mean labels" in watching.errors, what="the message")
    assert watching.text == ""


def test_a_job_is_told_again_only_when_something_of_it_has_changed(shop: Shop, local_provider: LocalProvider) -> None:
    shop.ledger.clock = QuickClock()
    local_provider.fault("never_end")
    queued = shop.begin(tickets(1), asset="queued")
    told = changes(shop.ledger, None)
    first = next(told)
    assert (first.job.id, first.anew) == (queued, True)
    running = shop.leave(tickets(1, start=1), asset="running")
    second = next(told)
    assert (second.job.id, second.anew) == (running, True)
    jobs.close(shop.ledger, queued, JobState.CANCELLED, why="a test")
    third = next(told)
    assert (third.job.id, third.job.state, third.standing) == (queued, JobState.CANCELLED, None)


def test_what_needs_somebody_comes_first_then_what_is_due_first(shop: Shop) -> None:
    due = {name: shop.begin(tickets(1), asset=name, deadline=timedelta(hours=hours)) for name, hours in DUE.items()}
    shop.ledger.claimant = replace(shop.ledger.claimant, pid=2**22 + 1)  # no system gives a process this number
    gone = shop.begin(tickets(1), asset="gone", deadline=timedelta(hours=9))
    found = next(looks(shop.ledger, None))
    assert [each.job.id for each in found.open] == [gone, due["first"], due["second"], due["third"]]


def drawn(look: Look, *, width: int, height: int, limit: int = 50, ended: Any = ()) -> list[str]:
    """What a terminal of this size shows."""
    out = Console(width=width, height=height, file=io.StringIO(), markup=False, highlight=False)
    with out.capture() as captured:
        out.print(frame(look, list(ended), limit=limit, size=ConsoleDimensions(width, height)))
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.fixture
def many(shop: Shop) -> Look:
    """Twenty queued jobs, the last of them late."""
    for number in range(20):
        shop.begin(tickets(1, start=number), asset=f"an_asset_with_quite_a_long_name_{number}")
    found = watched(shop.ledger, now=datetime.now(UTC))
    late = replace(found[0], condition=Condition.LATE, why="1 h past its deadline")
    return Look(at=datetime.now(UTC), open=[late, *found[1:]], ended=[])


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("height", [3, 8, 24])
def test_it_fits_on_the_terminal_and_says_how_many_do_not(many: Look, width: int, height: int) -> None:
    lines = drawn(many, width=width, height=height)
    assert len(lines) < max(height, 5)
    assert all(len(line) <= width for line in lines)
    shown = [line for line in lines if re.match(r" *\d+ +an_asset", line)]
    left_out = len(many.open) - len(shown)
    assert (f"{left_out:,} more are open." in lines) == (left_out > 0)
    if height == 24:
        assert "late" in shown[0]
        assert "Job 20: 1 h past its deadline." in lines


def test_a_narrow_terminal_shortens_the_name_and_keeps_the_figures(many: Look) -> None:
    narrow, wide = (drawn(many, width=width, height=24) for width in (80, 160))
    assert "an_asset_with_quite_a_long_name_19" in wide[2]
    assert "…" in narrow[2]
    for line in (narrow[2], wide[2]):
        assert re.search(r" late .*0/1 .* 11:59:\d\d$", line)
    assert "usually" in wide[1]
    assert "usually" not in narrow[1]


def test_no_more_jobs_are_shown_than_asked_for(many: Look) -> None:
    lines = drawn(many, width=120, height=50, limit=3)
    assert sum("an_asset" in line for line in lines) == 3
    assert "17 more are open." in lines


def test_times_beyond_a_day_and_past_the_deadline_are_told(many: Look) -> None:
    each: Watched = replace(many.open[0], elapsed=timedelta(hours=26, minutes=3, seconds=4.9), deadline_at=NOW)
    look = Look(at=NOW + timedelta(minutes=13), open=[each], ended=[])
    assert re.search(r" 26:03:04 .* -0:13:00$", drawn(look, width=120, height=24)[2])
