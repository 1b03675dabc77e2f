"""Parked runs where Dagster's storage and the ledger are on Postgres."""

from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from ..conftest import LocalProvider
from ..parked.deployment import Deployment, deployed
from ..parked.scenarios import SCENARIOS, Scenario, a_parked_run_holds_the_place_and_no_process, carried_out

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deployment(
    tmp_path_factory: pytest.TempPathFactory, local_provider_server: LocalProvider, postgres: str
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    with deployed(folder, local_provider_server, postgres=postgres) as found:
        yield found


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, deployment: Deployment) -> Iterator[dict[Scenario, Future[None]]]:
    with carried_out(request, deployment) as found:
        yield found


@pytest.mark.parametrize(
    "scenario",
    [*SCENARIOS, a_parked_run_holds_the_place_and_no_process],
    ids=lambda scenario: scenario.__name__,
)
def test_parked_run(scenario: Scenario, outcomes: dict[Scenario, Future[None]]) -> None:
    outcomes[scenario].result()
