"""What looks alike from outside is told apart, with the time held still."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from offpeak.ledger.conditions import Condition, Standing, judge, middle, slow_tail
from offpeak.ledger.states import JobState, ParkedState

C = Condition
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
H = timedelta(hours=1)
MIN = timedelta(minutes=1)

QUEUED = Standing(
    state=JobState.IN_PROGRESS,
    reason=None,
    deadline_at=NOW + 12 * H,
    attended=True,
    host=None,
    parked=ParkedState.WAITING,
    release_at=None,
    others=[],
    landed=False,
    landed_at=None,
    out_since=None,
    progress_at=None,
    past=[],
    grown=0,
)
"""Of a parked run, and not at the provider yet."""


def out(hours: float, *, quiet: float | None = None, past: tuple[float, ...] = (2, 3), **more: object) -> Standing:
    """Submitted so many hours ago, without progress for `quiet` of them; past batches took `past` hours."""
    since, progress = NOW - hours * H, NOW - (hours if quiet is None else quiet) * H
    standing = replace(QUEUED, out_since=since, progress_at=progress, past=[each * H for each in past])
    return replace(standing, **more)  # type: ignore[arg-type]


def landed(minutes: float, **more: object) -> Standing:
    """Its last batch ended so many minutes ago."""
    return replace(QUEUED, landed=True, landed_at=NOW - minutes * MIN, **more)  # type: ignore[arg-type]


GONE = replace(QUEUED, attended=False, parked=None)
LATE = NOW - H
RELEASED = ParkedState.RELEASED


@pytest.mark.parametrize(
    ("standing", "condition"),
    [
        (QUEUED, C.QUEUED),
        (replace(QUEUED, state=JobState.PLANNING, parked=None), C.QUEUED),
        (replace(QUEUED, deadline_at=LATE), C.LATE),
        (replace(QUEUED, state=JobState.HELD, attended=False, parked=None), C.HELD),
        # running
        (out(0), C.RUNNING),
        (out(1.9), C.RUNNING),
        (out(3), C.RUNNING),
        (out(5, past=()), C.RUNNING),
        # longer than the slow tail of past batches
        (out(3.01, quiet=0), C.RUNNING_LONG),
        (out(11, quiet=1), C.RUNNING_LONG),
        (out(1.01, quiet=0, past=(1,) * 9 + (5,)), C.RUNNING_LONG),
        (out(2.01, quiet=0, past=(1,) * 8 + (2, 5)), C.RUNNING_LONG),
        (out(1.5, quiet=0, past=(1,) * 8 + (2, 5)), C.RUNNING),
        # seconds say nothing: it may have ended since anybody looked
        (out(0.016, past=(0.001,)), C.RUNNING),
        (out(0.017, past=(0.001,)), C.RUNNING_LONG),
        # quiet for longer than any past batch took, and more waits behind it
        (out(4, quiet=3.01, grown=1), C.STUCK),
        (out(4, quiet=3.01, grown=0), C.RUNNING_LONG),
        (out(4, quiet=3.01, grown=-5), C.RUNNING_LONG),
        (out(4, quiet=2.9, grown=100), C.RUNNING_LONG),
        # at least an hour, however fast the past ones were
        (out(1, past=(0.1,), grown=1), C.RUNNING_LONG),
        (out(1.01, past=(0.1,), grown=1), C.STUCK),
        # six hours where there is no history
        (out(6, past=(), grown=1), C.RUNNING),
        (out(6.01, past=(), grown=1), C.STUCK),
        (out(6.01, past=(), grown=0), C.RUNNING_LONG),
        (out(30, quiet=5, past=(), grown=1), C.RUNNING),
        # called one by one
        (out(5, past=(), calling=True), C.RUNNING),
        (out(7, past=(), calling=True), C.RUNNING_LONG),
        (out(1, past=(), calling=True, deadline_at=LATE), C.LATE),
        (out(1, past=(), calling=True, parked=None, attended=False), C.UNATTENDED),
        # past its deadline
        (out(1, deadline_at=NOW), C.RUNNING),
        (out(1, deadline_at=NOW - timedelta(seconds=1)), C.LATE),
        (out(4, quiet=0, deadline_at=LATE), C.LATE),
        (out(4, quiet=3.5, grown=1, deadline_at=LATE), C.STUCK),
        # ended at the provider, not collected
        (landed(0), C.LANDED),
        (landed(0, deadline_at=LATE), C.LANDED),
        (landed(0, parked=RELEASED), C.LANDED),
        (landed(0, parked=None), C.LANDED),
        # terminated
        (out(1, parked=ParkedState.STOPPING, attended=False), C.STOPPING),
        (landed(1, parked=ParkedState.STOPPING, attended=False), C.STOPPING),
        # nobody will collect it
        (GONE, C.UNATTENDED),
        (replace(GONE, state=JobState.PLANNING), C.UNATTENDED),
        (out(1, parked=None, attended=False), C.UNATTENDED),
        (out(9, quiet=8, grown=1, deadline_at=LATE, parked=None, attended=False), C.UNATTENDED),
        (landed(1, parked=None, attended=False), C.UNATTENDED),
        (landed(1, parked=ParkedState.ENDED, attended=False), C.UNATTENDED),
    ],
)
def test_the_condition_of_a_job(standing: Standing, condition: Condition) -> None:
    assert judge(standing, now=NOW)[0] is condition


@pytest.mark.parametrize(
    ("standing", "why"),
    [
        (QUEUED, ""),
        (out(1), ""),
        (landed(10), ""),
        (landed(60, parked=None), ""),
        (replace(QUEUED, state=JobState.HELD, reason="The prompt differs."), "The prompt differs."),
        (
            replace(QUEUED, release_at=NOW + H),
            "it could not be submitted; it is tried again at 2026-11-20 13:00:00 UTC",
        ),
        (
            out(1, release_at=NOW + H),
            "a part of it could not be submitted; it is tried again at 2026-11-20 13:00:00 UTC",
        ),
        (
            out(1, past=(), calling=True, release_at=NOW + H),
            "not all of it could be called; it is tried again at 2026-11-20 13:00:00 UTC",
        ),
        (
            out(1, past=(), calling=True, parked=None, attended=False),
            "its process is gone and no parked run holds its place; materialise the asset again to go on",
        ),
        (replace(QUEUED, deadline_at=LATE), "1 h past its deadline, and nothing of it is at the provider"),
        (
            replace(QUEUED, deadline_at=LATE, release_at=NOW + H),
            "1 h past its deadline, and nothing of it is at the provider: it could not be submitted; it is tried "
            "again at 2026-11-20 13:00:00 UTC",
        ),
        (out(3.5, quiet=0, past=(3,)), "out for 3 h 30 min (the one past batch took 3 h); its deadline is in 12 h"),
        (out(4, quiet=0), "out for 4 h (all 2 past batches took 3 h at most); its deadline is in 12 h"),
        (
            out(3, quiet=0, past=(1,) * 9 + (5,)),
            "out for 3 h (9 of 10 past batches took 1 h at most); its deadline is in 12 h",
        ),
        (out(7, past=()), "no progress for 7 h; its deadline is in 12 h"),
        (
            out(4, quiet=3.5, grown=1200),
            "no progress for 3 h 30 min (all 2 past batches took 3 h at most), and the account's queue has grown by "
            "1,200 requests since",
        ),
        (
            out(7, past=(), grown=1, deadline_at=LATE),
            "no progress for 7 h, and the account's queue has grown by 1 request since; 1 h past its deadline",
        ),
        (out(1, deadline_at=LATE), "1 h past its deadline"),
        (landed(1, deadline_at=LATE), "1 h past its deadline"),
        (landed(1, others=[8]), "its run also waits for job 8"),
        (landed(30, others=[8, 9]), "its run also waits for 2 other jobs"),
        (
            landed(30),
            "ended 30 min ago, and its run is not released; see that Dagster's daemon and the sensor for batches are "
            "running",
        ),
        (
            landed(30, parked=RELEASED),
            "ended 30 min ago, and its run has not collected it; look at that run in Dagster",
        ),
        (
            GONE,
            "its process is gone and no parked run holds its place; materialise the asset again to go on",
        ),
        (
            out(1, parked=None, attended=False),
            "its process is gone and no parked run holds its place; materialise the asset again to collect",
        ),
        (
            landed(1, parked=None, attended=False, host="worker-2"),
            "its process was on worker-2, which cannot be asked from here, and no parked run holds its place; "
            "materialise the asset again to collect",
        ),
    ],
)
def test_why_it_is_so_is_said_in_one_sentence(standing: Standing, why: str) -> None:
    assert judge(standing, now=NOW)[1] == why


def test_the_usual_and_the_slow_time_do_not_depend_on_the_order() -> None:
    past = [each * H for each in (9, 1, 5, 2, 10, 3, 4, 8, 7, 6)]
    assert slow_tail(past) == 9 * H
    assert middle(past) == 6 * H
    assert slow_tail([]) is None
    assert middle([]) is None
