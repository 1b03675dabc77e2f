"""How rows stand against their promise, by their own age, with the time held still."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from offpeak.freshness.contract import COLLECTING, FreshnessContract, native_policy
from offpeak.freshness.standing import Freshness, Part, Standing, judge

HOUR = timedelta(hours=1)
NOW = datetime(2026, 10, 25, 3, 0, tzinfo=UTC)
CONTRACT = FreshnessContract(valid_for=37 * HOUR, warn_after=25 * HOUR)


def part(age: timedelta | None, partition_key: str = "") -> Part:
    as_of = None if age is None else NOW - age
    return Part(partition_key=partition_key, as_of=as_of, effective_until=(as_of or NOW) + CONTRACT.valid_for)


def judged(*parts: Part, due: tuple[str, ...] = (), next_run: datetime | None = None) -> Freshness:
    return judge(parts, CONTRACT, now=NOW, due=due, next_run=next_run)


@pytest.mark.parametrize(
    ("age", "standing"),
    [
        (0 * HOUR, Standing.FRESH),
        (25 * HOUR, Standing.FRESH),
        (25 * HOUR + timedelta(microseconds=1), Standing.AGEING),
        (37 * HOUR, Standing.AGEING),
        (37 * HOUR + timedelta(microseconds=1), Standing.STALE),
        (None, Standing.MISSING),
    ],
)
def test_the_age_of_the_rows_decides_to_the_last_moment(age: timedelta | None, standing: Standing) -> None:
    assert judged(part(age)).standing is standing


def test_without_a_warning_rows_are_fresh_until_they_are_stale() -> None:
    contract = FreshnessContract(valid_for=37 * HOUR)
    assert judge([part(37 * HOUR)], contract, now=NOW).standing is Standing.FRESH


def test_one_stale_partition_among_fresh_ones_makes_the_asset_stale_and_is_named() -> None:
    found = judged(part(HOUR, "de"), part(40 * HOUR, "fr"), part(2 * HOUR, "pl"))
    assert (found.standing, found.behind, found.partition_key) == (Standing.STALE, ["fr"], "fr")
    assert found.description == (
        "Stale since 2026-10-25 00:00 UTC. The oldest row of partition fr is as of 2026-10-23 11:00 UTC, 1 d 16 h old; "
        "the contract promises 37 h."
    )


def test_a_partition_that_is_due_and_has_not_landed_is_worse_than_a_stale_one() -> None:
    found = judged(part(40 * HOUR, "2026-10-23"), due=("2026-10-24",), next_run=NOW + HOUR)
    assert found.standing is Standing.MISSING
    assert found.description == (
        "Partition 2026-10-24 is due and has not landed. Its next run is due 2026-10-25 04:00 UTC."
    )
    assert found.behind == ["2026-10-23", "2026-10-24"]


def test_what_never_landed_is_missing() -> None:
    found = judged()
    assert (found.standing, found.description) == (Standing.MISSING, "It has never landed.")


def test_a_fresh_asset_says_until_when() -> None:
    assert judged(part(HOUR)).description == (
        "Fresh until 2026-10-26 15:00 UTC. The oldest row is as of 2026-10-25 02:00 UTC, 1 h old; the contract "
        "promises 37 h."
    )


def test_it_says_when_time_alone_will_change_it() -> None:
    as_of = NOW - HOUR
    assert judged(part(HOUR)).changes_at(CONTRACT) == as_of + 25 * HOUR
    assert judged(part(30 * HOUR)).changes_at(CONTRACT) == NOW + 7 * HOUR
    assert judged(part(40 * HOUR)).changes_at(CONTRACT) is None
    assert judged().changes_at(CONTRACT) is None


@pytest.mark.parametrize(
    ("contract", "deadline", "warned"),
    [
        # rows that took the whole deadline are past their promise this long after they landed
        (FreshnessContract(valid_for=37 * HOUR), 12 * HOUR, 37 * HOUR - 12 * HOUR - COLLECTING),
        (FreshnessContract(valid_for=37 * HOUR, warn_after=20 * HOUR), 12 * HOUR, 20 * HOUR),
        (FreshnessContract(valid_for=37 * HOUR, warn_after=30 * HOUR), 12 * HOUR, 37 * HOUR - 12 * HOUR - COLLECTING),
        (FreshnessContract(valid_for=12 * HOUR), 12 * HOUR - timedelta(seconds=1), timedelta(minutes=1)),
        # Dagster knows nothing shorter than a minute
        (FreshnessContract(valid_for=timedelta(minutes=1)), timedelta(seconds=1), None),
    ],
)
def test_dagsters_own_policy_never_calls_fresh_what_may_be_stale(
    contract: FreshnessContract, deadline: timedelta, warned: timedelta | None
) -> None:
    expected = dg.FreshnessPolicy.time_window(fail_window=contract.valid_for, warn_window=warned)
    assert native_policy(contract, deadline=deadline) == expected
