"""The gate's decision, with the time held still."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from offpeak.clock import in_words
from offpeak.errors import DefinitionError
from offpeak.freshness.gate import (
    Details,
    InputState,
    Tolerance,
    Verdict,
    complaint,
    judge,
    tolerances,
    tolerances_in,
    tolerates,
)

NOW = datetime(2026, 10, 25, 3, 0, tzinfo=UTC)
FRESH = InputState(
    asset="ticket_labels",
    as_of=NOW - timedelta(hours=38),
    rows=100,
    missing=0,
    fresh=100,
    promise=timedelta(hours=37),
)
TOLERANCE = Tolerance(max_staleness=timedelta(hours=38))


def _refusal(state: InputState, tolerance: Tolerance = TOLERANCE, details: Details | None = None) -> str:
    verdict = judge(state, tolerance, now=NOW)
    assert verdict is not Verdict.PASS
    return complaint(verdict, state, tolerance, consumer="support_dashboard", now=NOW, details=details or Details())


def test_rows_exactly_as_old_as_tolerated_pass() -> None:
    assert judge(FRESH, TOLERANCE, now=NOW) is Verdict.PASS
    assert judge(FRESH, TOLERANCE, now=NOW + timedelta(microseconds=1)) is Verdict.TOO_OLD


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
    message = _refusal(state, replace(TOLERANCE, min_coverage=0.99))
    assert "98 of 100 (98.00%) have an answer" in message
    assert "min_coverage=0.98." in message
    assert judge(state, replace(TOLERANCE, min_coverage=0.98), now=NOW) is Verdict.PASS


def test_what_is_not_all_is_not_shown_as_all() -> None:
    message = _refusal(replace(FRESH, rows=99_999, missing=1))
    assert "at least 100.00% of its rows. 99999 of 100000 (99.99%)" in message
    assert "min_coverage=0.9999." in message


def test_where_stale_rows_are_dropped_the_fresh_ones_have_to_be_enough() -> None:
    old = replace(FRESH, as_of=NOW - timedelta(days=9), rows=90, missing=10, fresh=80)
    dropping = replace(TOLERANCE, rows="drop_stale", min_coverage=0.8)
    assert judge(old, dropping, now=NOW) is Verdict.PASS
    message = _refusal(old, replace(dropping, min_coverage=0.81))
    assert "80 of 100 (80.00%) are at most 1 d 14 h old; the oldest is 9 d old" in message


def test_where_stale_rows_are_dropped_one_has_to_be_left() -> None:
    dropping = replace(TOLERANCE, rows="drop_stale", min_coverage=0)
    assert _refusal(replace(FRESH, fresh=0), dropping).endswith("Materialise ticket_labels again.")
    assert judge(replace(FRESH, fresh=1), dropping, now=NOW) is Verdict.PASS


def test_an_old_plan_without_any_row_is_too_old_though_there_is_nothing_to_drop() -> None:
    empty = replace(FRESH, as_of=NOW - timedelta(days=9), rows=0, fresh=0)
    assert judge(empty, replace(TOLERANCE, rows="drop_stale"), now=NOW) is Verdict.TOO_OLD


def test_a_warning_says_that_the_rows_were_read() -> None:
    warning = _refusal(replace(FRESH, as_of=NOW - timedelta(days=9)), replace(TOLERANCE, on_stale="warn"))
    assert "read all the same" in warning
    assert "Nothing was read" not in warning


def test_what_is_planned_and_has_not_landed_is_never_read_either() -> None:
    lenient = replace(TOLERANCE, min_coverage=0, on_stale="warn")
    message = _refusal(replace(FRESH, as_of=NOW, rows=0, missing=7, fresh=0), lenient)
    assert "reads ticket_labels, none of whose 7 rows has landed." in message
    assert "Nothing was read" in message


def test_what_never_landed_is_never_read() -> None:
    state = replace(FRESH, as_of=None, rows=0, fresh=0)
    assert "Nothing was read" in _refusal(state, replace(TOLERANCE, on_stale="warn"))


def test_a_refusal_says_which_keys_are_missing_and_when_the_next_run_is_due() -> None:
    details = Details(
        lagging=["T1 (queued)", "T2 (dead letter, refused)"], more=3, next_run=NOW + timedelta(hours=1, minutes=30)
    )
    message = _refusal(replace(FRESH, rows=95, missing=5), details=details)
    assert "Without an answer of their own: T1 (queued); T2 (dead letter, refused); and 3 more." in message
    assert "Its next run is due at 2026-10-25 04:30 UTC." in message
    assert "ticket_labels promises at most 1 d 13 h." in message


def test_a_night_with_an_hour_twice_is_judged_by_the_time_that_passed() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    as_of = datetime(2026, 10, 24, 1, 30, tzinfo=berlin).astimezone(UTC)
    state, bears_a_day = replace(FRESH, as_of=as_of), Tolerance(max_staleness=timedelta(hours=24))
    next_night = datetime(2026, 10, 25, 1, 30, tzinfo=berlin)
    assert judge(state, bears_a_day, now=next_night.astimezone(UTC)) is Verdict.PASS
    after_the_change = datetime(2026, 10, 25, 2, 30, tzinfo=berlin, fold=1)
    assert judge(state, replace(bears_a_day, max_staleness=timedelta(hours=25)), now=after_the_change) is (
        Verdict.TOO_OLD
    )
    assert judge(state, replace(bears_a_day, max_staleness=timedelta(hours=26)), now=after_the_change) is Verdict.PASS


def test_an_asset_that_wants_no_rows_passes_when_it_is_fresh() -> None:
    assert judge(replace(FRESH, rows=0, fresh=0), TOLERANCE, now=NOW) is Verdict.PASS


@pytest.mark.parametrize("staleness", [timedelta(0), timedelta(hours=-1), 38, timedelta.max, NOW])
def test_a_tolerance_that_is_not_a_positive_duration_is_refused_naming_the_field(staleness: object) -> None:
    with pytest.raises(DefinitionError, match="max_staleness="):
        tolerates(staleness)  # type: ignore[call-overload]


@pytest.mark.parametrize("coverage", [-0.1, 1.1, True, float("nan"), "0.9"])
def test_a_coverage_outside_nought_to_one_is_refused(coverage: float) -> None:
    with pytest.raises(DefinitionError, match="min_coverage="):
        tolerates(timedelta(hours=1), min_coverage=coverage)


@pytest.mark.parametrize(("field", "value"), [("on_stale", "ignore"), ("rows", "fresh"), ("on_stale", None)])
def test_a_choice_that_there_is_not_is_refused_naming_the_field(field: str, value: object) -> None:
    with pytest.raises(DefinitionError, match=f"{field}={value!r}"):
        tolerates(timedelta(hours=1), **{field: value})  # type: ignore[call-overload]


def test_a_dependency_that_would_drop_rows_is_refused_with_what_to_write_instead() -> None:
    with pytest.raises(DefinitionError, match=r"WHERE as_of >= .* or offpeak\.read\(\.\.\., rows='drop_stale'\)"):
        tolerates("labels", timedelta(hours=1), rows="drop_stale")


def test_a_tolerance_survives_its_way_through_metadata() -> None:
    tolerance = Tolerance(
        max_staleness=timedelta(days=1, seconds=1), min_coverage=0.99, on_stale="warn", rows="drop_stale"
    )
    assert Tolerance.from_metadata(json.loads(json.dumps(tolerance.to_metadata()))) == tolerance
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


def test_tolerances_of_a_consumer_are_by_the_assets_that_it_reads() -> None:
    hour = Tolerance(max_staleness=timedelta(hours=1))
    given = tolerances({"a/labels": tolerates(timedelta(hours=1)), dg.AssetKey("more"): tolerates(timedelta(hours=1))})
    assert tolerances_in(given) == {dg.AssetKey(["a", "labels"]): hour, dg.AssetKey("more"): hour}
    assert tolerances_in(tolerances(labels=tolerates(timedelta(hours=1)))) == {dg.AssetKey("labels"): hour}
    assert tolerances_in({"owner": "somebody"}) == {}


def test_tolerances_of_something_else_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"tolerances\(labels="):
        tolerances(labels=dg.AssetIn())
    with pytest.raises(DefinitionError, match="name the asset"):
        tolerances({1: tolerates(timedelta(hours=1))})
    with pytest.raises(DefinitionError, match="name each asset"):
        tolerances()


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
