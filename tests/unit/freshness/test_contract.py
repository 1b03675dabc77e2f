"""A contract that cannot be meant is refused where it is written."""

from datetime import UTC, datetime, timedelta

import pytest

from offpeak.errors import DefinitionError
from offpeak.freshness.contract import FreshnessContract

NAIVE = datetime(2026, 11, 22, 9, 0)  # noqa: DTZ001 - somebody means "until nine o'clock"


@pytest.mark.parametrize(
    "valid_for", [timedelta(0), timedelta(hours=-1), timedelta(seconds=59), 37, None, NAIVE, timedelta.max]
)
def test_valid_for_is_at_least_a_minute_and_named_when_it_is_not(valid_for: object) -> None:
    with pytest.raises(DefinitionError, match="valid_for="):
        FreshnessContract(valid_for=valid_for)  # type: ignore[arg-type]


@pytest.mark.parametrize("warn_after", [timedelta(0), timedelta(hours=-1), timedelta(seconds=59), 25, NAIVE])
def test_warn_after_is_at_least_a_minute_and_named_when_it_is_not(warn_after: object) -> None:
    with pytest.raises(DefinitionError, match="warn_after="):
        FreshnessContract(valid_for=timedelta(hours=37), warn_after=warn_after)  # type: ignore[arg-type]


def test_a_warning_after_the_promise_is_broken_is_refused() -> None:
    with pytest.raises(DefinitionError, match="warn_after"):
        FreshnessContract(valid_for=timedelta(hours=2), warn_after=timedelta(hours=2))


def test_rows_are_good_from_their_as_of_on() -> None:
    as_of = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    assert FreshnessContract(valid_for=timedelta(hours=37)).effective_until(as_of) == as_of + timedelta(hours=37)
