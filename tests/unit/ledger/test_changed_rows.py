"""A plan over changed rows: it reads and buys what changed, and leaves everything else as it is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from offpeak.assets.order import Order, PartitionPlan, Receipt
from offpeak.assets.purchase import begin, purchase, quote
from offpeak.errors import PlanError, SurgeHeld
from offpeak.ledger import dead_letters, jobs
from offpeak.ledger.readings import Reading, base_of
from offpeak.ledger.states import JobState
from offpeak.requests import Chat
from offpeak.sources.changed import ChangedRows
from tests.conftest import LOG, LocalProvider, Shop

pytestmark = pytest.mark.usefixtures("local_provider")


@dataclass
class Table:
    """An application's table with a log of its changes."""

    rows: dict[str, str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    """The keys that were read, over all reads."""

    def set(self, **rows: str) -> None:
        self.rows.update(rows)
        self.log += rows

    def drop(self, *keys: str) -> None:
        for key in keys:
            del self.rows[key]
        self.log += keys

    def changed(self, since: str | None) -> ChangedRows:
        keys = list(self.rows) if since is None else list(dict.fromkeys(self.log[int(since) :]))
        return ChangedRows(self._changes(keys), position=str(len(self.log)), complete=since is None)

    def _changes(self, keys: Iterable[str]) -> Iterator[tuple[str, tuple[str, str] | None]]:
        for key in keys:
            self.read.append(key)
            yield key, (key, self.rows[key]) if key in self.rows else None


class Reader:
    """Plans an asset that reads changed rows, as its runs do."""

    def __init__(self, shop: Shop, table: Table) -> None:
        self.shop, self.table = shop, table
        self.system, self.asked = "Label the ticket.", "v1"
        self.as_of: datetime | None = None

    def order(self) -> Order:
        order = replace(self.shop.order({}), over_all_rows=lambda: [self.plan(whole=True)])
        return replace(order, partitions=[self.plan()])

    def plan(self, *, whole: bool = False) -> PartitionPlan:
        now = self.as_of or datetime.now(UTC)
        base = None if whole else base_of(self.shop.ledger, self.shop.asset, "", source="table")
        if base is not None and base.asked != self.asked:
            base = None
        feed = self.table.changed(None if base is None else base.position)
        reading = Reading(source="table", feed=feed, asked=self.asked, versions={}, began_at=now, base=base)
        return PartitionPlan(partition_key="", as_of=now, requests=self.questions(feed), reading=reading)

    def questions(self, rows: Iterable[Any]) -> Iterator[Chat]:
        for key, text in rows:
            if text != "closed":
                yield Chat(key=key, system=self.system, prompt=text)

    def buy(self) -> Receipt:
        self.table.read.clear()
        return purchase(self.order(), **self._place(), list_lag=self.shop.list_lag)

    def begin(self) -> int:
        return begin(self.order(), **self._place())

    def quote(self) -> Any:
        place = self._place()
        place.pop("log")
        return quote(self.order(), **place)

    def _place(self) -> dict[str, Any]:
        place = {name: value for name, value in self.shop._place().items() if name != "log"}
        return place | {"log": LOG}

    def named(self) -> list[str]:
        return sorted(self.shop.frame()["key"])


@pytest.fixture
def reader(any_shop: Shop) -> Reader:
    """Twenty tickets, all bought."""
    table = Table()
    table.set(**{f"T{number:02}": f"My invoice number {number} is wrong." for number in range(20)})
    made = Reader(any_shop, table)
    assert made.buy().bought == 20
    return made


def test_only_what_changed_is_read_and_bought(reader: Reader, local_provider: LocalProvider) -> None:
    before = local_provider.tally("openai")["answers_delivered"]
    reader.as_of = datetime.now(UTC) + timedelta(hours=1)
    reader.table.set(T03="The app crashes.", T99="How do I export?")
    receipt = reader.buy()
    assert sorted(reader.table.read) == ["T03", "T99"]
    assert (receipt.bought, receipt.rows) == (2, 21)
    assert local_provider.tally("openai")["answers_delivered"] - before == 2
    # what was not read is known to be as fresh as what was
    frame = reader.shop.frame()
    assert {each.to_pydatetime() for each in frame["as_of"]} == {reader.as_of}


def test_a_row_that_is_gone_takes_its_answer_with_it(reader: Reader) -> None:
    reader.table.drop("T07")
    receipt = reader.buy()
    assert (receipt.bought, receipt.rows, receipt.partitions[0].removed) == (0, 19, 1)
    assert "T07" not in reader.named()


def test_a_changed_row_that_asks_nothing_any_more_is_gone_too(reader: Reader) -> None:
    reader.table.set(T04="closed")
    assert reader.buy().partitions[0].removed == 1
    assert "T04" not in reader.named()
    reader.table.set(T04="My invoice number 4 is wrong.")
    assert reader.buy().bought == 0, "it was bought before"
    assert "T04" in reader.named()


def test_without_a_change_nothing_is_read_and_all_rows_are_as_fresh_as_the_look(reader: Reader) -> None:
    reader.as_of = datetime.now(UTC) + timedelta(hours=3)
    receipt = reader.buy()
    assert (reader.table.read, receipt.bought, receipt.rows) == ([], 0, 20)
    assert {each.to_pydatetime() for each in reader.shop.frame()["as_of"]} == {reader.as_of}
    reader.table.set(T01="The app crashes.")
    assert reader.buy().bought == 1, "and the next plan knows what is asked of the others"


def test_the_last_row_may_go(reader: Reader) -> None:
    reader.table.drop(*list(reader.table.rows))
    receipt = reader.buy()
    assert (receipt.rows, receipt.partitions[0].removed) == (0, 20)
    assert reader.named() == []


def test_rows_that_ask_something_new_have_all_of_them_read(reader: Reader) -> None:
    reader.system = "Label the ticket, and be kind."
    reader.table.set(T03="The app crashes.")
    with pytest.raises(SurgeHeld, match="20 of 20 unchanged"):
        reader.buy()
    assert set(reader.table.read) == set(reader.table.rows)


def test_rows_that_each_ask_in_their_own_words_stay_changed_rows(any_shop: Shop) -> None:
    table = Table()
    table.set(A="My invoice is wrong.", B="The app crashes.")
    reader = Reader(any_shop, table)

    def each_its_own(rows: Iterable[Any]) -> Iterator[Chat]:
        for key, text in rows:
            yield Chat(key=key, system=f"Label ticket {key}.", prompt=text)

    reader.questions = each_its_own  # type: ignore[method-assign]
    reader.buy()
    for key in ("A", "C", "D", "E"):
        table.set(**{key: f"How do I export {key}?"})
        if key == "A":
            with pytest.raises(SurgeHeld):
                reader.buy()
            table.set(A="My invoice is wrong.")
            continue
        assert reader.buy().bought == 1
        assert table.read == (["A", "C"] if key == "C" else [key])


def test_what_was_asked_otherwise_is_read_anew(reader: Reader) -> None:
    reader.asked = "v2"
    reader.buy()
    assert len(reader.table.read) == 20


def test_a_surge_is_measured_by_all_rows(reader: Reader) -> None:
    reader.table.set(T03="The app crashes.", T04="How do I export?", T05="Crash!")
    assert reader.buy().bought == 3, "3 of 20"
    reader.table.set(**{f"T{number:02}": f"The app crashes with {number}." for number in range(10)})
    with pytest.raises(SurgeHeld, match="10 of 20 unchanged keys"):
        reader.buy()
    assert reader.quote().surge is not None


def test_a_plan_that_failed_has_read_nothing(reader: Reader) -> None:
    reader.table.set(T03="The app crashes.")

    def fail(rows: Iterable[Any]) -> Iterator[Chat]:
        for key, text in rows:
            yield Chat(key=key, system=reader.system, prompt=text)
        raise ValueError("a bug")

    questions, reader.questions = reader.questions, fail  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="a bug"):
        reader.buy()
    reader.questions = questions  # type: ignore[method-assign]
    assert reader.buy().bought == 1


