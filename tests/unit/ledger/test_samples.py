"""A new question is asked of a few rows first, and nothing else of the plan is bought before it is released."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from offpeak.errors import NotFound, PlanError, SampleHeld, SampleRejected, SubmissionRejected, SurgeHeld
from offpeak.faultpoints import FaultPoint, on_reach
from offpeak.ledger import adopting, calling, erasing, jobs, pruning, samples, submissions, tables
from offpeak.ledger.conditions import Condition
from offpeak.ledger.lane import Lane
from offpeak.ledger.sampling import Sample
from offpeak.ledger.states import JobState, SampleState
from offpeak.ledger.watching import watched
from offpeak.providers.base import Provider
from offpeak.requests import Chat

from ...conftest import LocalProvider, Shop, requests, tickets

TEN = Sample(rows=10)
ROWS = tickets(40)


def bought(local_provider: LocalProvider) -> int:
    """Distinct requests that were answered, none of them twice."""
    assert local_provider.answered(at_least=2) == []
    return len(local_provider.answered())


def hold(shop: Shop, rows: Any = ROWS, **more: Any) -> int:
    """Buy a sample, until it waits for somebody; its job."""
    with pytest.raises(SampleHeld):
        shop.buy(rows, **{"sample": TEN, **more})
    return max(job.id for job in jobs.listed(shop.ledger))


def state_of(shop: Shop, sample_id: int) -> SampleState | None:
    found = samples.get(shop.ledger, sample_id)
    return None if found is None else found.state


def test_a_sample_is_bought_and_the_rest_waits_for_a_person(any_shop: Shop, local_provider: LocalProvider) -> None:
    with pytest.raises(
        SampleHeld, match=r"0 of 10 sampled rows have no usable answer.* 30 requests that are held would"
    ):
        any_shop.buy(ROWS, sample=TEN)
    assert bought(local_provider) == 10
    found = samples.get(any_shop.ledger, 1)
    assert found is not None
    assert (found.state, found.requests, found.failed, found.rest) == (SampleState.WAITING, 10, 0, 30)
    assert found.cost_pico
    assert found.rest_pico == found.cost_pico * 3 // 2  # three times as many, at half the price
    assert local_provider.batches() == []

    samples.approve(any_shop.ledger, 1, who="me")
    receipt = any_shop.buy(ROWS, sample=TEN)
    assert (receipt.rows, receipt.failed, bought(local_provider)) == (40, 0, 40)
    assert {job.state for job in jobs.listed(any_shop.ledger)} == {JobState.COMPLETED, JobState.SUPERSEDED}


def test_what_is_drawn_has_the_smallest_fingerprints_whatever_the_order(shop: Shop) -> None:
    backwards = dict(reversed(ROWS.items()))
    drawn = shop.quote(ROWS, sample=TEN).sample_keys
    assert len(drawn) == 10
    assert drawn == shop.quote(backwards, sample=TEN).sample_keys
    assert set(drawn) != set(sorted(ROWS)[:10])
    assert set(shop.quote(ROWS, sample=Sample(rows=5)).sample_keys) < set(drawn)


def test_what_a_look_says_is_drawn_is_what_is_bought(shop: Shop, local_provider: LocalProvider) -> None:
    quoted = shop.quote(ROWS, sample=TEN)
    assert local_provider.answered() == []
    # a quarter of the rows, at the realtime price
    assert quoted.estimated_sample_cost * 4 == pytest.approx(quoted.estimated_realtime_cost, rel=Decimal("0.01"))
    hold(shop)
    assert set(shop.frame()["key"]) == set(quoted.sample_keys)
    assert bought(local_provider) == 10


def test_a_row_that_repeats_a_drawn_request_is_bought_with_it(shop: Shop, local_provider: LocalProvider) -> None:
    twice = ROWS | {f"{key}-again": text for key, text in ROWS.items()}
    hold(shop, twice)
    assert bought(local_provider) == 10
    assert all(len(row.keys) == 2 for row in samples.rows(shop.ledger, 1))


@pytest.mark.parametrize(("rows", "waits"), [(10, False), (11, True)])
def test_a_plan_of_no_more_than_its_sample_is_bought_at_once(
    shop: Shop, local_provider: LocalProvider, rows: int, waits: bool
) -> None:
    if waits:
        hold(shop, tickets(rows))
    else:
        assert shop.buy(tickets(rows), sample=TEN).rows == rows
        assert samples.get(shop.ledger, 1) is None
        assert len(local_provider.batches()) == 1
    assert bought(local_provider) == 10


def test_only_rows_to_buy_count(shop: Shop, local_provider: LocalProvider) -> None:
    shop.buy(tickets(30))
    later = shop.buy(ROWS, sample=TEN, asset="others")
    assert (later.rows, later.bought, later.reused) == (40, 10, 30)
    assert bought(local_provider) == 40


@pytest.mark.parametrize(("many", "few"), [(True, False), (False, True)])
def test_new_rows_of_a_known_question_are_not_sampled(
    any_shop: Shop, local_provider: LocalProvider, many: bool, few: bool
) -> None:
    if few:
        any_shop.buy(tickets(3), sample=TEN)
    if many:
        hold(any_shop)
        samples.approve(any_shop.ledger, 1, who="me")
    before, called = len(local_provider.batches()), local_provider.tally("openai")["realtime_calls"]
    receipt = any_shop.buy(tickets(100), sample=TEN)
    assert (receipt.rows, bought(local_provider)) == (100, 100)
    assert len(local_provider.batches()) == before + (2 if many else 1)
    assert local_provider.tally("openai")["realtime_calls"] == called


def test_another_system_text_schema_or_model_is_a_new_question(shop: Shop, local_provider: LocalProvider) -> None:
    hold(shop)
    samples.approve(shop.ledger, 1, who="me")
    shop.buy(ROWS, sample=TEN)
    hold(shop, system="Label it well.", approved=True)
    hold(shop, output=None, approved=True)
    hold(shop, model="openai/gpt-5", approved=True)
    assert bought(local_provider) == 40 + 3 * 10


def test_other_words_in_the_rows_own_text_are_a_new_question(any_shop: Shop, local_provider: LocalProvider) -> None:
    any_shop.buy(ROWS)
    anew = {key: f"Please: {text}" for key, text in ROWS.items()}
    hold(any_shop, anew, approved=True)
    assert bought(local_provider) == 50
    # and it is still new after somebody did not want it
    samples.reject(any_shop.ledger, 2, who="me")
    assert len(any_shop.quote(anew, sample=TEN, approved=True).sample_keys) == 10


def test_raising_the_code_version_does_not_release_a_sample(shop: Shop, local_provider: LocalProvider) -> None:
    shop.buy(ROWS)
    hold(shop, system="Label it well.", code_version="2")
    hold(shop, system="Label it well.", code_version="3")
    assert bought(local_provider) == 50


def test_the_surge_guard_comes_first(shop: Shop, local_provider: LocalProvider) -> None:
    shop.buy(ROWS)
    with pytest.raises(SurgeHeld):
        shop.buy(ROWS, system="Label it well.", sample=TEN)
    assert bought(local_provider) == 40
    (held,) = [job.id for job in jobs.listed(shop.ledger) if job.state is JobState.HELD]
    jobs.approve(shop.ledger, held, who="me")
    hold(shop, system="Label it well.")
    assert bought(local_provider) == 50


def test_a_run_that_is_approved_for_a_surge_releases_no_sample_that_it_draws(
    shop: Shop, local_provider: LocalProvider
) -> None:
    shop.buy(ROWS)
    hold(shop, system="Label it well.", approved=True, releases_sample=True)
    hold(shop, system="Label it well.", approved=True)
    assert bought(local_provider) == 50
    receipt = shop.buy(ROWS, system="Label it well.", sample=TEN, approved=True, releases_sample=True)
    assert (receipt.rows, bought(local_provider)) == (40, 80)


# Released by itself


@pytest.mark.parametrize(("most", "released"), [(0.0, False), (0.25, False), (0.3, True)])
def test_the_rest_follows_by_itself_up_to_a_share_of_failures(
    any_shop: Shop, local_provider: LocalProvider, most: float, released: bool
) -> None:
    local_provider.fault("realtime_500", status=400, times=3)
    sample = Sample(rows=10, max_failures=most)
    if released:
        receipt = any_shop.buy(ROWS, sample=sample)
        assert (receipt.rows, receipt.failed, len(any_shop.frame())) == (37, 3, 37)
    else:
        hold(any_shop, ROWS, sample=sample)
    found = samples.get(any_shop.ledger, 1)
    assert found is not None
    assert (found.failed, found.state is SampleState.RELEASED) == (3, released)


def test_a_sample_of_which_the_provider_takes_nothing_is_shown_and_a_person_decides(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    local_provider.fault("realtime_500", status=400, times=None)
    with pytest.raises(SampleHeld, match="10 of 10 sampled rows have no usable answer"):
        any_shop.buy(ROWS, sample=Sample(rows=10, max_failures=0.9))
    assert local_provider.answered() == []
    assert chunks(any_shop) == {"applied": 1, "queued": 1}
    shown = samples.rows(any_shop.ledger, 1)
    assert {row.reason for row in shown} == {"invalid_request_error"}
    assert all(row.message for row in shown)
    # each is asked once: the same bytes would fail again
    assert local_provider.tally("openai")["realtime_calls"] == 10
    local_provider.call("DELETE", "/local/faults")
    samples.reject(any_shop.ledger, 1, who="me")
    assert chunks(any_shop) == {"applied": 1, "taken_back": 1}
    hold(any_shop, system="Label it well.", approved=True)
    assert bought(local_provider) == 10


def test_a_sample_that_an_earlier_version_queued_as_a_batch_may_be_refused_whole(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    job_id = any_shop.begin(ROWS, sample=Sample(rows=10, max_failures=0.9))
    with any_shop.ledger.database.write() as connection:
        connection.execute(tables.chunk.update().values(lane=Lane.BATCH.value))
    local_provider.fault("create_500", status=400)
    with pytest.raises(SubmissionRejected):
        any_shop.collect(job_id)
    assert chunks(any_shop) == {"refused": 1, "taken_back": 1}
    assert any_shop.buy(ROWS).rows == 40
    assert bought(local_provider) == 40


def test_calls_whose_answer_was_lost_are_made_again_before_the_sample_is_judged(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    local_provider.fault("realtime_reset", times=3)
    receipt = any_shop.buy(ROWS, sample=Sample(rows=10, max_failures=0.0))
    found = samples.get(any_shop.ledger, 1)
    assert found is not None
    assert (found.requests, found.failed, found.state) == (10, 0, SampleState.RELEASED)
    assert (receipt.rows, receipt.failed, receipt.possibly_paid_twice) == (40, 0, 3)
    assert local_provider.tally("openai")["realtime_calls"] == 13
    assert bought(local_provider) == 40


# Rejected, replaced, stopped


def chunks(shop: Shop) -> dict[str, int]:
    with shop.ledger.database.read() as connection:
        query = sa.select(tables.chunk.c.state, sa.func.count().label("chunks")).group_by(tables.chunk.c.state)
        return {row.state: row.chunks for row in connection.execute(query)}


def files(shop: Shop) -> int:
    return len(list(shop.ledger.spool.glob("*.spool")))


def test_a_rejected_sample_is_all_that_is_bought_and_its_answers_are_kept(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    job_id = hold(any_shop)
    assert files(any_shop) == 2
    samples.reject(any_shop.ledger, job_id, who="me")
    assert chunks(any_shop) == {"applied": 1, "taken_back": 1}
    assert files(any_shop) == 1
    assert bought(local_provider) == 10
    with pytest.raises(SampleRejected, match="so the rest of job 1 is not bought"):
        any_shop.work(job_id, asset=any_shop.asset).carry_out()
    assert [job.state for job in jobs.listed(any_shop.ledger)] == [JobState.CANCELLED]
    with pytest.raises(PlanError, match="rejected already"):
        samples.approve(any_shop.ledger, job_id, who="me")

    assert hold(any_shop) == 2  # another sample, of the rows that are left
    assert bought(local_provider) == 20
    samples.approve(any_shop.ledger, 2, who="me")
    assert any_shop.buy(ROWS, sample=TEN).rows == 40
    assert bought(local_provider) == 40


def test_a_plan_that_asks_something_else_replaces_what_waits(any_shop: Shop, local_provider: LocalProvider) -> None:
    hold(any_shop)
    hold(any_shop, system="Label it well.", approved=True)
    states = [state_of(any_shop, 1), state_of(any_shop, 2)]
    assert states == [SampleState.WITHDRAWN, SampleState.WAITING]
    assert chunks(any_shop) == {"applied": 2, "taken_back": 1, "queued": 1}
    samples.approve(any_shop.ledger, 2, who="me")
    assert any_shop.buy(ROWS, system="Label it well.", sample=TEN).rows == 40
    assert bought(local_provider) == 50
    assert jobs.listed(any_shop.ledger, open_only=True) == []


def test_a_later_plan_of_the_same_question_waits_with_its_new_rows(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    hold(any_shop)
    hold(any_shop, tickets(60))
    assert bought(local_provider) == 10
    assert samples.held_requests(any_shop.ledger, 1) == 50
    assert samples.get(any_shop.ledger, 2) is None
    found = samples.of_job(any_shop.ledger, 2)
    assert found is not None
    assert found.id == 1
    samples.approve(any_shop.ledger, 2, who="me")
    assert any_shop.buy(tickets(60), sample=TEN).rows == 60
    assert bought(local_provider) == 60


@pytest.fixture
def decided_meanwhile() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Has somebody decide about a sample while another plan is about to become valid."""

    def install(decide: Callable[[], object]) -> None:
        def reached(point: FaultPoint) -> None:
            if point is FaultPoint.ROWS_WANTED:
                on_reach(None)
                decide()

        on_reach(reached)

    yield install
    on_reach(None)


