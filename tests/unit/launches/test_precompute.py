"""Which launches are pre-computed when: in their quiet days, by the clock that a test holds."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from offpeak.assets.due import due
from offpeak.clock import SystemClock
from offpeak.errors import DefinitionError
from offpeak.launches.launch import Launch, OpenBatches, Session
from offpeak.launches.listed import Launches
from offpeak.launches.precompute import due_at, launch_partitions, launches_due, needed_at, why_none

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
SPRING = Launch(
    name="spring",
    starts=datetime(2027, 3, 9, 8, tzinfo=UTC),
    ends=datetime(2027, 3, 9, 20, tzinfo=UTC),
    zone="Europe/Berlin",
    peak_at=datetime(2027, 3, 9, 10, tzinfo=UTC),
    peak_users=400,
    session=Session(length=timedelta(minutes=12), requests=6, input_tokens=5400, output_tokens=1500),
    precomputed_share=0.7,
    models={"openai/gpt-5-mini": 1.0},
    spare=0.2,
    raise_time=timedelta(days=14),
    quiet=timedelta(days=7),
    open_batches=OpenBatches.FINISH,
    notice=timedelta(days=1),
)
QUIET = SPRING.starts - SPRING.quiet
LATER = replace(SPRING, name="later", starts=SPRING.starts + 3 * DAY, ends=SPRING.ends + 3 * DAY)
BOTH = (SPRING, LATER)


def names(launches: Iterable[Launch]) -> list[str]:
    return [each.name for each in launches]


@pytest.mark.parametrize(
    ("at", "precomputed", "needed"),
    [
        (QUIET - MINUTE, [], []),
        (QUIET, ["spring"], ["spring"]),
        (QUIET + 3 * DAY, ["spring", "later"], ["spring", "later"]),
        (SPRING.starts - MINUTE, ["spring", "later"], ["spring", "later"]),
        (SPRING.starts, ["later"], ["spring", "later"]),
        (SPRING.ends - MINUTE, ["later"], ["spring", "later"]),
        (SPRING.ends, ["later"], ["later"]),
        (LATER.ends, [], []),
    ],
)
def test_a_launch_is_due_in_its_quiet_days_and_needs_its_rows_until_its_end(
    at: datetime, precomputed: list[str], needed: list[str]
) -> None:
    assert (names(due_at(BOTH, at)), names(needed_at(BOTH, at))) == (precomputed, needed)


def test_why_no_launch_is_due_names_the_next_one() -> None:
    assert why_none(BOTH, QUIET - DAY) == (
        "No launch is in its quiet days. Those of spring begin at 2027-03-02 08:00 UTC."
    )
    assert why_none(BOTH, LATER.ends) == "No launch is in its quiet days, and none is planned after that."


@pytest.mark.parametrize("launches", [(), (SPRING,), BOTH])
def test_there_is_a_partition_for_each_launch_and_there_may_be_none(launches: tuple[Launch, ...]) -> None:
    assert list(launch_partitions(Launches(launches)).get_partition_keys()) == names(launches)


def asset(*launches: Launch) -> dg.AssetsDefinition:
    @dg.asset(partitions_def=launch_partitions(Launches(launches)))
    def starters() -> None: ...

    return starters


def requested(
    monkeypatch: pytest.MonkeyPatch, at: datetime, *, known: Iterable[Launch] = BOTH, now: datetime | None = None
) -> tuple[list[str | None], str | None]:
    """The partitions that a tick requests, and what it says instead."""
    monkeypatch.setattr(SystemClock, "now", lambda self: now or at)
    with dg.build_schedule_context(scheduled_execution_time=at) as context:
        found = list(launches_due(context, asset(*known), Launches(BOTH)))
    runs = [each for each in found if isinstance(each, dg.RunRequest)]
    reasons = [each.skip_message for each in found if isinstance(each, dg.SkipReason)]
    assert len({each.run_key for each in runs}) == len(runs)
    return [each.partition_key for each in runs], reasons[0] if reasons else None


def test_a_tick_requests_a_run_for_each_launch_in_its_quiet_days(monkeypatch: pytest.MonkeyPatch) -> None:
    assert requested(monkeypatch, QUIET) == (["spring"], None)
    assert requested(monkeypatch, SPRING.starts - HOUR) == (["spring", "later"], None)
    assert requested(monkeypatch, SPRING.starts + HOUR) == (["later"], None)


def test_outside_of_them_it_says_why_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    runs, why = requested(monkeypatch, QUIET - MINUTE)
    assert (runs, why) == ([], "No launch is in its quiet days. Those of spring begin at 2027-03-02 08:00 UTC.")


def test_a_tick_that_is_made_up_for_late_requests_nothing_for_a_launch_that_has_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs, _ = requested(monkeypatch, SPRING.starts - HOUR, now=SPRING.ends)
    assert runs == ["later"]
    runs, why = requested(monkeypatch, SPRING.starts - HOUR, now=LATER.ends)
    assert (runs, bool(why)) == ([], True)


def test_a_launch_that_was_added_since_the_definitions_were_loaded_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    assert requested(monkeypatch, SPRING.starts - HOUR, known=[SPRING]) == (["spring"], None)
    runs, why = requested(monkeypatch, SPRING.starts + HOUR, known=[SPRING])
    assert runs == []
    assert str(why).startswith("launches.yaml names later, which was not there when the definitions were loaded.")


def test_an_asset_of_other_partitions_is_refused() -> None:
    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["spring"]))
    def starters() -> None: ...

    with dg.build_schedule_context() as context, pytest.raises(DefinitionError, match="not partitioned by launches"):
        list(launches_due(context, starters, Launches(BOTH)))


def test_of_launches_those_have_to_be_fresh_that_need_their_rows_now() -> None:
    def found(at: datetime, *known: str) -> tuple[list[str], bool]:
        with dg.DagsterInstance.ephemeral() as instance:
            made = due(
                launch_partitions(Launches(BOTH)), known=known, crons=[], lag=timedelta(0), now=at, instance=instance
            )
        return list(made.partitions), bool(made.nobody_waits)

    assert found(QUIET - MINUTE, "spring", "later") == ([], True)
    assert found(QUIET, "later") == ([], False), "due, and never landed"
    assert found(SPRING.starts, "spring", "later") == (["spring", "later"], False)
    assert found(SPRING.ends, "spring", "later") == (["later"], False)
    assert found(LATER.ends, "spring", "later") == ([], True)
