"""What is asked for somebody who got a short answer and walked away."""

import pandas as pd

from ai_assets.follow_ups import INSTRUCTIONS, follow_up_results
from offpeak import Chat, Waiting
from offpeak.assets.declaration import declaration_of

REQUESTS = pd.DataFrame(
    {
        "request_id": ["F-1", "F-2"],
        "user_id": ["U-7", "U-8"],
        "question": ["Why was I charged twice?", "Why was I charged twice?"],
        "answered_in_real_time": ["One of both is a reservation.", None],
        "asked_at": ["2026-11-20T08:00:00Z", "2026-11-20T09:00:00Z"],
    },
    dtype=object,
)


def test_the_question_is_asked_with_the_answer_that_was_given() -> None:
    first, second = follow_up_results.plan(REQUESTS)
    assert first == Chat(
        key="F-1",
        system=INSTRUCTIONS,
        prompt="Question: Why was I charged twice?\n\nShort answer: One of both is a reservation.",
        scope="user:U-7",
        max_tokens=1_000,
    )
    assert isinstance(second, Chat)
    assert (second.prompt or "").endswith("Short answer: none")


def test_when_it_was_asked_buys_nothing_anew() -> None:
    assert follow_up_results.plan(REQUESTS.assign(asked_at="later")) == follow_up_results.plan(REQUESTS)


def test_somebody_walked_away_and_nobody_watches() -> None:
    assert declaration_of(follow_up_results).workload.waiting is Waiting.WALKED_AWAY