def test_a_plan_that_follows_a_sample_is_free_when_it_is_released_meanwhile(
    any_shop: Shop, local_provider: LocalProvider, decided_meanwhile: Callable[..., None]
) -> None:
    hold(any_shop)
    decided_meanwhile(lambda: samples.approve(any_shop.ledger, 1, who="me"))
    assert any_shop.buy(tickets(60), sample=TEN).rows == 60
    assert bought(local_provider) == 60


def test_a_plan_that_follows_a_sample_is_taken_back_when_it_is_rejected_meanwhile(
    any_shop: Shop, local_provider: LocalProvider, decided_meanwhile: Callable[..., None]
) -> None:
    hold(any_shop)
    decided_meanwhile(lambda: samples.reject(any_shop.ledger, 1, who="me"))
    with pytest.raises(PlanError, match="the sample of job 1 was rejected while this plan was made"):
        any_shop.buy(tickets(60), sample=TEN)
    assert set(chunks(any_shop)) == {"applied", "taken_back"}
    assert bought(local_provider) == 10
    samples.approve(any_shop.ledger, hold(any_shop, tickets(60)), who="me")
    assert any_shop.buy(tickets(60), sample=TEN).rows == 60
    assert bought(local_provider) == 60


def test_stopping_the_job_leaves_nothing_bought_beyond_the_sample(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    job_id = any_shop.leave(ROWS, sample=TEN)
    assert any_shop.work(job_id, asset=any_shop.asset).wind_down(patience=timedelta(seconds=10))
    jobs.close(any_shop.ledger, job_id, JobState.CANCELLED, why="stopped")
    assert state_of(any_shop, job_id) is SampleState.WITHDRAWN
    assert bought(local_provider) == 10
    assert chunks(any_shop).get("queued", 0) == 0
    assert any_shop.buy(ROWS).rows == 40
    assert bought(local_provider) == 40


# What another asset asks, too


def test_another_asset_waits_for_the_same_requests_and_says_for_what(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    hold(any_shop)
    with pytest.raises(SampleHeld, match=r"others: 30 requests are those that labels asks, too, .* \(job 1\)"):
        any_shop.buy(ROWS, asset="others")
    assert bought(local_provider) == 10
    (waits,) = list(watched(any_shop.ledger, now=any_shop.ledger.clock.now(), asset="others"))
    assert waits.condition is Condition.AWAITING_APPROVAL
    assert "30 requests wait for approval of the sample of job 1, which asks the same since" in waits.why
    samples.approve(any_shop.ledger, 1, who="me")
    assert any_shop.buy(ROWS, asset="others").rows == 40
    assert bought(local_provider) == 40


def test_what_another_asset_waits_for_is_bought_for_it_alone_after_a_rejection(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    hold(any_shop)
    with pytest.raises(SampleHeld):
        any_shop.buy(tickets(25), asset="others")
    samples.reject(any_shop.ledger, 1, who="me")
    receipt = any_shop.collect(2, asset="others")
    assert (receipt.rows, receipt.failed) == (25, 0)
    drawn = {row.keys[0] for row in samples.rows(any_shop.ledger, 1)}
    assert set(any_shop.frame()["key"]) == drawn | set(tickets(25))
    assert bought(local_provider) == len(drawn | set(tickets(25)))


# Errors


def test_a_person_decides_about_a_sample_that_has_been_shown(shop: Shop) -> None:
    with pytest.raises(NotFound, match="There is no job 7"):
        samples.approve(shop.ledger, 7, who="me")
    shop.buy(tickets(2))
    with pytest.raises(PlanError, match="Job 1 of labels has no sample that waits for anybody"):
        samples.reject(shop.ledger, 1, who="me")
    job_id = shop.begin(ROWS, sample=TEN, system="Else.", approved=True)
    with pytest.raises(PlanError, match="still being bought, so there is nothing to look at yet"):
        samples.approve(shop.ledger, job_id, who="me")


def test_how_long_it_waits_is_told(any_shop: Shop) -> None:
    hold(any_shop)
    (waits,) = watched(any_shop.ledger, now=any_shop.ledger.clock.now() + timedelta(days=1))
    assert waits.condition is Condition.AWAITING_APPROVAL
    assert waits.why.startswith("30 requests wait for approval of its sample since ")
    assert waits.why.endswith("past its deadline")


def test_nothing_that_is_held_can_be_claimed(any_shop: Shop, local_provider: LocalProvider) -> None:
    hold(any_shop)
    (held,) = [each for each in submissions.of_job(any_shop.ledger, 1) if each.held_by]
    submissions.submit(any_shop.ledger, any_shop.provider, replace(held, held_by=None))
    assert not calling.begin(any_shop.ledger, replace(held, held_by=None))
    assert bought(local_provider) == 10
    assert local_provider.batches() == []


# What else looks at chunks and their files


def test_housekeeping_leaves_what_is_held_alone(any_shop: Shop, local_provider: LocalProvider) -> None:
    hold(any_shop)
    for path in any_shop.ledger.spool.iterdir():
        os.utime(path, (0, 0))
    pruning.prune(any_shop.ledger, keep=timedelta(0))
    pruning.sweep_folder(any_shop.ledger)
    samples.approve(any_shop.ledger, 1, who="me")
    assert any_shop.buy(ROWS, sample=TEN).rows == 40
    assert bought(local_provider) == 40


def test_a_row_that_is_erased_while_it_is_held_goes_with_its_chunk(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    hold(any_shop)
    drawn = {key for row in samples.rows(any_shop.ledger, 1) for key in row.keys}
    held = next(key for key in ROWS if key not in drawn)
    erasing.erase(any_shop.ledger, any_shop.asset, held, who="me")
    samples.reject(any_shop.ledger, 1, who="me")
    erasing.finish(any_shop.ledger, [any_shop.provider])
    assert not any(ROWS[held].encode() in path.read_bytes() for path in any_shop.ledger.spool.iterdir())
    assert bought(local_provider) == 10


def test_a_copy_that_is_set_apart_holds_nothing(any_shop: Shop) -> None:
    hold(any_shop)
    adopting.set_apart(any_shop.ledger, who="me", although_at_home=True)
    assert state_of(any_shop, 1) is SampleState.WITHDRAWN
    assert len(any_shop.quote(ROWS, sample=TEN).sample_keys) == 10


def test_a_plan_that_is_not_finished_leaves_nothing_held(
    any_shop: Shop, open_account: Callable[..., Provider], local_provider: LocalProvider
) -> None:
    shop = replace(any_shop, provider=open_account(max_requests=7))
    with pytest.raises(PlanError, match="the same key more than once"):
        shop.buy([*requests(ROWS, shop.system), Chat(key="T0000", prompt="Another text.")], sample=TEN)
    assert set(chunks(shop)) == {"taken_back"}
    assert files(shop) == 0
    hold(shop)
    assert chunks(shop)["queued"] == 5
    samples.approve(shop.ledger, 2, who="me")
    assert shop.buy(ROWS, sample=TEN).rows == 40
    assert bought(local_provider) == 40


def test_a_plan_that_is_not_finished_holds_no_request_that_was_known(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    hold(any_shop)
    samples.reject(any_shop.ledger, 1, who="me")
    with pytest.raises(PlanError, match="the same key more than once"):
        any_shop.buy(
            [*requests(ROWS, any_shop.system), Chat(key="T0000", system=any_shop.system, prompt=ROWS["T0001"])],
            sample=TEN,
        )
    assert state_of(any_shop, hold(any_shop)) is SampleState.WAITING
    samples.approve(any_shop.ledger, 3, who="me")
    assert any_shop.buy(ROWS, sample=TEN).rows == 40
    assert bought(local_provider) == 40


def test_a_run_that_comes_later_looks_at_the_sample_of_one_that_is_gone(
    any_shop: Shop, local_provider: LocalProvider
) -> None:
    any_shop.leave(ROWS, sample=TEN)
    hold(any_shop)
    assert state_of(any_shop, 1) is SampleState.WAITING
    assert samples.get(any_shop.ledger, 2) is None
    assert bought(local_provider) == 10
