"""A plan buys what is new and nothing else, and changes nothing when it cannot be bought."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from offpeak.assets.order import PartitionPlan
from offpeak.assets.purchase import purchase
from offpeak.errors import InvalidRequest, PlanError
from offpeak.ledger import tables
from offpeak.ledger.coding import Coding
from offpeak.ledger.lane import Lane
from offpeak.ledger.planning import JobSpec, Plan
from offpeak.ledger.staging import Staging
from offpeak.ledger.states import ChunkState, JobState
from offpeak.providers.base import Provider
from offpeak.requests import Chat, Embedding, Request
from offpeak.results.store import ResultStore

from ...conftest import EMBEDDING_MODEL, LOG, Label, LocalProvider, Shop, Through, tickets

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
TUESDAY = MONDAY + timedelta(days=1)
WEDNESDAY = MONDAY + timedelta(days=2)


def count(shop: Shop, table: sa.Table) -> int:
    with shop.ledger.database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def job_states(shop: Shop) -> list[str]:
    with shop.ledger.database.read() as connection:
        return list(connection.execute(sa.select(tables.job.c.state).order_by(tables.job.c.id)).scalars())


def chats(rows: dict[str, str]) -> list[Chat]:
    return [Chat(key=key, system="Label the ticket.", prompt=text) for key, text in rows.items()]


def planned(shop: Shop, partitions: dict[str, Any], *, as_of: datetime = MONDAY) -> Plan:
    """A plan that was read and sealed, and is neither committed nor given up."""
    spec = JobSpec(
        asset=shop.asset,
        model=shop.model,
        run_id="run",
        code_version=None,
        deadline_at=datetime.now(UTC),
        valid_for=timedelta(hours=37),
    )
    coding = Coding(shop.provider, asset=shop.asset, model=shop.model.partition("/")[2], output=Label)
    plan = Plan(shop.ledger, shop.provider, spec, coding)
    for key, rows in partitions.items():
        plan.add_partition(key, as_of, rows)
    plan.seal()
    return plan


def give_up(plan: Plan) -> None:
    plan.__exit__(None, None, None)


def test_a_plan_is_bought_once(any_shop: Shop, local_provider: LocalProvider) -> None:
    first = any_shop.buy(tickets(10))
    again = any_shop.buy(tickets(10))

    assert (first.rows, first.bought, first.reused) == (10, 10, 0)
    assert (again.rows, again.bought, again.reused) == (10, 0, 10)
    tally = local_provider.tally("openai")
    assert (tally["batches_created"], tally["answers_delivered"]) == (1, 10)
    assert sorted(any_shop.frame()["key"]) == sorted(tickets(10))
    assert job_states(any_shop) == ["completed", "completed"]


def test_only_the_changed_row_is_bought(any_shop: Shop, local_provider: LocalProvider) -> None:
    rows = tickets(10)
    any_shop.buy(rows)
    receipt = any_shop.buy(rows | {"T0003": "The app crashes."})

    assert (receipt.bought, receipt.reused) == (1, 9)
    assert local_provider.tally("openai")["answers_delivered"] == 11
    assert len(any_shop.frame()) == 10


def test_a_row_that_is_planned_no_more_is_removed_and_comes_back_unbought(any_shop: Shop) -> None:
    rows = tickets(5)
    any_shop.buy(rows)

    receipt = any_shop.buy({key: text for key, text in rows.items() if key != "T0002"})
    assert (receipt.rows, receipt.partitions[0].removed) == (4, 1)
    assert "T0002" not in set(any_shop.frame()["key"])

    back = any_shop.buy(rows)
    assert (back.rows, back.bought, back.reused) == (5, 0, 5)


def test_two_keys_that_ask_the_same_share_one_request(any_shop: Shop, local_provider: LocalProvider) -> None:
    receipt = any_shop.buy({"A": "It crashes.", "B": "It crashes.", "C": "It is slow."})

    assert (receipt.rows, receipt.bought, receipt.joined) == (3, 2, 1)
    assert local_provider.tally("openai")["answers_delivered"] == 2
    frame = any_shop.frame().set_index("key")
    assert frame.loc["A", "category"] == frame.loc["B", "category"]


def test_two_partitions_are_one_job_and_share_what_they_ask(any_shop: Shop, local_provider: LocalProvider) -> None:
    parts = {"2026-11-01": tickets(3), "2026-11-02": tickets(3, start=2)}
    receipt = any_shop.buy(partitions=parts)

    assert (receipt.rows, receipt.bought, receipt.joined) == (6, 5, 1)
    assert [(part.partition_key, part.rows) for part in receipt.partitions] == [("2026-11-01", 3), ("2026-11-02", 3)]
    assert local_provider.tally("openai")["batches_created"] == 1
    frame = any_shop.frame()
    assert list(zip(frame["partition_key"], frame["key"], strict=True)) == [
        (partition, key) for partition, rows in parts.items() for key in rows
    ]


def test_a_partition_is_planned_without_touching_the_others(any_shop: Shop) -> None:
    any_shop.buy(partitions={"a": tickets(2), "b": tickets(2, start=2)})
    receipt = any_shop.buy(partitions={"b": {"T0002": "Something else."}}, code_version="2")

    assert (receipt.bought, receipt.partitions[0].removed) == (1, 1)
    frame = any_shop.frame()
    assert list(zip(frame["partition_key"], frame["key"], strict=True)) == [
        ("a", "T0000"), ("a", "T0001"), ("b", "T0002"),
    ]  # fmt: skip


def test_a_row_serves_its_previous_answer_at_its_own_age_until_the_new_one_lands(any_shop: Shop) -> None:
    rows = tickets(10)
    any_shop.buy(rows, as_of=MONDAY)
    before = any_shop.frame().set_index("key")
    changed = rows | {"T0003": "The app crashes."}

    planned(any_shop, {"": chats(changed)}, as_of=TUESDAY).commit(lane=Lane.BATCH, reason="a test")
    waiting = any_shop.frame().set_index("key")
    assert waiting.loc["T0003", ["category", "urgent"]].tolist() == before.loc["T0003", ["category", "urgent"]].tolist()
    assert waiting.loc["T0003", "as_of"] == MONDAY
    assert set(waiting.drop(index="T0003")["as_of"]) == {TUESDAY}
    assert any_shop.summary().as_of == MONDAY

    any_shop.buy(changed, as_of=WEDNESDAY)
    assert set(any_shop.frame()["as_of"]) == {WEDNESDAY}
    assert any_shop.summary().as_of == WEDNESDAY


def test_a_row_that_changes_twice_before_an_answer_lands_keeps_the_answer_it_had(any_shop: Shop) -> None:
    any_shop.buy(tickets(10), as_of=MONDAY)
    for day, text in ((TUESDAY, "First edit."), (WEDNESDAY, "Second edit.")):
        planned(any_shop, {"": chats(tickets(10) | {"T0003": text})}, as_of=day).commit(
            lane=Lane.BATCH, reason="a test"
        )

    frame = any_shop.frame().set_index("key")
    assert frame.loc["T0003", "as_of"] == MONDAY
    assert len(frame) == 10


def test_a_row_that_changes_back_is_served_fresh_and_not_bought(any_shop: Shop) -> None:
    any_shop.buy(tickets(10), as_of=MONDAY)
    any_shop.buy(tickets(10) | {"T0003": "An edit."}, as_of=TUESDAY)
    receipt = any_shop.buy(tickets(10), as_of=WEDNESDAY)

    assert (receipt.bought, receipt.reused) == (0, 10)
    assert set(any_shop.frame()["as_of"]) == {WEDNESDAY}


def test_a_re_verified_row_changes_no_data_version_and_a_changed_one_does(any_shop: Shop) -> None:
    versions = [
        any_shop.buy(rows, as_of=day).partitions[0].data_version
        for rows, day in (
            (tickets(10), MONDAY),
            (tickets(10), TUESDAY),
            (tickets(10) | {"T0003": "An edit."}, WEDNESDAY),
        )
    ]

    assert versions[0] == versions[1] != versions[2]


def test_an_empty_plan_is_refused_and_the_rows_stay(any_shop: Shop) -> None:
    any_shop.buy(tickets(3))
    with pytest.raises(PlanError, match=r"labels: the plan is empty\. Nothing was submitted"):
        any_shop.buy({})

    assert len(any_shop.frame()) == 3
    assert job_states(any_shop) == ["completed", "abandoned"]


def test_a_key_that_stands_twice_is_refused_by_its_name(any_shop: Shop, local_provider: LocalProvider) -> None:
    rows = [Chat(key=key, prompt=f"{number}") for number, key in enumerate(["A", "B", "A", "C", "B", "A"])]
    with pytest.raises(PlanError) as refused:
        any_shop.buy(rows)

    assert "labels: the plan holds the same key more than once: 'A' (3 times), 'B' (2 times)." in str(refused.value)
    assert local_provider.tally("openai")["batches_created"] == 0
    assert (count(any_shop, tables.request), count(any_shop, tables.wanted)) == (0, 0)


def test_a_key_may_stand_in_two_partitions(any_shop: Shop) -> None:
    receipt = any_shop.buy(partitions={"a": tickets(2), "b": tickets(2)})

    assert (receipt.rows, receipt.bought) == (4, 2)


def test_a_partition_planned_twice_in_one_run_is_refused(shop: Shop) -> None:
    order = shop.order(tickets(1))
    twice = [PartitionPlan(partition_key="a", as_of=MONDAY, requests=chats(tickets(1))) for _ in range(2)]
    object.__setattr__(order, "partitions", iter(twice))

    with pytest.raises(PlanError, match="partition 'a' was planned twice"):
        purchase(order, ledger=shop.ledger, provider=shop.provider, rates=shop._rates, clock=shop.clock, log=LOG)


def test_a_bad_row_late_in_the_plan_leaves_nothing_behind(any_shop: Shop, local_provider: LocalProvider) -> None:
    rows: list[Request] = [*chats(tickets(7)), Chat(key=None, prompt="Hello")]  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match=r"labels: row 7 of the plan has no key"):
        any_shop.buy(rows)

    assert count(any_shop, tables.request) == count(any_shop, tables.chunk) == count(any_shop, tables.wanted) == 0
    assert list(any_shop.ledger.spool.iterdir()) == []
    assert local_provider.tally("openai")["batches_created"] == 0
    assert job_states(any_shop) == ["abandoned"]


def test_a_plan_that_raises_while_it_is_read_leaves_nothing_behind(
    any_shop: Shop, open_account: Callable[..., Provider]
) -> None:
    any_shop.provider = open_account(max_requests=2)

    def rows() -> Iterator[Chat]:
        yield from chats(tickets(5))
        raise RuntimeError("the source went away")

    with pytest.raises(RuntimeError, match="the source went away"):
        any_shop.buy(partitions={"": tickets(5), "b": _Rows(rows())})

    assert count(any_shop, tables.request) == count(any_shop, tables.chunk) == count(any_shop, tables.wanted) == 0
    assert list(any_shop.ledger.spool.iterdir()) == []


class _Rows:
    """An iterable that is read when it is reached."""

    def __init__(self, rows: Iterator[Chat]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Chat]:
        return self._rows


@pytest.mark.parametrize("problem", ["surrogate", "unwritable parameter"])
def test_what_cannot_be_written_as_json_is_refused_by_its_row(shop: Shop, problem: str) -> None:
    bad = {
        "surrogate": Chat(key="T9", prompt="\ud800"),
        "unwritable parameter": Chat(key="T9", prompt="Hello", max_tokens=object()),  # type: ignore[arg-type]
    }[problem]
    with pytest.raises(InvalidRequest, match=r"labels: row 'T9' .* Nothing was submitted"):
        shop.buy([*chats(tickets(2)), bad])


def test_a_request_over_the_limit_is_refused_by_its_row(shop: Shop, open_account: Callable[..., Provider]) -> None:
    shop.provider = open_account(max_request_bytes=2_000)
    with pytest.raises(InvalidRequest) as refused:
        shop.buy(tickets(2) | {"T9": "x" * 3_000})

    assert "T9" in str(refused.value)
    assert "2,000" in str(refused.value)
    assert count(shop, tables.chunk) == 0


def test_two_kinds_of_request_in_one_plan_are_refused(shop: Shop) -> None:
    with pytest.raises(PlanError, match=r"labels: row 'E' is a Embedding, the rows before it are not"):
        shop.buy([*chats(tickets(2)), Embedding(key="E", text="Hello")])


def test_chunks_hold_as_many_requests_as_the_provider_takes(
    any_shop: Shop, open_account: Callable[..., Provider], local_provider: LocalProvider
) -> None:
    local_provider.settings(openai_max_requests=4)
    try:
        any_shop.provider = open_account(max_requests=4)
        receipt = any_shop.buy(tickets(10))
    finally:
        local_provider.settings(openai_max_requests=50_000)

    assert receipt.rows == 10
    assert sorted(batch["requests"] for batch in local_provider.batches()) == [2, 4, 4]
    assert len(receipt.batch_ids) == 3


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_chunks_hold_as_many_bytes_as_the_provider_takes(
    shop: Shop, open_account: Callable[..., Provider], local_provider: LocalProvider, name: str
) -> None:
    most = 8_000
    local_provider.settings(**{f"{name}_max_bytes": most})
    try:
        bounded = Shop(shop.ledger, open_account(name, max_bytes=most))
        receipt = bounded.buy({f"T{number}": f"{number} " + "x" * (137 * number) for number in range(20)})
    finally:
        local_provider.settings(**{f"{name}_max_bytes": 200_000_000})

    assert receipt.rows == 20
    with shop.ledger.database.read() as connection:
        sizes = connection.execute(sa.select(tables.chunk.c.spool_bytes)).scalars().all()
    assert max(sizes) <= most
    assert sum(sizes) / len(sizes) > most / 2


def test_embeddings_are_bought_and_read_as_vectors(any_shop: Shop) -> None:
    shop = Shop(any_shop.ledger, any_shop.provider, asset="vectors", output=None, model=EMBEDDING_MODEL)
    receipt = shop.buy([Embedding(key=key, text=text) for key, text in tickets(3).items()])

    assert receipt.rows == 3
    assert {vector.dtype.str for vector in shop.frame()["embedding"]} == {"<f4"}
    assert len({len(vector) for vector in shop.frame()["embedding"]}) == 1


def test_a_quote_says_what_would_be_bought_and_writes_nothing(any_shop: Shop, local_provider: LocalProvider) -> None:
    any_shop.buy(tickets(10))
    before = [count(any_shop, table) for table in tables.metadata.sorted_tables]

    quote = any_shop.quote({key: text for key, text in (tickets(11) | {"T0003": "An edit."}).items() if key != "T0005"})

    assert (quote.rows, quote.new, quote.reused, quote.removed) == (10, 2, 8, 1)
    assert quote.estimated_cost > 0
    assert [count(any_shop, table) for table in tables.metadata.sorted_tables] == before
    assert local_provider.tally("openai")["batches_created"] == 1


def test_another_asset_reuses_an_answer_without_a_surge(any_shop: Shop) -> None:
    any_shop.buy(tickets(5))
    receipt = any_shop.buy(tickets(5), asset="others")

    assert (receipt.bought, receipt.reused, receipt.cost) == (0, 5, 0)


def test_an_answer_never_crosses_a_scope(any_shop: Shop) -> None:
    for scope in ("tenant-1", "tenant-2"):
        receipt = any_shop.buy([Chat(key="A", prompt="Hello", scope=scope)], asset=scope)
        assert (receipt.bought, receipt.reused) == (1, 0)


def test_the_newer_plan_of_a_partition_wins_whichever_is_committed_last(any_shop: Shop) -> None:
    older = planned(any_shop, {"": chats({"T1": "The old text."})}, as_of=MONDAY)
    newer = planned(any_shop, {"": chats({"T1": "The new text."})}, as_of=TUESDAY)
    newer.commit(lane=Lane.BATCH, reason="a test")
    older.commit(lane=Lane.BATCH, reason="a test")

    with any_shop.ledger.database.read() as connection:
        target = connection.execute(sa.select(tables.target)).one()
        wanted = connection.execute(sa.select(tables.wanted)).one()
        chunk = sa.select(tables.chunk.c.id).where(tables.chunk.c.first_request == wanted.request_id)
        chunk_id = connection.execute(chunk).scalar_one()
        owner = connection.execute(
            sa.select(tables.job_chunk.c.job_id).where(tables.job_chunk.c.chunk_id == chunk_id)
        ).scalar_one()
    assert (target.job_id, owner) == (newer.job_id, newer.job_id)
    assert target.as_of == round(TUESDAY.timestamp() * 1e6)


def test_a_newer_plan_of_one_partition_leaves_the_older_plan_its_others(any_shop: Shop) -> None:
    any_shop.buy(partitions={"a": {"A0": "First."}, "b": {"B0": "First."}}, as_of=MONDAY)
    older = planned(any_shop, {"a": chats({"A1": "Older."}), "b": chats({"B1": "Older."})}, as_of=TUESDAY)
    newer = planned(any_shop, {"b": chats({"B2": "Newer."})}, as_of=WEDNESDAY)
    newer.commit(lane=Lane.BATCH, reason="a test")
    older.commit(lane=Lane.BATCH, reason="a test")

    with any_shop.ledger.database.read() as connection:
        query = sa.select(tables.target.c.partition_key, tables.target.c.job_id, tables.wanted.c.key)
        found = connection.execute(
            query.join(tables.wanted, tables.wanted.c.target_id == tables.target.c.id).order_by(tables.wanted.c.key)
        ).all()
    assert [tuple(row) for row in found] == [("a", older.job_id, "A1"), ("b", newer.job_id, "B2")]


def test_a_plan_given_up_leaves_another_plan_what_that_one_joined(any_shop: Shop) -> None:
    first = planned(any_shop, {"": chats(tickets(3))})
    any_shop.asset = "others"
    second = planned(any_shop, {"": chats(tickets(3))})
    give_up(first)
    second.commit(lane=Lane.BATCH, reason="a test")

    assert any_shop.summary().missing == 3
    receipt = any_shop.buy(tickets(3))
    assert (receipt.rows, receipt.bought, receipt.joined) == (3, 0, 3)


def test_a_plan_that_loses_what_it_found_on_its_way_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    first = planned(shop, {"": chats(tickets(3))})
    known = Staging.known

    def known_then_given_up(staging: Staging, begin: int, end: int) -> Any:
        found = known(staging, begin, end)
        give_up(first)  # as another process may, between this plan's look at the ledger and its joining
        return found

    monkeypatch.setattr(Staging, "known", known_then_given_up)
    with pytest.raises(PlanError, match="another plan took back requests"):
        shop.buy(tickets(3), asset="others")

    assert job_states(shop) == ["abandoned", "abandoned"]


def test_two_plans_that_queue_the_same_at_once_are_bought_once(any_shop: Shop, local_provider: LocalProvider) -> None:
    others = Shop(any_shop.ledger, any_shop.provider, asset="others")

    def line(inner: Provider, **given: Any) -> bytes:
        if not others.summary().rows:  # this plan has looked at the ledger, and not yet queued its chunk
            others.buy(tickets(3))
        return inner.line(**given)

    any_shop.provider = Through(any_shop.provider, line=line)  # type: ignore[assignment]
    receipt = any_shop.buy(tickets(5))  # two of them are its own

    assert (receipt.rows, receipt.bought, receipt.joined) == (5, 2, 3)
    assert local_provider.tally("openai")["answers_delivered"] == 5
    assert not local_provider.answered(at_least=2)


def test_a_plan_waits_for_what_another_queued_at_the_same_moment(any_shop: Shop, local_provider: LocalProvider) -> None:
    others = Shop(any_shop.ledger, any_shop.provider, asset="others")

    def line(inner: Provider, **given: Any) -> bytes:
        if not others.summary().partitions:
            planned(others, {"": chats(tickets(3))}).commit(lane=Lane.BATCH, reason="a test")
        return inner.line(**given)

    any_shop.provider = Through(any_shop.provider, line=line)  # type: ignore[assignment]
    receipt = any_shop.buy(tickets(3))

    assert (receipt.rows, receipt.bought, receipt.joined) == (3, 0, 3), "it submits the other plan's chunk itself"
    assert local_provider.tally("openai")["answers_delivered"] == 3


def test_the_chunks_of_a_planner_that_died_are_taken_back(any_shop: Shop) -> None:
    lost = planned(any_shop, {"": chats(tickets(3))})
    with any_shop.ledger.database.write() as connection:
        connection.execute(
            tables.job.update().where(tables.job.c.id == lost.job_id).values(owner=f"{_host(any_shop)}#4194304@1")
        )

    receipt = any_shop.buy(tickets(3))

    assert (receipt.bought, receipt.joined) == (3, 0)
    assert job_states(any_shop) == ["abandoned", "completed"]
    with any_shop.ledger.database.read() as connection:
        chunks = connection.execute(sa.select(tables.chunk.c.state).order_by(tables.chunk.c.id)).scalars().all()
    assert chunks == ["taken_back", "applied"]
    assert count(any_shop, tables.request) == 3


def test_the_chunks_of_a_planner_that_lives_are_joined(any_shop: Shop, local_provider: LocalProvider) -> None:
    planned(any_shop, {"": chats(tickets(3))})

    receipt = any_shop.buy(tickets(3))

    assert (receipt.bought, receipt.joined) == (0, 3)
    assert local_provider.tally("openai")["answers_delivered"] == 3


def _host(shop: Shop) -> str:
    return shop.ledger.claimant.host


def test_a_chunk_is_queued_until_somebody_submits_it(shop: Shop) -> None:
    planned(shop, {"": chats(tickets(3))}).commit(lane=Lane.BATCH, reason="a test")

    with shop.ledger.database.read() as connection:
        assert connection.execute(sa.select(tables.chunk.c.state)).scalars().all() == [ChunkState.QUEUED.value]
        assert connection.execute(sa.select(tables.job.c.state)).scalars().all() == [JobState.QUEUED.value]
    assert ResultStore(shop.ledger).summary("labels", None).missing == 3
