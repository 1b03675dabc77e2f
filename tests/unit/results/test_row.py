"""One row for somebody who waits: what the key serves, while it is effective, by one query that uses indexes alone."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from offpeak.ledger.ledger import Ledger
from offpeak.results.row import _query, served_row
from offpeak.results.store import ResultStore

from ...conftest import Shop, tickets

PARTITIONS = {"spring": tickets(3), "autumn": tickets(2, start=7)}
AS_OF = datetime(2026, 5, 1, 9, tzinfo=UTC)
VALID_FOR = timedelta(hours=37)


@pytest.fixture
def stocked(any_shop: Shop) -> Ledger:
    any_shop.buy(partitions=PARTITIONS, as_of=AS_OF, valid_for=VALID_FOR)
    return any_shop.ledger


def test_a_row_is_what_a_consumer_reads(stocked: Ledger) -> None:
    frame = ResultStore(stocked).frame("labels", partitions=["spring"], output=None).set_index("key")
    row = served_row(stocked.database, "labels", "spring", "T0001", at=AS_OF)
    assert row is not None
    assert (row.key, row.model, row.vector) == ("T0001", frame.loc["T0001", "model"], None)
    assert f'"category":"{frame.loc["T0001", "category"]}"' in str(row.output).replace(" ", "")
    assert (row.as_of, row.effective_until) == (AS_OF, AS_OF + VALID_FOR)


def test_a_row_is_served_up_to_its_end_and_not_from_then_on(stocked: Ledger) -> None:
    end, tick = AS_OF + VALID_FOR, timedelta(microseconds=1)
    assert served_row(stocked.database, "labels", "spring", "T0001", at=end - tick) is not None
    assert served_row(stocked.database, "labels", "spring", "T0001", at=end) is None


@pytest.mark.parametrize(
    ("asset", "partition", "key"),
    [
        ("labels", "spring", "T0007"),
        ("labels", "autumn", "T0001"),
        ("labels", "", "T0001"),
        ("others", "spring", "T0001"),
    ],
)
def test_a_row_of_another_partition_or_asset_is_none(stocked: Ledger, asset: str, partition: str, key: str) -> None:
    assert served_row(stocked.database, asset, partition, key, at=AS_OF) is None


def test_a_row_that_is_planned_and_not_answered_is_none(any_shop: Shop) -> None:
    any_shop.begin(partitions=PARTITIONS, as_of=AS_OF)
    assert served_row(any_shop.ledger.database, "labels", "spring", "T0001", at=AS_OF) is None


def test_a_row_that_changed_serves_its_former_answer_with_its_age(any_shop: Shop) -> None:
    any_shop.buy(partitions=PARTITIONS, as_of=AS_OF, valid_for=VALID_FOR)
    before = served_row(any_shop.ledger.database, "labels", "spring", "T0001", at=AS_OF)
    changed = {"spring": {**PARTITIONS["spring"], "T0001": "Something else is wrong."}}
    any_shop.leave(partitions=changed, approved=True, as_of=AS_OF + timedelta(hours=5), valid_for=VALID_FOR)
    assert served_row(any_shop.ledger.database, "labels", "spring", "T0001", at=AS_OF) == before


def test_it_is_one_query_by_indexes_alone(stocked: Ledger) -> None:
    statements: list[str] = []

    @sa.event.listens_for(stocked.database.engine, "before_cursor_execute")
    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    served_row(stocked.database, "labels", "spring", "T0001", at=AS_OF)
    sa.event.remove(stocked.database.engine, "before_cursor_execute", note)
    assert len([each for each in statements if each.startswith("SELECT")]) == 1
    if stocked.database.sqlite:
        given = {"asset": "labels", "partition": "spring", "key": "T0001"}
        explain = sa.text(f"EXPLAIN QUERY PLAN {_query().compile(stocked.database.engine)}")
        with stocked.database.read() as connection:
            compiled = _query().compile(stocked.database.engine)
            values = tuple(given[name] for name in compiled.positiontup or ())
            steps = [row[3] for row in connection.exec_driver_sql(explain.text, values)]
        assert len(steps) == 4
        assert all(step.startswith("SEARCH") for step in steps), steps