def test_changes_that_were_left_unread_are_refused(reader: Reader) -> None:
    reader.table.set(T03="The app crashes.", T04="How do I export?")

    def first(rows: Iterable[Any]) -> Iterator[Chat]:
        for key, text in rows:
            yield Chat(key=key, system=reader.system, prompt=text)
            return

    questions, reader.questions = reader.questions, first  # type: ignore[method-assign]
    with pytest.raises(PlanError, match="did not read table to the end"):
        reader.buy()
    reader.questions = questions  # type: ignore[method-assign]
    assert reader.buy().bought == 2


@pytest.mark.parametrize("again", [False, True], ids=["every-row", "changed-rows"])
def test_requests_are_called_as_their_rows_are(any_shop: Shop, again: bool) -> None:
    table = Table()
    table.set(A="My invoice is wrong.", B="The app crashes.")
    reader = Reader(any_shop, table)
    if again:
        reader.buy()
        table.set(A="How do I export?")

    def parts(rows: Iterable[Any]) -> Iterator[Chat]:
        for key, text in rows:
            yield Chat(key=f"{key}/1", system=reader.system, prompt=text)

    reader.questions = parts  # type: ignore[method-assign]
    with pytest.raises(PlanError, match="'A/1' is the key of no row of table"):
        reader.buy()


def test_a_plan_that_came_between_is_not_built_upon(reader: Reader) -> None:
    reader.table.set(T03="The app crashes.")
    late = reader.order()  # has read the ledger, and not yet the table
    reader.table.set(T04="How do I export?")
    reader.buy()
    with pytest.raises(PlanError, match="another plan came between"):
        begin(late, **reader._place())
    assert reader.buy().bought == 0


def test_while_a_job_is_open_every_row_is_read(reader: Reader) -> None:
    reader.table.set(T03="The app crashes.")
    reader.begin()
    reader.table.set(T04="How do I export?")
    receipt = reader.buy()
    assert len(reader.table.read) == 20
    assert receipt.rows == 20
    assert reader.buy().bought == 0
    assert reader.table.read == []


def test_a_requeued_dead_letter_is_bought_by_the_next_plan(reader: Reader, local_provider: LocalProvider) -> None:
    ledger = reader.shop.ledger
    reader.table.set(T03="The app crashes.")
    local_provider.fault("error_lines", share=1.0, code="invalid_request")
    assert reader.buy().failed == 1
    assert reader.buy().bought == 0
    assert reader.table.read == [], "a dead letter is an end"
    dead_letters.requeue(ledger, dead_letters.Chosen(asset=reader.shop.asset), who="somebody")
    assert reader.buy().bought == 1
    assert len(reader.table.read) == 20


def test_a_quote_tells_of_changed_rows(reader: Reader) -> None:
    assert not Reader(reader.shop, reader.table).quote().new
    reader.table.set(T03="The app crashes.")
    reader.table.drop("T05")
    told = reader.quote()
    assert (told.changed_only, told.rows, told.new, told.removed) == (True, 1, 1, 1)
    (job, *_) = jobs.listed(reader.shop.ledger, limit=1)
    assert job.state is JobState.COMPLETED, "a quote is no job"
    assert reader.buy().bought == 1
