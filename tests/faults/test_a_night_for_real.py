"""One night on a scale of seconds, through Dagster's daemon and the local provider, judged by the provider's tally.

An hour is fifteen seconds. Batches take as long as a lognormal with a median of 2.5 hours and sigma 0.8 says; one in
fifty never ends, and one of those that are cancelled completes instead. What is due by the deadline is there by then,
and nothing is bought twice.

The lane is forced, so only what a rescue still had room for when it was planned is promised in time; what is planned
later goes on, late, and its run's log says so. A deadline counts from the creation of a run, which plans its four
assets one after the other, and is slow on a busy machine. So the deadline leaves 100 s for planning, and a job that
came later than that is judged by everything but its deadline. The job's own word is not enough: by the clock there has
to have been no room, and no more than two of the eight may have come so late.
"""

import random
from collections.abc import Iterator
from datetime import timedelta
from math import log
from pathlib import Path

import pytest
import sqlalchemy as sa

from offpeak.ledger import tables
from offpeak.ledger.deadline import OnDeadline
from offpeak.ledger.jobs import JobRow
from offpeak.ledger.states import JobState
from offpeak.results.store import ResultStore

from ..conftest import LocalProvider
from ..parked.deployment import Deployment, deployed

pytestmark = pytest.mark.slow

DEFINITIONS = Path(__file__).parent.parent / "parked" / "night" / "definitions.py"
ASSETS = [f"night_{number}" for number in range(1, 9)]
BATCHES, PER_BATCH = 8, 5
ROWS = BATCHES * PER_BATCH
HOUR = 15.0
"""Seconds of the night that stand for one."""
SIGMA, MEDIAN = 0.8, 2.5 * HOUR
NEVER_END = (11, 40)
"""By the number of their create."""
BEATS_CANCEL = 23
NEEDED = timedelta(seconds=75)
"""By a rescue of a whole job: a margin of 42 s, 24 for cancelling, 5 for its calls, and some over."""
TOO_LATE = 2
"""Jobs that may be planned when less than that is left: the last one of each run, on a busy machine."""
LIMIT = 600
"""Calls a minute: a job's whole rescue takes four seconds, that of all of them half a minute."""


@pytest.fixture
def deployment(tmp_path: Path, local_provider_server: LocalProvider) -> Iterator[Deployment]:
    with deployed(tmp_path / "deployment", local_provider_server, definitions=DEFINITIONS) as found:
        yield found


def test_a_night_makes_its_deadline_at_about_half_the_price_and_buys_nothing_twice(deployment: Deployment) -> None:
    provider = deployment.provider
    provider.settings(openai_requests_per_minute=LIMIT, rate_limit_burst_seconds=1.0)
    deployment.wait_until_landed(deployment.launch("asked_before", offpeak__wait="run"))
    draw = random.Random(7)
    for create in range(1, len(ASSETS) * BATCHES + 1):
        match = {"provider": "openai", "nth_create": create}
        provider.fault("latency", match=match, seconds=draw.lognormvariate(log(MEDIAN), SIGMA))
        if create in NEVER_END:
            provider.fault("never_end", match=match)
        if create == BEATS_CANCEL:
            provider.fault("never_end", match=match, share=0.4)
            provider.fault("beats_cancel", match=match)

    with deployment.evidence():
        origins = [deployment.launch(*ASSETS[:4]), deployment.launch(*ASSETS[4:])]
        for origin in origins:
            deployment.wait_until_landed(origin)
        judge(deployment)


def judge(deployment: Deployment) -> None:
    provider = deployment.provider
    jobs: list[JobRow] = [job for asset in ASSETS for job in deployment.jobs(asset)]
    assert [job.state for job in jobs] == [JobState.COMPLETED] * len(ASSETS)
    in_time = [job for job in jobs if job.on_deadline is OnDeadline.RESCUE]
    left = {job.asset: job.deadline_at - job.created_at for job in jobs if job not in in_time}
    assert all(each <= NEEDED for each in left.values()), f"not rescued although there was room: {left} were left"
    assert len(left) <= TOO_LATE, f"this machine is too slow for this night: {left} were left"
    for job in jobs:
        told = f"{job.asset}: it is not rescued" in deployment.messages(job.run_id)
        assert told == (job.asset in left), f"the log of run {job.run_id} does not say what becomes of {job.asset}"
    late = {
        job.asset: job.closed_at - job.deadline_at
        for job in in_time
        if job.closed_at and job.closed_at > job.deadline_at
    }
    assert not late, f"deadlines were missed by {late}"

    answered = deployment.sold("gpt-5-mini")
    assert len(answered) == ROWS * len(ASSETS) + 10
    assert set(answered) == {1}, "an answer was bought twice"

    store = ResultStore(deployment.ledger)
    frames = [store.frame(asset, partitions=None, output=None) for asset in ASSETS]
    assert [len(frame) for frame in frames] == [ROWS] * len(ASSETS)
    rescued = sum(int(frame["rescued"].sum()) for frame in frames)
    tally = provider.tally("openai")
    assert tally["realtime_answers"] == rescued + 10
    assert 10 <= rescued <= ROWS * len(ASSETS) // 2, f"{rescued} were rescued"

    given_up, completed = outcomes(deployment)
    assert len([each for each in given_up if each == "completed"]) >= 1, "no batch completed while it was cancelled"
    assert "cancelled" in given_up
    assert set(completed) == {"completed"}
    assert provider.fired()["beats_cancel"] == 1
    spare = min(job.deadline_at - job.closed_at for job in in_time if job.closed_at is not None)
    price = sum(frame["cost_usd"].sum() for frame in frames) / (realtime(deployment))
    print(
        f"{rescued} of {ROWS * len(ASSETS)} rows rescued at {price:.3f} of the realtime price, "
        f"{spare / timedelta(seconds=1):.0f} s before the deadline at the least; planned too late for a rescue: "
        f"{', '.join(left) or 'none'}"
    )


def outcomes(deployment: Deployment) -> tuple[list[str], list[str]]:
    """What became of the batches that were given up, and of the others."""
    chunk, submission = tables.chunk, tables.submission
    query = (
        sa.select(chunk.c.rescue_at, submission.c.outcome)
        .join(submission, submission.c.chunk_id == chunk.c.id)
        .where(submission.c.batch_id.is_not(None))
    )
    with deployment.ledger.database.read() as connection:
        rows = connection.execute(query).all()
    given_up = [str(row.outcome) for row in rows if row.rescue_at is not None]
    return given_up, [str(row.outcome) for row in rows if row.rescue_at is None]


def realtime(deployment: Deployment) -> float:
    """What all rows of the night would have cost at realtime price, in dollars."""
    answer, wanted, target = tables.answer, tables.wanted, tables.target
    query = (
        sa.select(sa.func.sum(answer.c.realtime_pico))
        .join(wanted, wanted.c.request_id == answer.c.request_id)
        .join(target, target.c.id == wanted.c.target_id)
        .where(target.c.asset.in_(ASSETS))
    )
    with deployment.ledger.database.read() as connection:
        return float(connection.execute(query).scalar_one()) * 1e-12
