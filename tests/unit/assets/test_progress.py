"""How far a job is, in the words that stand on its parked run."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from offpeak.assets.progress import called, progress_of, same_step
from offpeak.ledger.lane import Lane
from offpeak.ledger.sightings import OpenChunk
from offpeak.ledger.states import ChunkState, SubmissionState
from offpeak.providers.base import BatchState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OUT = OpenChunk(
    job_id=1,
    chunk_id=1,
    realm="openai",
    requests=100,
    chunk_state=ChunkState.OPEN,
    submission_id=1,
    state=SubmissionState.CREATED,
    batch_id="batch_1",
    created_at=NOW,
    create_at=NOW,
    submitted_at=NOW,
    seen_state=None,
    finished=0,
    progress_at=None,
    cancel_at=None,
    ready_at=None,
)
APPLIED = replace(OUT, chunk_state=ChunkState.APPLIED, state=SubmissionState.APPLIED, finished=100)
ENDED = replace(OUT, seen_state=BatchState.EXPIRED, finished=40)
CALLING = replace(OUT, lane=Lane.BACKGROUND, state=SubmissionState.CALLING, batch_id=None, finished=40)
CALLED = replace(CALLING, chunk_state=ChunkState.APPLIED, state=SubmissionState.APPLIED, finished=100)
TO_BE_CALLED = replace(
    OUT, lane=Lane.BACKGROUND, chunk_state=ChunkState.QUEUED, submission_id=None, state=None, batch_id=None
)
QUEUED = replace(OUT, chunk_state=ChunkState.QUEUED, submission_id=None, state=None, batch_id=None)


@pytest.mark.parametrize(
    ("chunks", "said"),
    [
        ([OUT], "0%: 0 of 100 requests"),
        ([replace(OUT, finished=4)], "0%: 4 of 100 requests"),
        ([replace(OUT, finished=5)], "5%: 5 of 100 requests"),
        ([replace(OUT, finished=99)], "95%: 99 of 100 requests"),
        ([replace(OUT, requests=20_000, finished=10_500)], "50%: 10,500 of 20,000 requests"),
        ([ENDED], "100%: 100 of 100 requests"),
        ([APPLIED, OUT], "50%: 100 of 200 requests, 1 of 2 batches landed"),
        ([APPLIED, ENDED, OUT, OUT], "50%: 200 of 400 requests, 2 of 4 batches landed"),
        ([QUEUED], "0%: 0 of 100 requests, 1 not at the provider yet"),
        (
            [APPLIED, replace(OUT, state=SubmissionState.CREATING), QUEUED],
            "30%: 100 of 300 requests, 1 of 3 batches landed, 2 not at the provider yet",
        ),
        ([], "0%: 0 of 0 requests"),
        ([CALLING], "40%: 40 of 100 requests, 60 still to be called"),
        ([CALLED, OUT], "50%: 100 of 200 requests"),
        (
            [TO_BE_CALLED, APPLIED, OUT],
            "30%: 100 of 300 requests, 1 of 2 batches landed, 100 still to be called",
        ),
        ([CALLED, replace(QUEUED, held_by=1)], "50%: 100 of 200 requests, 100 held until a sample is released"),
    ],
)
def test_progress_is_told_in_steps_with_counts_of_requests_and_batches(chunks: list[OpenChunk], said: str) -> None:
    assert progress_of(chunks) == said


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ("35%: 105 of 300 requests", "35%: 118 of 300 requests", True),
        ("35%: 105 of 300 requests", "40%: 120 of 300 requests", False),
        ("5%: 5 of 100 requests", "50%: 50 of 100 requests", False),
        (None, "0%: 0 of 300 requests", False),
    ],
)
def test_only_another_step_is_worth_writing(before: str | None, now: str, same: bool) -> None:
    assert same_step(before, now) is same


def test_calls_are_told_by_their_asset() -> None:
    assert called("labels", 107, 300) == "35%: 107 of 300 requests of labels are called"
    assert same_step(called("labels", 107, 300), called("labels", 110, 300))
