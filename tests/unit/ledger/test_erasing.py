"""An erased key is nowhere: not in the ledger, not in its files, not at the provider; and nothing else is touched."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from offpeak.clock import to_micros
from offpeak.errors import NotFound, PlanError, SurgeHeld
from offpeak.faultpoints import FaultPoint, on_reach
from offpeak.ledger import erasing, jobs, submissions, tables
from offpeak.ledger.explaining import explain
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.sightings import OVERDUE

from ...conftest import LATENCY, ROOT, LocalProvider, Place, Shop, stop, tickets, until

KEY = "A-canary-key"
CANARY = "xyzzy-canary-text"
"""Stands in the prompt, and in the answer, which repeats it."""
MORE = "and more words, so that an answer that is cut holds it too"


only_openai = pytest.mark.parametrize("provider_name", ["openai"])
"""Where the provider makes no difference."""


class Stopped(BaseException):
    """Ends something as a kill would: nothing of the product catches it."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalProvider, Path]]:
    """A local provider whose files can be looked through."""
    folder = tmp_path_factory.mktemp("provider-of-erasing")
    config = folder / "config.json"
    config.write_text(json.dumps({"settings": {"answers": "cheap", "latency_seconds": LATENCY}}))
    data = folder / "data"
    arguments = ["--port", "0", "--config", str(config), "--data", str(data)]
    process = subprocess.Popen(
        [sys.executable, "-m", "local_provider", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield LocalProvider(line.removeprefix("listening on ").strip()), data
    finally:
        stop(process)


@pytest.fixture
def own_provider(server: tuple[LocalProvider, Path]) -> LocalProvider:
    server[0].reset()
    return server[0]


@pytest.fixture
def account(any_ledger: Ledger, own_provider: LocalProvider, provider_name: str) -> Iterator[Shop]:
    """Buys plain text at each provider into each database, and has everything kept."""
    provider = own_provider.open(provider_name)
    provider.keeps_files = True
    yield Shop(any_ledger, provider, output=None)
    provider.close()


@pytest.fixture
def found(any_place: Place, server: tuple[LocalProvider, Path]) -> Callable[[str], set[str]]:
    """Where a text stands: files of the ledger's folder and of the provider, tables of Postgres."""

    def places(text: str) -> set[str]:
        files = [path for root in (any_place.spool.parent, server[1]) for path in root.rglob("*") if path.is_file()]
        holding = {path.parent.name for path in files if text.encode() in path.read_bytes()}
        if any_place.url.startswith("sqlite"):
            return holding
        engine = sa.create_engine(any_place.url)
        with engine.connect() as connection:
            for name in tables.metadata.tables:
                query = sa.text(f"SELECT count(*) FROM {name} t WHERE t::text LIKE :text")
                if connection.execute(query, {"text": f"%{text}%"}).scalar_one():
                    holding.add(f"table {name}")
        engine.dispose()
        return holding

    return places


def erase(shop: Shop, key: str = KEY) -> erasing.Finished:
    erasing.erase(shop.ledger, shop.asset, key, who="a test")
    return erasing.finish(shop.ledger, [shop.provider])


def test_an_erased_key_is_nowhere_and_everything_else_is_there(
    account: Shop, own_provider: LocalProvider, found: Callable[[str], set[str]]
) -> None:
    own_provider.fault("unusable_lines", share=0.02, how="length")
    rows = tickets(60)
    account.buy(rows | {KEY: f"{CANARY} first, {MORE}"})
    own_provider.fault("unusable_lines", share=1.0, how="length")
    account.buy(rows | {KEY: f"{CANARY} second, {MORE}"})
    with pytest.raises(SurgeHeld, match=KEY):
        account.buy(rows | {KEY: f"{CANARY} second, {MORE}"}, system="Another prompt.")
    spent = [jobs.bill(account.ledger, job_id) for job_id in (1, 2)]
    expected = account.frame().query("key != @KEY").reset_index(drop=True)
    assert len(found(CANARY)) >= 3
    assert found(KEY)

    finished = erase(account)
    assert (finished.done, finished.on_their_way, finished.waiting, finished.not_rewritten) == (2, 0, {}, False)
    assert found(CANARY) == set()
    assert found(KEY) == set()

    assert account.frame().equals(expected)
    assert [jobs.bill(account.ledger, job_id) for job_id in (1, 2)] == spent
    assert account.buy(rows).bought == 0
    assert explain(account.ledger, "labels", "T0007").body is not None
    with pytest.raises(NotFound):
        erase(account)


@only_openai
def test_a_key_that_comes_back_is_bought_anew(account: Shop) -> None:
    account.buy({KEY: CANARY, "other": "text"})
    erase(account)
    assert account.buy({KEY: CANARY, "other": "text"}).bought == 1
    assert len(account.frame()) == 2
    assert erase(account).done == 1


def test_what_is_on_its_way_is_erased_when_it_was_collected(
    account: Shop, own_provider: LocalProvider, found: Callable[[str], set[str]]
) -> None:
    own_provider.fault("never_end")
    job = account.leave(tickets(3) | {KEY: CANARY})
    finished = erase(account)
    assert (finished.done, finished.on_their_way) == (0, 1)
    assert found(KEY) == set(), "the key itself goes at once"
    assert found(CANARY)

    own_provider.heal(own_provider.batches()[0]["id"])
    assert account.collect(job).rows == 3
    if not account.ledger.database.sqlite:
        assert found(CANARY) == set()
        assert erasing.finish(account.ledger, []).done == 0
        return
    assert erasing.finish(account.ledger, []).done == 1
    assert found(CANARY) == set()


@only_openai
def test_what_others_ask_too_stays_theirs(account: Shop, found: Callable[[str], set[str]]) -> None:
    account.buy({KEY: CANARY, "other": "text"})
    account.buy({"theirs": CANARY}, asset="others")
    erased = erasing.erase(account.ledger, "labels", KEY, who="a test")
    assert (erased.rows, list(erased.requests), erased.shared) == (1, [], 1)
    erasing.finish(account.ledger, [account.provider])
    assert found(KEY) == set()
    assert list(account.frame("others")["text"]) == [CANARY]
    assert account.buy({"theirs": CANARY}, asset="others").bought == 0

    erasing.erase(account.ledger, "others", "theirs", who="a test")
    assert erasing.finish(account.ledger, [account.provider]).done == 1
    assert found(CANARY) == set()


@only_openai
def test_a_row_that_came_to_ask_the_same_while_it_was_on_its_way_is_served(
    account: Shop, own_provider: LocalProvider
) -> None:
    own_provider.fault("never_end")
    job = account.leave({KEY: CANARY, "other": "text"})
    assert erase(account).on_their_way == 1
    theirs = account.leave({"theirs": CANARY}, asset="others")
    own_provider.heal(own_provider.batches()[0]["id"])
    assert account.collect(job).rows == 1
    assert account.collect(theirs, asset="others").rows == 1
    erasing.finish(account.ledger, [account.provider])
    assert list(account.frame("others")["text"]) == [CANARY]
    assert own_provider.tally(account.provider.name)["answers_delivered"] == 2


def test_the_lines_around_it_still_go_round_again(account: Shop, own_provider: LocalProvider) -> None:
    own_provider.fault("error_lines", share=1.0, code="server_error")
    job = account.begin(tickets(3) | {KEY: CANARY})
    work = account.work(job, asset="labels")
    (chunk,) = submissions.of_job(account.ledger, job)
    submissions.submit(account.ledger, account.provider, chunk)
    until(lambda: work._advance(submissions.of_job(account.ledger, job)[0]))
    assert erase(account).done == 1

    assert account.collect(job).rows == 3
    assert sorted(account.frame()["text"]) == sorted(tickets(3).values())
    assert own_provider.tally(account.provider.name)["answers_delivered"] == 3


@only_openai
def test_the_same_key_of_every_partition_goes_or_of_one(account: Shop, found: Callable[[str], set[str]]) -> None:
    account.buy(partitions={day: {KEY: f"{CANARY} {day}", "other": day} for day in ("mon", "tue", "wed")})
    assert erasing.erase(account.ledger, "labels", KEY, partition_key="mon", who="a test").rows == 1
    erasing.finish(account.ledger, [account.provider])
    assert (found(f"{CANARY} mon"), found(f"{CANARY} tue") == set()) == (set(), False)
    assert erasing.erase(account.ledger, "labels", KEY, who="a test").rows == 2
    erasing.finish(account.ledger, [account.provider])
    assert found(CANARY) == set()


@only_openai
def test_what_no_row_refers_to_any_more_can_be_erased(account: Shop, found: Callable[[str], set[str]]) -> None:
    others = tickets(9)
    for version in ("first", "second", "third"):
        account.buy(others | {KEY: f"{CANARY} {version}"})
    assert found(f"{CANARY} first")
    assert erasing.erase_unwanted(account.ledger, who="a test") == 1
    assert erasing.finish(account.ledger, [account.provider]).done == 1
    assert found(f"{CANARY} first") == set()
    assert found(f"{CANARY} second"), "it is what the row would serve if the third had not landed"
    assert account.buy(others | {KEY: f"{CANARY} third"}).bought == 0
    assert erasing.erase_unwanted(account.ledger, who="a test") == 0


def test_files_at_an_account_that_cannot_be_had_are_erased_later(
    account: Shop, found: Callable[[str], set[str]]
) -> None:
    account.buy({KEY: CANARY, "other": "text"})
    erasing.erase(account.ledger, "labels", KEY, who="a test")
    finished = erasing.finish(account.ledger, [])
    assert (finished.done, finished.waiting) == (0, {account.provider.realm: 1})
    assert erasing.realms(account.ledger) == [account.provider.realm]
    at_provider = found(CANARY)
    assert "spool" not in at_provider
    assert at_provider

    assert erasing.finish(account.ledger, [account.provider]).done == 1
    assert found(CANARY) == set()
    assert erasing.realms(account.ledger) == []


@pytest.mark.parametrize("reached", [FaultPoint.CLEANED, None])
def test_an_erasure_that_was_cut_short_is_finished_by_the_next(
    account: Shop,
    found: Callable[[str], set[str]],
    reached: FaultPoint | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    account.buy({KEY: CANARY, "other": "text"})
    erasing.erase(account.ledger, "labels", KEY, who="a test")

    def die(*arguments: object) -> None:
        raise Stopped

    with monkeypatch.context() as patched:
        if reached is None:
            patched.setattr(erasing, "_scrub", die)
        else:
            on_reach(lambda point: die() if point is reached else None)
        with pytest.raises(Stopped):
            erasing.finish(account.ledger, [account.provider])
    on_reach(None)
    assert erasing.finish(account.ledger, [account.provider]).done == 1
    assert found(CANARY) == set()


@only_openai
def test_nothing_is_erased_while_a_plan_is_being_made(account: Shop) -> None:
    account.buy({KEY: CANARY, "other": "text"})
    with account.ledger.database.write() as connection:
        connection.execute(tables.job.update().values(state="planning", owner=str(account.ledger.claimant)))
    for act in (lambda: erase(account), lambda: erasing.erase_unwanted(account.ledger, who="a test")):
        with pytest.raises(PlanError, match="Job 1 of labels is being planned"):
            act()
    assert len(account.frame()) == 2


@only_openai
def test_who_erased_what_is_on_record_without_the_key(account: Shop) -> None:
    account.buy({KEY: CANARY, "other": "text"})
    erase(account)
    table = tables.event
    with account.ledger.database.read() as connection:
        rows = connection.execute(sa.select(table).where(table.c.subject == "request")).all()
    assert [(row.state, row.who, row.why) for row in rows] == [("erased", "a test", "a row of labels was erased")]


@only_openai
def test_an_erasure_is_not_done_before_the_database_was_rewritten(
    account: Shop, found: Callable[[str], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not account.ledger.database.sqlite:
        assert account.ledger.database.rewrite(), "there is nothing to rewrite"
        return
    account.buy({KEY: CANARY, "other": "text"})
    with monkeypatch.context() as patched:
        patched.setattr(account.ledger.database, "rewrite", lambda: False)
        finished = erase(account)
    assert (finished.done, finished.not_rewritten) == (0, True)
    assert erasing.finish(account.ledger, []).done == 1
    assert found(CANARY) == set()


@only_openai
def test_somebody_who_reads_the_database_keeps_it_from_being_rewritten(account: Shop, any_place: Place) -> None:
    if not account.ledger.database.sqlite:
        return
    account.buy({"row": "text"})

    @sa.event.listens_for(account.ledger.database.engine, "checkout")
    def hurry(connection: Any, *_: object) -> None:
        connection.execute("PRAGMA busy_timeout=50")

    with any_place.open() as other, other.database.read() as connection:
        connection.execute(sa.select(tables.wanted)).all()
        assert not account.ledger.database.rewrite()
    assert account.ledger.database.rewrite()


@only_openai
def test_a_torn_request_file_goes_whole(account: Shop, found: Callable[[str], set[str]]) -> None:
    account.buy({KEY: CANARY, "other": "text"})
    (path,) = account.ledger.spool.glob("*.spool")
    path.write_bytes(path.read_bytes().replace(b"{", b"("))
    assert erase(account).done == 1
    assert found(CANARY) == set()
    assert len(account.frame()) == 1
    assert "pruned" in str(explain(account.ledger, "labels", "other").body_missing)


@only_openai
def test_a_create_that_came_to_nothing_is_waited_for_since_its_batch_may_turn_up(
    account: Shop, found: Callable[[str], set[str]]
) -> None:
    receipt = account.buy({KEY: CANARY, "other": "text"})
    (chunk,) = submissions.of_job(account.ledger, receipt.job_id)
    moment = to_micros(account.clock.now())
    lost = {"id": 900, "chunk_id": chunk.chunk_id, "state": "absent", "owner": "x#1@1", "intended_at": moment}
    with account.ledger.database.write() as connection:
        connection.execute(tables.submission.insert().values(**lost, create_at=moment))
    assert erase(account).on_their_way == 1
    with account.ledger.database.write() as connection:
        long_ago = to_micros(account.clock.now() - 2 * OVERDUE)
        connection.execute(tables.submission.update().where(tables.submission.c.id == 900).values(create_at=long_ago))
    assert erasing.finish(account.ledger, [account.provider]).done == 1
    assert found(CANARY) == set()
