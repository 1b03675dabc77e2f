"""What an asset says of requests without a usable answer is what happens: how often they are tried, and what then."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from offpeak.errors import DefinitionError, JobFailed
from offpeak.ledger import retrying, submissions, tables
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import (
    LONGEST_PAUSE,
    MOST_ROUNDS,
    SURFACE,
    TOKEN_LIMIT,
    FailurePolicy,
    failure_policy,
    pause_before,
)
from offpeak.providers.base import Provider
from offpeak.requests import Chat

from ...conftest import LocalProvider, Shop, tickets

NOTHING = timedelta(0)


@pytest.fixture
def each_shop(ledger: Ledger, open_account: Callable[..., Provider], provider_name: str) -> Shop:
    return Shop(ledger, open_account(provider_name))


def dead_letters(ledger: Ledger) -> dict[str, tuple[str, str]]:
    """Reason and fate by key."""
    dead, wanted = tables.dead_letter, tables.wanted
    query = sa.select(wanted.c.key, dead.c.reason, dead.c.fate).join(dead, dead.c.request_id == wanted.c.request_id)
    with ledger.database.read() as connection:
        return {key: (reason, fate) for key, reason, fate in connection.execute(query)}


def attempts(ledger: Ledger) -> dict[int, int]:
    """Failures by request."""
    failure = tables.failure
    query = sa.select(failure.c.request_id, sa.func.count()).group_by(failure.c.request_id)
    with ledger.database.read() as connection:
        return dict(connection.execute(query).tuples().all())


def raw_answers(ledger: Ledger) -> list[str | None]:
    with ledger.database.read() as connection:
        return list(connection.execute(sa.select(tables.failure.c.raw)).scalars())


@pytest.mark.parametrize("how", ["invalid", "malformed"])
def test_an_answer_that_does_not_fit_is_asked_for_again_as_often_as_the_asset_says(
    each_shop: Shop, local_provider: LocalProvider, how: str
) -> None:
    local_provider.fault("unusable_lines", share=1.0, how=how, times=None)
    with pytest.raises(JobFailed):
        each_shop.buy(tickets(2), policy=FailurePolicy(attempts=2))

    assert set(attempts(each_shop.ledger).values()) == {2}
    assert {reason for reason, _ in dead_letters(each_shop.ledger).values()} == {"invalid_output"}
    assert all(raw_answers(each_shop.ledger))


@pytest.mark.parametrize(
    ("how", "field", "reason"),
    [
        ("invalid", "invalid", "invalid_output"),
        ("length", "cut", "length"),
        ("refused", "refused", "refused"),
        ("filtered", "filtered", "filtered"),
    ],
)
@pytest.mark.parametrize("again", [True, False])
def test_each_kind_of_unusable_answer_is_asked_for_again_or_not(
    shop: Shop, local_provider: LocalProvider, how: str, field: str, reason: str, again: bool
) -> None:
    local_provider.fault("unusable_lines", share=0.5, how=how)
    policy = FailurePolicy(**{field: "again" if again else "dead_letter"})  # type: ignore[arg-type]

    receipt = shop.buy(tickets(4), policy=policy)

    assert (receipt.rows, receipt.failed) == ((4, 0) if again else (2, 2))
    assert {reason for reason, _ in dead_letters(shop.ledger).values()} == (set() if again else {reason})


def test_what_was_cut_is_asked_again_with_room_for_twice_as_much(
    each_shop: Shop, local_provider: LocalProvider
) -> None:
    local_provider.fault("unusable_lines", share=1.0, how="length", times=2)
    rows = [Chat(key="T", prompt="Say a lot.", max_tokens=30)]
    each_shop.buy(rows)

    lines = [spool.read_text() for spool in sorted(each_shop.ledger.spool.glob("*.spool"))]
    bounds = [re.findall(r'"max_(?:output_|completion_)?tokens":(\d+)', line) for line in lines]
    assert bounds == [["30"], ["60"], ["120"]]
    with each_shop.ledger.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(tables.request)).scalar_one() == 1


def test_dropped_rows_are_on_record_and_fail_nothing(shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("unusable_lines", share=0.5, how="refused")
    receipt = shop.buy(tickets(4), policy=FailurePolicy(then="drop"))

    assert (receipt.rows, receipt.failed, receipt.dropped) == (2, 0, 2)
    assert set(dead_letters(shop.ledger).values()) == {("refused", "dropped")}
    with shop.ledger.database.read() as connection:
        assert connection.execute(sa.select(tables.job.c.state)).scalar_one() == "completed"
    again = shop.buy(tickets(4), policy=FailurePolicy(then="drop"))
    assert (again.bought, again.dropped) == (0, 2)


@pytest.mark.parametrize(("rate", "fails"), [(None, True), (0.6, True), (0.5, False)])
def test_too_few_answers_fail_the_run_and_keep_what_was_paid_for(
    shop: Shop, local_provider: LocalProvider, rate: float | None, fails: bool
) -> None:
    local_provider.fault("unusable_lines", share=0.5, how="refused")
    policy = FailurePolicy(then="fail", min_success_rate=rate)
    if fails:
        with pytest.raises(JobFailed, match=r"labels: 2 of 4 rows have an answer .*refused \(2; .*dead-letters list"):
            shop.buy(tickets(4), policy=policy)
    else:
        assert shop.buy(tickets(4), policy=policy).failed == 2
    with shop.ledger.database.read() as connection:
        state = connection.execute(sa.select(tables.job.c.state)).scalar_one()
        answers = connection.execute(sa.select(sa.func.count()).select_from(tables.answer)).scalar_one()
    assert (state, answers) == ("failed" if fails else "completed_with_partial_failures", 2)


def test_what_one_asset_gives_up_while_another_sends_it_round_again_is_answered_and_not_dead(
    any_ledger: Ledger, open_account: Callable[..., Provider]
) -> None:
    shop = Shop(any_ledger, open_account())
    job_id = shop.leave(tickets(2))
    given_up = sa.select(tables.request.c.id, sa.literal("length"), sa.literal(1), sa.literal("dead")).limit(1)
    with any_ledger.database.write() as connection:
        columns = ["request_id", "reason", "at", "fate"]
        connection.execute(tables.dead_letter.insert().from_select(columns, given_up))
    assert len(dead_letters(any_ledger)) == 1

    receipt = shop.collect(job_id)

    assert (receipt.rows, receipt.failed) == (2, 0)
    assert dead_letters(any_ledger) == {}


def test_what_another_asset_got_answered_in_the_meantime_is_not_given_up(
    shop: Shop, local_provider: LocalProvider
) -> None:
    local_provider.fault("error_lines", share=1.0, code="invalid_request")
    job_id = shop.begin(tickets(2))
    shop.work(job_id, asset=shop.asset).carry_out()
    with shop.ledger.database.write() as connection:
        connection.execute(tables.dead_letter.delete())
    unanswered = retrying._unanswered(
        shop.ledger, sa.select(tables.target.c.id)
    )  # and then it stands still for a while
    assert len(unanswered) == 2
    stamp = submissions.of_job(shop.ledger, job_id)[0].stamp
    with shop.ledger.database.write() as connection:
        answer = {"submission_id": stamp, "produced_at": 1, "model": "m", "output": "{}"}
        none = dict.fromkeys(("input_tokens", "output_tokens", "cached_tokens", "cost_pico", "realtime_pico"), 0)
        connection.execute(tables.answer.insert().values(request_id=unanswered[0].request_id, **answer, **none))

    retrying._bury(shop.ledger, unanswered, SURFACE)

    assert len(dead_letters(shop.ledger)) == 1


def test_rounds_are_spaced_by_the_kind_of_failure(shop: Shop, local_provider: LocalProvider) -> None:
    local_provider.fault("error_lines", share=1.0, code="rate_limit")
    job_id = shop.leave(tickets(2))
    work = shop.work(job_id, asset="labels")
    before = shop.ledger.clock.now()
    while not attempts(shop.ledger):
        work.hand_over(patience=NOTHING)

    (chunk,) = [each for each in submissions.of_job(shop.ledger, job_id) if each.ready_at is not None]
    assert chunk.ready_at is not None
    assert chunk.ready_at - before >= pause_before(2, "http_429") > NOTHING
    again_at = work.again_at()
    assert again_at is not None
    assert again_at >= chunk.ready_at
    assert len(local_provider.batches()) == 1
    assert shop.collect(job_id).rows == 2


def test_pauses_grow_and_end() -> None:
    assert [pause_before(attempt, "http_500") for attempt in (2, 3)] == [NOTHING, timedelta(minutes=2)]
    assert [pause_before(attempt, "http_429") / timedelta(minutes=1) for attempt in range(2, 8)] == [
        2,
        4,
        8,
        16,
        30,
        30,
    ]
    assert pause_before(MOST_ROUNDS, TOKEN_LIMIT) == LONGEST_PAUSE
    assert {pause_before(5, reason) for reason in ("invalid_output", "length", "expired", "refused")} == {NOTHING}


def test_a_process_that_died_before_its_next_round_leaves_no_hopeless_request_to_buy(
    shop: Shop, local_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_provider.fault("unusable_lines", share=0.5, how="refused", times=None)
    job_id = shop.leave(tickets(4))

    def die(*_: Any, **__: Any) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(retrying, "retry", die)
        with pytest.raises(KeyboardInterrupt):
            shop.collect(job_id)
    assert dead_letters(shop.ledger) == {}

    receipt = shop.buy(tickets(4))

    assert (receipt.bought, receipt.reused, receipt.failed) == (0, 2, 2)
    assert len(local_provider.batches()) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("retry", r"labels: on_failure='retry' says nothing .* \"surface\", \"drop\" or \"fail\", or a FailurePolicy"),
        (None, r"labels: on_failure=None"),
        (FailurePolicy(then="explode"), r"then='explode' is not one of"),  # type: ignore[arg-type]
        (FailurePolicy(cut="sometimes"), r"cut='sometimes' is not one of \"again\" or \"dead_letter\""),  # type: ignore[arg-type]
        (FailurePolicy(attempts=0), r"attempts=0 is not a whole number from 1 to 10"),
        (FailurePolicy(attempts=True), r"attempts=True"),
        (FailurePolicy(min_success_rate=0.9), r"min_success_rate=0.9 .* goes with then=\"fail\""),
        (FailurePolicy(then="fail", min_success_rate=98), r"min_success_rate=98 is a share"),
    ],
)
def test_a_policy_that_cannot_work_is_refused_when_definitions_load(given: object, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        failure_policy("labels", given)


def test_a_name_stands_for_a_policy() -> None:
    assert failure_policy("labels", "surface") == SURFACE
    assert failure_policy("labels", "drop") == FailurePolicy(then="drop")
