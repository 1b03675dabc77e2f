"""Parked runs where Dagster's storage and the ledger are SQLite files: what `make test` leaves out of them."""

from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from ..conftest import LocalProvider
from ..parked.deployment import Deployment, deployed
from ..parked.scenarios import QUICK, SCENARIOS, Scenario, carried_out

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, local_provider_server: LocalProvider) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("deployment"), local_provider_server) as found:
        yield found


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, deployment: Deployment) -> Iterator[dict[Scenario, Future[None]]]:
    with carried_out(request, deployment) as found:
        yield found


@pytest.mark.parametrize(
    "scenario", [each for each in SCENARIOS if each not in QUICK], ids=lambda scenario: scenario.__name__
)
def test_parked_run(scenario: Scenario, outcomes: dict[Scenario, Future[None]]) -> None:
    outcomes[scenario].result()
