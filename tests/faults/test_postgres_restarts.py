"""Postgres goes down for a moment under a whole deployment, which keeps its runs and its ledger there."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.embedded_postgres import EmbeddedPostgres

from ..conftest import LocalProvider, fleeting_postgres, postgres_or_skip
from ..parked.deployment import Deployment, deployed
from ..parked.scenarios import ROWS

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    made = fleeting_postgres(tmp_path / "postgres")
    with postgres_or_skip(made):
        yield made


@pytest.fixture
def deployment(
    tmp_path_factory: pytest.TempPathFactory, local_provider_server: LocalProvider, server: EmbeddedPostgres
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    with deployed(folder, local_provider_server, postgres=server.url) as found:
        yield found


def test_a_waiting_run_and_a_parked_one_outlive_a_restart_of_postgres(
    deployment: Deployment, server: EmbeddedPostgres
) -> None:
    with deployment.evidence():
        deployment.hold("gpt-5-nano")
        deployment.hold("claude-haiku-5-5")
        waiting = deployment.launch("left_labels", offpeak__wait="run")
        parked_origin = deployment.launch("ticket_labels")
        parked = deployment.wait_until_parked(parked_origin)
        deployment.wait_until_submitted(parked_origin)  # Dagster's own end of that run is not what is looked at
        deployment.until(lambda: deployment.batches("left_labels"), what="The batch of the run that waits in place")

        for _ in range(2):
            server.stop(signal.SIGQUIT)
            server.start()
            deployment.wait_for_ticks(1)

        deployment.heal("left_labels")
        deployment.heal("ticket_labels")
        deployment.wait_until_submitted(waiting)
        deployment.wait_until_landed(parked_origin)
        assert deployment.run(parked.run_id).is_success
        assert deployment.sold("gpt-5-nano") == [1] * ROWS
        for asset in ("left_labels", "ticket_labels"):
            assert len(deployment.landed(asset)) == 1
