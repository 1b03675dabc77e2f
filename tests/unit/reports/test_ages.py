"""How old results are said to be, and which partitions are chosen."""

from datetime import UTC, datetime, timedelta

from offpeak.ledger.ledger import Ledger
from offpeak.reports.ages import ages

from ...conftest import Shop

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
