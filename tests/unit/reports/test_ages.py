"""How old results are said to be and to have been, and which partitions are chosen."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from offpeak.errors import JobFailed
from offpeak.ledger import jobs, tables
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import JobState
from offpeak.reports.ages import AgeHistory, Landing, ages, past_ages

from ...conftest import LocalProvider, Shop, tickets

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def buy(shop: Shop, asset: str, *keys: str, hours_ago: float, valid_for: timedelta = 37 * HOUR) -> None:
    """Each key is a partition with one row."""
    parts = {key: {"T": f"Text of {asset} {key}"} for key in keys}
    shop.buy(asset=asset, partitions=parts, as_of=NOW - hours_ago * HOUR, valid_for=valid_for)


def test_a_ledger_without_a_plan_has_no_ages(ledger: Ledger) -> None:
    assert ages(ledger, now=NOW, limit=30) == []


def test_the_age_is_that_of_the_oldest_row_on_each_database(any_shop: Shop) -> None:
    buy(any_shop, "labels", "", hours_ago=40)
    buy(any_shop, "embeddings", "", hours_ago=2, valid_for=HOUR * 3)
    embeddings, labels = ages(any_shop.ledger, now=NOW, limit=30)
    assert [each.asset for each in (embeddings, labels)] == ["embeddings", "labels"]
    (age,) = labels.newest
    assert (age.partition_key, age.as_of, age.valid_for) == ("", NOW - 40 * HOUR, 37 * HOUR)
    assert (labels.partitions, labels.expired) == (1, 1)
    assert (embeddings.partitions, embeddings.expired, embeddings.newest[0].valid_for) == (1, 0, 3 * HOUR)


def test_each_asset_shows_the_partitions_that_were_planned_last(any_shop: Shop) -> None:
    for hours_ago, key in ((90, "monday"), (60, "tuesday"), (30, "wednesday"), (1, "monday")):
        buy(any_shop, "labels", key, hours_ago=hours_ago)
    buy(any_shop, "summaries", "a", "b", hours_ago=1)
    labels, summaries = ages(any_shop.ledger, now=NOW, limit=4)
    assert [each.partition_key for each in labels.newest] == ["monday", "wednesday"]
    assert (labels.partitions, labels.expired) == (3, 1)
    assert {each.partition_key for each in summaries.newest} == {"a", "b"}


def test_every_asset_shows_one_partition_however_many_assets_there_are(shop: Shop) -> None:
    for number in range(3):
        buy(shop, f"labels_{number}", "a", "b", hours_ago=1)
    assert [len(each.newest) for each in ages(shop.ledger, now=NOW, limit=2)] == [1, 1, 1]


def test_a_partition_none_of_whose_rows_has_an_answer_has_no_age(shop: Shop) -> None:
    shop.leave({"T": "A text"}, as_of=NOW)
    ((age,),) = (each.newest for each in ages(shop.ledger, now=NOW, limit=30))
    assert age.as_of is None


def test_a_row_that_still_serves_its_former_answer_makes_its_partition_as_old_as_that(shop: Shop) -> None:
    rows = {f"T{number}": f"Text {number}" for number in range(10)}
    shop.buy(rows, as_of=NOW - 30 * HOUR)
    shop.leave(rows | {"T0": "Another text"}, as_of=NOW)
    ((age,),) = (each.newest for each in ages(shop.ledger, now=NOW, limit=30))
    assert age.as_of == NOW - 30 * HOUR


LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def past(shop: Shop, *, since: datetime = LONG_AGO) -> list[AgeHistory]:
    return past_ages(shop.ledger, since=since, until=datetime.now(UTC) + HOUR)


def landed(shop: Shop, job_id: int) -> list[datetime | None]:
    """What was written down when a job closed, of each of its partitions."""
    table = tables.job_target
    query = sa.select(table.c.landed_as_of).where(table.c.job_id == job_id).order_by(table.c.target_id)
    with shop.ledger.database.read() as connection:
        found = connection.execute(query).scalars().all()
    return [None if each is None else datetime.fromtimestamp(each / 1e6, UTC) for each in found]


def close_at(shop: Shop, job_id: int, at: datetime) -> None:
    with shop.ledger.database.write() as connection:
        micros = round(at.timestamp() * 1_000_000)
        connection.execute(tables.job.update().where(tables.job.c.id == job_id).values(closed_at=micros))


def test_nothing_landed_is_no_past(shop: Shop) -> None:
    shop.leave(tickets(1))
    assert past(shop) == []


def test_a_job_that_closes_writes_down_the_age_of_the_oldest_row_of_each_partition(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    rows = {"a": tickets(2), "b": tickets(2, start=10)}
    first = any_shop.buy(partitions=rows, as_of=NOW - 9 * HOUR)
    assert landed(any_shop, first.job_id) == [NOW - 9 * HOUR] * 2
    local_provider.fault("error_lines", share=1.0, code="invalid_request", times=None)
    second = any_shop.buy(
        partitions={"a": rows["a"], "b": rows["b"] | {"T0010": "Another text"}}, as_of=NOW, code_version="2"
    )
    assert landed(any_shop, second.job_id) == [NOW, NOW - 9 * HOUR]
    (history,) = past(any_shop)
    assert [each.as_of for each in history.landings] == [NOW - 9 * HOUR] * 2


def test_a_job_that_fails_or_is_cancelled_makes_nothing_younger(shop: Shop, local_provider: LocalProvider) -> None:
    shop.buy(tickets(2), as_of=NOW - 9 * HOUR)
    job_id = shop.begin(tickets(3), as_of=NOW)
    jobs.close(shop.ledger, job_id, JobState.CANCELLED, why="a test")
    local_provider.fault("error_lines", share=1.0, code="invalid_request", times=None)
    with pytest.raises(JobFailed):
        shop.buy(tickets(1, start=50), asset="never", as_of=NOW)
    (history,) = past(shop)
    assert [each.as_of for each in history.landings] == [NOW - 9 * HOUR]


def test_each_landing_is_a_tooth_and_the_last_promise_counts(any_shop: Shop) -> None:
    for hours in (50, 26, 2):
        receipt = any_shop.buy(tickets(2), as_of=NOW - (hours + 6) * HOUR, valid_for=hours * HOUR)
        close_at(any_shop, receipt.job_id, NOW - hours * HOUR)
    (history,) = past_ages(any_shop.ledger, since=LONG_AGO, until=NOW)
    assert history == AgeHistory(
        asset="labels",
        valid_for=2 * HOUR,
        landings=[Landing(at=NOW - hours * HOUR, as_of=NOW - (hours + 6) * HOUR) for hours in (50, 26, 2)],
    )
    assert (history.age(NOW), history.share(NOW)) == (8 * HOUR, 4.0)
    (recent,) = past_ages(any_shop.ledger, since=NOW - 20 * HOUR, until=NOW)
    assert [NOW - each.at for each in recent.landings] == [26 * HOUR, 2 * HOUR]
    (former,) = past_ages(any_shop.ledger, since=LONG_AGO, until=NOW - 10 * HOUR)
    assert [NOW - each.at for each in former.landings] == [50 * HOUR, 26 * HOUR]


def test_a_plan_that_lands_after_a_later_one_makes_nothing_older(shop: Shop) -> None:
    early = shop.leave(tickets(1), as_of=NOW - 9 * HOUR)
    late = shop.buy(tickets(1), as_of=NOW)
    shop.collect(early)
    (history,) = past(shop)
    assert [each.as_of for each in history.landings][-1] == NOW
    assert late.job_id > early


def test_of_a_partitioned_asset_the_partition_that_was_planned_last_counts(any_shop: Shop) -> None:
    any_shop.buy(partitions={"mon": tickets(1)}, as_of=NOW - 48 * HOUR)
    any_shop.buy(partitions={"mon": tickets(1), "tue": tickets(1, start=5)}, as_of=NOW - 24 * HOUR)
    (history,) = past(any_shop)
    assert [NOW - each.as_of for each in history.landings] == [48 * HOUR, 24 * HOUR]


def test_a_job_of_a_time_before_ages_were_written_down_counts_by_its_plan(any_shop: Shop) -> None:
    any_shop.buy(tickets(2), as_of=NOW - 9 * HOUR)
    cancelled = any_shop.begin(tickets(2), as_of=NOW)
    jobs.close(any_shop.ledger, cancelled, JobState.CANCELLED, why="a test")
    with any_shop.ledger.database.write() as connection:
        connection.execute(tables.job_target.update().values(landed_as_of=None))
    (history,) = past(any_shop)
    assert [each.as_of for each in history.landings] == [NOW - 9 * HOUR]


def test_no_row_is_read_for_the_past(shop: Shop) -> None:
    shop.buy(tickets(3))
    said: list[str] = []
    sa.event.listen(shop.ledger.database.engine, "before_cursor_execute", lambda *args: said.append(args[2]))
    assert past(shop)
    (query,) = (each for each in said if each.startswith("SELECT"))
    assert not {"wanted", "answer", "request"} & set(query.replace('"', " ").split())
