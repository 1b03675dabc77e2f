"""The lane of a job: decided when its plan has been read, and written down with its arithmetic."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from offpeak.lanes.landing import landing
from offpeak.lanes.rule import Due, Forced
from offpeak.lanes.workload import Waiting
from offpeak.ledger import jobs, limits_seen, tables
from offpeak.ledger.deadline import OnDeadline
from offpeak.ledger.jobs import JobRow
from offpeak.ledger.lane import Lane
from offpeak.providers.realtime import Measure

from ...conftest import Shop, tickets

H, MIN = timedelta(hours=1), timedelta(minutes=1)
DAY = "no tighter than the provider's window of 24 h"


def planned(shop: Shop, count: int = 3, **more: Any) -> JobRow:
    (job,) = jobs.listed(shop.ledger, ids=[shop.begin(tickets(count), **{"forced": None, "deadline": 24 * H, **more})])
    return job


def test_the_job_says_its_lane_and_the_arithmetic(any_shop: Shop) -> None:
    job = planned(any_shop)
    assert (job.lane, job.reason) == ("batch", f"nobody watches, due in 24 h: {DAY}")


def test_the_lane_is_that_of_the_chunks_which_are_sent(any_shop: Shop) -> None:
    job = planned(any_shop, waiting=Waiting.WALKED_AWAY, deadline=H)
    with any_shop.ledger.database.read() as connection:
        lanes = connection.execute(sa.select(tables.chunk.c.lane)).scalars().all()
    assert (job.lane, lanes) == ("background", ["background"])


def test_the_deadline_that_leaves_the_least_room_decides(any_shop: Shop) -> None:
    dues = [Due(deadline=30 * H), Due(deadline=40 * H, steps=2, of="summaries")]
    job = planned(any_shop, dues=dues, on_deadline=OnDeadline.FAIL)
    assert job.lane == "background"
    assert job.reason == "nobody watches, due in 40 h with summaries: tighter than 2 batches in a row, 2 x 24 h = 48 h"


def test_a_saving_below_the_set_amount_is_not_waited_for(any_shop: Shop) -> None:
    job = planned(any_shop, smallest_saving=Decimal(1), one_off=True)
    assert job.lane == "background"
    assert (job.reason or "").startswith("a one-off job: about $0.0")
    assert planned(any_shop, 4, smallest_saving=Decimal("0.000001")).lane == "batch"


def test_what_past_batches_took_makes_room_for_a_rescue_and_for_no_job_that_is_to_fail(any_shop: Shop) -> None:
    for start in range(6):
        any_shop.buy(tickets(1, start=start))  # each of a moment
    rescued = planned(any_shop, 20, deadline=2 * H)
    failing = planned(any_shop, 20, deadline=2 * H, on_deadline=OnDeadline.FAIL)
    assert (rescued.lane, failing.lane) == ("batch", "background")
    assert re.search(r"the slow tail of 6 past batches needs and 40 min( \d+ s)? for a rescue$", rescued.reason or "")
    assert failing.reason == "nobody watches, due in 2 h: tighter than the provider's window of 24 h"


@pytest.mark.parametrize("left", [30 * MIN, 0 * MIN])
def test_a_run_that_began_too_late_for_a_rescue_does_not_leave_it_to_a_batch_that_nobody_would_give_up(
    any_shop: Shop, left: timedelta
) -> None:
    for start in range(6):
        any_shop.buy(tickets(1, start=start))  # each of a moment
    due = [Due(deadline=left + H)]  # when the run was created, an hour ago; that is what the lane goes by
    in_time = planned(any_shop, 20, deadline=50 * MIN, dues=due)
    late = planned(any_shop, 40, deadline=left, dues=due)
    forced = planned(any_shop, 60, deadline=left, dues=due, forced=Forced(lane=Lane.BATCH, by="the asset's lane="))
    assert [(each.lane, each.on_deadline) for each in (in_time, late, forced)] == [
        ("batch", OnDeadline.RESCUE),
        ("background", OnDeadline.RESCUE),
        ("batch", None),
    ]
    said = (
        r"due in 1 h( 30 min)?: its run began late, (30 min|0 s) are left before its deadline, and a rescue needs 4\d"
    )
    assert re.search(said, late.reason or "")


def test_a_forced_batch_without_time_for_a_rescue_has_none(any_shop: Shop) -> None:
    forced = Forced(lane=Lane.BATCH, by="the asset's lane=")
    hopeless = any_shop.begin(tickets(3), forced=forced, deadline=H / 2)
    in_time = any_shop.begin(tickets(3), forced=forced, deadline=2 * H)
    assert jobs.deadline_of(any_shop.ledger, hopeless).on_deadline is None
    assert jobs.deadline_of(any_shop.ledger, in_time).on_deadline is OnDeadline.RESCUE


def test_a_job_that_cannot_be_called_before_its_deadline_is_not_rescued_and_its_log_says_so(
    any_shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    limits_seen.remember(
        any_shop.ledger, realm=any_shop.provider.realm, model="gpt-5-mini", limits={Measure.REQUESTS: 1.0}
    )
    small, large = planned(any_shop, 500, deadline=12 * H), planned(any_shop, 700, deadline=12 * H, asset="others")
    assert (small.on_deadline, large.on_deadline) == (OnDeadline.RESCUE, None)
    assert (small.lane, large.lane) == ("batch", "batch")
    (said,) = [each for each in caplog.messages if "is not rescued" in each]
    assert said.startswith("others: it is not rescued if its batches are late. It is due in 12 h, and a rescue of all")


def test_where_nothing_is_bought_the_reason_says_so(any_shop: Shop) -> None:
    any_shop.buy(tickets(3))
    job = planned(any_shop, waiting=Waiting.WALKED_AWAY, deadline=H)
    assert (job.lane, job.reason) == ("batch", "nothing is bought: every row has its answer")


def test_a_receipt_tells_the_lane_and_why(any_shop: Shop) -> None:
    forced = Forced(lane=Lane.BATCH, by="the asset's lane=")
    receipt = any_shop.buy(tickets(3), forced=forced, deadline=12 * H, on_deadline=OnDeadline.FAIL)
    assert receipt.lane == "batch"
    assert receipt.lane_reason == (
        "forced by the asset's lane=; the rule would have said background: nobody watches, due in 12 h: tighter than "
        "the provider's window of 24 h"
    )


def test_a_quote_goes_by_the_rate_that_the_provider_was_last_seen_to_allow(any_shop: Shop) -> None:
    away: dict[str, Any] = {"waiting": Waiting.WALKED_AWAY, "deadline": H, "forced": None}
    assumed = any_shop.quote(tickets(120), **away)
    with any_shop.ledger.database.write() as connection:
        seen = {"realm": any_shop.provider.realm, "model": "gpt-5-mini", "requests_per_minute": 30}
        connection.execute(tables.queue.insert().values(seen))
    known = any_shop.quote(tickets(120), **away)

    assert assumed.lands_by_why == "120 requests at 50 a minute, assumed"
    assert known.lands_by_why == "120 requests at 30 a minute, as last seen"
    assert known.lands_by - assumed.lands_by > timedelta(seconds=30)
    assert (known.lane, known.estimated_cost) == (Lane.BACKGROUND, known.estimated_realtime_cost)
    assert (known.other_lane, known.other_lands_by_why) == (Lane.BATCH, "the provider's window of 24 h")


def test_a_landing_is_rounded_up_to_minutes_and_nothing_lands_at_once() -> None:
    assert landing(Lane.BACKGROUND, requests=101, per_minute=100).within == timedelta(minutes=2)
    assert landing(Lane.BACKGROUND, requests=0, per_minute=None).within == timedelta(0)
    assert landing(Lane.BATCH, requests=1, per_minute=100).within == timedelta(hours=24)
    assert landing(Lane.BATCH, requests=1, per_minute=100, window=timedelta(hours=2)).within == timedelta(hours=2)
