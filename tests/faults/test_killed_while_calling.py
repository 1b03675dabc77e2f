"""Killed in the middle of thousands of calls: at most those in flight are called again, and each of them is counted."""

from collections.abc import Iterator

import pytest

from ..conftest import LocalProvider, Place, tickets, until
from ..promises.conftest import DIED, Forge, running
from ..promises.matrix import judge_called

ROWS = tickets(5_000)
IN_FLIGHT = 100


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    """Starts purchases in processes of their own."""
    with running("buyer", tmp_path_factory.mktemp("purchases")) as program:
        yield Forge(program)


@pytest.mark.parametrize(("provider", "where"), [("openai", "place"), ("anthropic", "postgres_place")])
def test_five_thousand_requests_are_called_within_the_limit_through_kills(
    forge: Forge, local_provider: LocalProvider, request: pytest.FixtureRequest, provider: str, where: str
) -> None:
    place: Place = request.getfixturevalue(where)
    local_provider.settings(
        realtime_latency_seconds=0.2,
        rate_limit_burst_seconds=1,
        **{f"{provider}_requests_per_minute": 15_000},
    )
    for answered in (600, 2_400):
        dying = forge.start(place, local_provider, provider, **JOB)
        until(
            lambda enough=answered: local_provider.tally(provider)["realtime_answers"] >= enough,
            seconds=120,
            what="the middle of the calls",
        )
        dying.kill()
        assert dying.wait() == DIED

    receipt = forge.start(place, local_provider, provider, **JOB).receipt()

    assert (receipt["rows"], receipt["failed"]) == (len(ROWS), 0)
    judge_called(place, local_provider, provider, receipt, in_flight=2 * IN_FLIGHT)
    tally = local_provider.tally(provider)
    assert tally["realtime_refused"] <= len(ROWS) // 100
    assert tally["realtime_most_in_flight"] <= IN_FLIGHT


JOB = {"rows": ROWS, "lane": "background", "pace": 0.5}
