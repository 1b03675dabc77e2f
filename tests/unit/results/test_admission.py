"""The gate over a real ledger, with the time held still: every way in which rows are old or missing, and what is said.

A row is as old as what it was made from, however long its batch took.
"""

import re
import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import offpeak
from offpeak.errors import StaleInput, StaleInputWarning
from offpeak.freshness.cadence import Cron
from offpeak.freshness.gate import Tolerance
from offpeak.ledger.policy import FailurePolicy
from offpeak.results import admission, producer
from offpeak.results.admission import Admitted, admit
from offpeak.results.producer import Rhythm
from offpeak.results.store import ResultStore

from ...conftest import LocalProvider, Place, QuickClock, Shop, tickets

NOW = datetime(2026, 10, 25, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
BEARS = Tolerance(max_staleness=38 * HOUR)


def ask(shop: Shop, tolerance: Tolerance = BEARS, *, now: datetime = NOW, **more: Any) -> Admitted:
    """What the gate says to a dashboard that reads the shop's rows."""
    arguments: dict[str, Any] = {
        "consumer": "dashboard",
        "asset": shop.asset,
        "partitions": None,
        "promise": 37 * HOUR,
        "warn": pytest.fail,
    }
    return admit(ResultStore(shop.ledger), tolerance=tolerance, now=now, **arguments | more)


def refusal(shop: Shop, tolerance: Tolerance = BEARS, **more: Any) -> str:
    with pytest.raises(StaleInput) as refused:
        ask(shop, tolerance, **more)
    return str(refused.value)


def keys(shop: Shop, admitted: Admitted, partitions: list[str] | None = None) -> list[str]:
    frame = ResultStore(shop.ledger).frame(
        shop.asset, partitions=partitions, output=shop.output, not_before=admitted.not_before
    )
    return list(frame["key"])


def test_a_batch_that_took_six_hours_is_six_hours_old_when_it_lands(any_shop: Shop) -> None:
    any_shop.buy(tickets(2), as_of=NOW - 6 * HOUR)
    assert ask(any_shop, Tolerance(max_staleness=6 * HOUR)).as_of == NOW - 6 * HOUR
    message = refusal(any_shop, Tolerance(max_staleness=6 * HOUR - timedelta(microseconds=1)))
    assert "The oldest is as of 2026-10-25 03:00:00 UTC, 6 h old." in message


def test_rows_exactly_as_old_as_tolerated_are_kept_and_a_microsecond_older_are_dropped(any_shop: Shop) -> None:
    any_shop.buy(partitions={"a": tickets(1), "b": tickets(1, start=1)}, as_of=NOW - 38 * HOUR)
    dropping = Tolerance(max_staleness=38 * HOUR, min_coverage=0, rows="drop_stale")
    assert keys(any_shop, ask(any_shop, dropping)) == ["T0000", "T0001"]
    assert "0 of 2" in refusal(any_shop, dropping, now=NOW + timedelta(microseconds=1))


def test_a_plan_that_finds_its_rows_unchanged_makes_them_fresh_again(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    any_shop.buy(tickets(2), as_of=NOW - 60 * HOUR)
    refusal(any_shop)
    any_shop.buy(tickets(2), as_of=NOW - HOUR)
    assert ask(any_shop).as_of == NOW - HOUR
    assert not local_provider.answered(at_least=2)


def test_a_changed_row_shows_its_old_answer_as_old_as_that_is_until_the_new_one_lands(any_shop: Shop) -> None:
    any_shop.buy(tickets(10), as_of=NOW - 30 * HOUR)
    changed = tickets(10) | {"T0001": "It is about something else now."}
    job = any_shop.leave(changed, as_of=NOW - HOUR)
    frame = any_shop.frame().set_index("key")
    assert frame.loc["T0001", "as_of"] == NOW - 30 * HOUR
    assert frame.loc["T0000", "as_of"] == NOW - HOUR
    assert ask(any_shop).as_of == NOW - 30 * HOUR

    day = Tolerance(max_staleness=24 * HOUR)
    message = refusal(any_shop, day)
    assert re.search(
        r"Without an answer of their own: T0001 \(on its way as batch \S+ since \d{4}-\d\d-\d\d \d\d:\d\d UTC, shows "
        r"one as of 2026-10-24 03:00 UTC\)\.",
        message,
    )
    dropping = Tolerance(max_staleness=24 * HOUR, min_coverage=0.5, rows="drop_stale")
    admitted = ask(any_shop, dropping)
    assert keys(any_shop, admitted) == [f"T{number:04d}" for number in range(10) if number != 1]
    assert admitted.as_of == NOW - HOUR

    any_shop.collect(job)
    assert ask(any_shop, day).as_of == NOW - HOUR


def test_the_first_five_missing_keys_are_named_with_the_reason_and_the_rest_counted(
    shop: Shop, local_provider: LocalProvider
) -> None:
    local_provider.fault("error_lines", share=0.5, code="invalid_request")
    shop.buy(tickets(40), as_of=NOW - HOUR)
    answered = set(shop.frame()["key"])
    message = refusal(shop, Tolerance(max_staleness=38 * HOUR, min_coverage=0.99))
    assert f"{len(answered)} of 40 ({len(answered) / 40:.2%}) have an answer." in message
    named = re.findall(r"(T\d{4}) \(dead letter, \S+\)", message)
    assert named == sorted(tickets(40).keys() - answered)[:5]
    assert f"; and {40 - len(answered) - 5} more." in message
    assert "`offpeak explain labels KEY`" in message


def test_what_was_let_go_on_record_is_missing_and_said_to_be(shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("error_lines", share=0.5, code="invalid_request")
    shop.buy(tickets(20), as_of=NOW - HOUR, policy=FailurePolicy(then="drop"))
    assert re.search(r"T\d{4} \(let go on record, \S+\)", refusal(shop))


def test_requests_that_were_not_sent_yet_are_said_to_be_queued(shop: Shop) -> None:
    shop.buy(partitions={"a": tickets(9)}, as_of=NOW - 2 * HOUR)
    shop.begin(partitions={"a": tickets(10)}, as_of=NOW - HOUR)
    assert "Without an answer of their own: T0009 of a (queued)." in refusal(shop)


def test_a_first_batch_that_is_on_its_way_is_named_and_nothing_is_read_however_lenient_one_is(any_shop: Shop) -> None:
    any_shop.leave(partitions={"a": tickets(1)}, as_of=NOW - HOUR)
    lenient = Tolerance(max_staleness=38 * HOUR, min_coverage=0, on_stale="warn")
    for partitions in (None, ["a"]):
        message = refusal(any_shop, lenient, partitions=partitions)
        assert re.search(r"T0000 of a \(on its way as batch \S+ since .* UTC\)", message)
        assert "Nothing was read. Materialise labels" in message


def test_one_missing_and_one_stale_partition_among_fresh_ones(any_shop: Shop) -> None:
    for number, (name, hours) in enumerate({"a": 1, "b": 50, "c": 2}.items()):
        any_shop.buy(partitions={name: tickets(1, start=number)}, as_of=NOW - hours * HOUR)
    assert ask(any_shop, partitions=["a", "c"]).as_of == NOW - 2 * HOUR
    assert "2 d 2 h old" in refusal(any_shop, partitions=["a", "b", "c"])
    assert "never landed for partition d" in refusal(any_shop, partitions=["a", "d"])
    dropping = Tolerance(max_staleness=38 * HOUR, min_coverage=0.6, rows="drop_stale")
    admitted = ask(any_shop, dropping, partitions=["a", "b", "c"])
    assert keys(any_shop, admitted, ["a", "b", "c"]) == ["T0000", "T0002"]
    assert "never landed for partition d" in refusal(any_shop, dropping, partitions=["a", "d"])
    strict = Tolerance(max_staleness=38 * HOUR, min_coverage=0.7, rows="drop_stale")
    assert "2 of 3 (66.66%)" in refusal(any_shop, strict, partitions=["a", "b", "c"])


def test_a_warning_lets_old_rows_through_and_nothing_else(any_shop: Shop) -> None:
    any_shop.buy(partitions={"a": tickets(1)}, as_of=NOW - 50 * HOUR)
    said: list[str] = []
    lenient = Tolerance(max_staleness=38 * HOUR, on_stale="warn")
    admitted = ask(any_shop, lenient, warn=said.append)
    assert admitted.as_of == NOW - 50 * HOUR
    assert said == [admitted.warning]
    assert "Rows were read all the same" in said[0]
    assert "never landed" in refusal(any_shop, lenient, partitions=["a", "b"])


def test_a_refusal_says_when_the_producer_runs_next_in_its_own_time_zone(shop: Shop) -> None:
    metadata = {producer.PRODUCER_KEY: "shop.labels"}
    night = Cron(cron_schedule="30 1 * * *", timezone="Europe/Berlin", name="nightly")
    producer.keep_time(metadata, Rhythm(crons=[night]))
    shop.buy(tickets(1), as_of=NOW - 70 * HOUR)
    # the clocks went back in that night, so that afterwards 1:30 in Berlin is half past midnight in UTC
    assert "Its next run is due at 2026-10-26 00:30 UTC." in refusal(shop, producer=metadata)
    assert "Its next run is due at 2026-10-24 23:30 UTC." in refusal(shop, producer=metadata, now=NOW - 12 * HOUR)
    assert "next run" not in refusal(shop, producer={})


class Held(QuickClock):
    """A clock that stands still."""

    def now(self) -> datetime:
        return NOW


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "clock", Held())


@pytest.mark.usefixtures("held")
def test_a_program_reads_what_is_exactly_as_old_as_it_tolerates(shop: Shop, place: Place) -> None:
    shop.buy(tickets(2), as_of=NOW - 38 * HOUR)
    assert len(offpeak.read("labels", max_staleness=38 * HOUR, database_url=place.url)) == 2
    with pytest.raises(StaleInput, match="labels promises at most 1 d 13 h"):
        offpeak.read("labels", max_staleness=38 * HOUR - timedelta(microseconds=1), database_url=place.url)


@pytest.mark.usefixtures("held")
def test_a_program_that_only_wants_to_be_warned_is(shop: Shop, place: Place) -> None:
    shop.buy(tickets(2), as_of=NOW - 50 * HOUR)
    with pytest.warns(
        StaleInputWarning, match=r"^offpeak.read tolerates rows of labels .* read all the same"
    ) as caught:
        frame = offpeak.read("labels", max_staleness=38 * HOUR, on_stale="warn", database_url=place.url)
    assert len(frame) == 2
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        offpeak.read("labels", max_staleness=50 * HOUR, on_stale="warn", database_url=place.url)


@pytest.mark.usefixtures("held")
def test_a_program_may_leave_stale_rows_out(shop: Shop, place: Place) -> None:
    shop.buy(partitions={"a": tickets(1)}, as_of=NOW - 50 * HOUR)
    shop.buy(partitions={"b": tickets(1, start=1)}, as_of=NOW - HOUR)
    frame = offpeak.read("labels", max_staleness=38 * HOUR, min_coverage=0.5, rows="drop_stale", database_url=place.url)
    assert list(frame["key"]) == ["T0001"]
    with pytest.raises(StaleInput, match=r"1 of 2 \(50\.00%\) are at most 1 d 14 h old"):
        offpeak.read("labels", max_staleness=38 * HOUR, rows="drop_stale", database_url=place.url)
