"""The gate's decision, with the time held still."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from offpeak.clock import in_words
from offpeak.errors import DefinitionError, StaleInput
from offpeak.freshness.gate import InputState, Tolerance, judge, tolerates

NOW = datetime(2026, 10, 25, 3, 0, tzinfo=UTC)
FRESH = InputState(
    asset="ticket_labels", as_of=NOW - timedelta(hours=38), rows=100, missing=0, promise=timedelta(hours=37)
)
TOLERANCE = Tolerance(max_staleness=timedelta(hours=38))


def _refusal(state: InputState, tolerance: Tolerance = TOLERANCE) -> str:
    with pytest.raises(StaleInput) as refused:
        judge(state, tolerance, consumer="support_dashboard", now=NOW)
    return str(refused.value)


def test_rows_exactly_as_old_as_tolerated_pass() -> None:
    judge(FRESH, TOLERANCE, consumer="support_dashboard", now=NOW)


def test_rows_older_than_tolerated_are_refused_with_age_tolerance_promise_and_remedy() -> None:
    message = _refusal(replace(FRESH, as_of=NOW - timedelta(hours=40, minutes=5)))
    assert "tolerates rows of ticket_labels up to 1 d 14 h old" in message
    assert "1 d 16 h old" in message
    assert "promises at most 1 d 13 h" in message
    assert "tolerates(timedelta(hours=41))" in message


def test_an_asset_that_never_landed_is_refused() -> None:
    assert "has never landed" in _refusal(replace(FRESH, as_of=None, rows=0))


def test_a_partition_that_never_landed_is_named_though_the_others_are_fresh() -> None:
    assert "partition 2026-10-24" in _refusal(replace(FRESH, not_landed=["2026-10-24"]))


def test_of_many_partitions_that_never_landed_the_first_five_are_named() -> None:
    message = _refusal(replace(FRESH, not_landed=[f"p{number}" for number in range(8)]))
    assert "p4 and 3 more" in message
    assert "p5" not in message


def test_fewer_rows_than_accepted_are_refused_with_the_share() -> None:
    state = replace(FRESH, rows=98, missing=2)
    assert "98 of 100 (98.00%)" in _refusal(state, replace(TOLERANCE, min_coverage=0.99))
    judge(state, replace(TOLERANCE, min_coverage=0.98), consumer="support_dashboard", now=NOW)


def test_an_asset_that_wants_no_rows_passes_when_it_is_fresh() -> None:
    judge(replace(FRESH, rows=0), TOLERANCE, consumer="support_dashboard", now=NOW)


@pytest.mark.parametrize("staleness", [timedelta(0), timedelta(hours=-1), 38])
def test_a_tolerance_that_is_not_a_positive_duration_is_refused_naming_the_field(staleness: object) -> None:
    with pytest.raises(DefinitionError, match="max_staleness="):
        tolerates(staleness)  # type: ignore[call-overload]


@pytest.mark.parametrize("coverage", [-0.1, 1.1, True])
def test_a_coverage_outside_nought_to_one_is_refused(coverage: float) -> None:
    with pytest.raises(DefinitionError, match="min_coverage="):
        tolerates(timedelta(hours=1), min_coverage=coverage)


def test_a_tolerance_survives_its_way_through_metadata() -> None:
    tolerance = Tolerance(max_staleness=timedelta(days=1, seconds=1), min_coverage=0.99)
    assert Tolerance.from_metadata(tolerance.to_metadata()) == tolerance
    assert Tolerance.from_metadata({"owner": "somebody"}) is None
    assert Tolerance.from_metadata(None) is None


def test_an_input_keeps_key_and_partition_mapping() -> None:
    mapping = dg.LastPartitionMapping()
    made = tolerates(timedelta(hours=1), key=["a", "labels"], partition_mapping=mapping, metadata={"columns": "key"})
    assert made.key == dg.AssetKey(["a", "labels"])
    assert made.partition_mapping is mapping
    assert made.metadata is not None
    assert made.metadata["columns"] == "key"
    assert Tolerance.from_metadata(made.metadata) == Tolerance(max_staleness=timedelta(hours=1))


def test_with_an_asset_it_is_a_dependency() -> None:
    made = tolerates("labels", timedelta(hours=1), min_coverage=0.5)
    assert isinstance(made, dg.AssetDep)
    assert Tolerance.from_metadata(made.metadata) == Tolerance(max_staleness=timedelta(hours=1), min_coverage=0.5)


def test_a_dependency_takes_no_key() -> None:
    with pytest.raises(DefinitionError, match="neither key="):
        tolerates("labels", timedelta(hours=1), key="other")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (timedelta(hours=37), "1 d 13 h"),
        (timedelta(minutes=90), "1 h 30 min"),
        (timedelta(0), "0 s"),
        (timedelta(seconds=-5), "-5 s"),
        (timedelta(days=2, seconds=3), "2 d 3 s"),
    ],
)
def test_durations_are_told_in_their_two_largest_units(duration: timedelta, words: str) -> None:
    assert in_words(duration) == words
