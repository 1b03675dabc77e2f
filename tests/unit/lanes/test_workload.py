"""Workloads that make no sense are refused where they are declared."""

from datetime import datetime, timedelta

import pytest

from offpeak.errors import DefinitionError
from offpeak.lanes.workload import Waiting, Workload


@pytest.mark.parametrize("deadline", [timedelta(0), timedelta(hours=-1), 12, datetime(2026, 11, 22, 9, 0)])  # noqa: DTZ001
def test_a_deadline_that_is_not_a_positive_duration_is_refused_naming_the_field(deadline: object) -> None:
    with pytest.raises(DefinitionError, match="deadline="):
        Workload(waiting=Waiting.NOBODY, deadline=deadline)  # type: ignore[arg-type]


def test_waiting_is_one_of_the_enum_and_the_message_lists_it() -> None:
    with pytest.raises(DefinitionError, match=r"Waiting\.NOBODY, Waiting\.WALKED_AWAY"):
        Workload(waiting="soon", deadline=timedelta(hours=1))  # type: ignore[arg-type]


def test_watched_work_is_refused_with_a_remedy() -> None:
    watched = Workload(waiting=Waiting.WATCHING, deadline=timedelta(minutes=1))
    with pytest.raises(DefinitionError, match=r"^chat_reply: .*WALKED_AWAY if minutes are fine"):
        watched.refuse_watched("chat_reply")
