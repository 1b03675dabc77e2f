"""Daemon, webserver and code server go away and come back while jobs are parked: nothing is lost or done twice."""

from collections.abc import Iterator

import dagster as dg
import pytest

from ..conftest import LocalProvider
from ..parked.deployment import Deployment, deployed
from ..parked.scenarios import MONTHS, ROWS, first_run, lands

pytestmark = pytest.mark.slow

NEW = "came_with_the_redeployment"
MORE = f"""
@dg.asset
def {NEW}() -> None: ...

"""
WHERE, AMONG = "defs = with_offpeak(", "        assets=[\n"


@pytest.fixture
def deployment(tmp_path_factory: pytest.TempPathFactory, local_provider_server: LocalProvider) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("deployment"), local_provider_server) as found:
        yield found


class Parked:
    """A plain run, a diamond and a backfill, all parked."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        for model in ("gpt-5-mini", "gpt-5-nano", "claude-haiku-4-5", "claude-haiku-5-5"):
            deployment.hold(model)
        self.backfill = deployment.backfill(
            "monthly_tickets", "monthly_labels", "monthly_report", "year_report", partitions=MONTHS
        )
        self.plain = deployment.launch("ticket_labels", "support_dashboard")
        self.diamond = deployment.launch("left_labels", "right_labels", "joined_view")
        self._origins = [self.plain, self.diamond, first_run(deployment, self.backfill).run_id]
        for origin in self._origins:
            deployment.wait_until_submitted(origin)
        self.runs = [deployment.wait_until_parked(origin).run_id for origin in self._origins]
        deployment.until(lambda: not any(deployment.workers(origin) for origin in self._origins), what="Quiet")

    def stay(self) -> None:
        """The same runs hold the same places after the lifecycle sensor has looked again, and no batch was touched."""
        self._deployment.wait_for_ticks()
        for origin, run_id in zip(self._origins, self.runs, strict=True):
            run = self._deployment.run(run_id)
            assert (run.status, run.tags["offpeak/hold"]) == (dg.DagsterRunStatus.QUEUED, "waiting")
            assert self._deployment.parked(origin) == run
            assert not self._deployment.workers(run_id)
        assert [batch["outcome"] for batch in self._deployment.provider.batches()] == [None] * 4

    def heal(self) -> None:
        for asset in ("ticket_labels", "left_labels", "right_labels", "monthly_labels"):
            self._deployment.heal(asset)

    def land(self) -> None:
        """Everything that was asked for landed once and was bought once."""
        deployment = self._deployment
        lands(deployment, self.plain, self.runs[0])
        deployment.wait_until_landed(self.diamond)
        deployment.wait_until_backfilled(self.backfill)
        for asset in ("left_labels", "right_labels", "joined_view", "year_report"):
            assert len(deployment.landed(asset)) == 1, asset
        for asset in ("monthly_tickets", "monthly_labels", "monthly_report"):
            assert sorted(str(each.partition) for each in deployment.landed(asset)) == MONTHS
        assert deployment.sold("gpt-5-nano") == deployment.sold("claude-haiku-4-5") == [1] * ROWS
        assert deployment.sold("gpt-5-mini") == [1] * 36
        assert len(deployment.provider.batches()) == 4
        assert {run.status for run in deployment.runs()} == {dg.DagsterRunStatus.SUCCESS}


def test_processes_may_be_killed_redeployed_and_away_while_jobs_are_parked(deployment: Deployment) -> None:
    with deployment.evidence():
        parked = Parked(deployment)
        for program in deployment.programs:
            program.kill()
            deployment.start(program)
            parked.stay()

        definitions = deployment.project / "definitions.py"
        definitions.write_text(with_one_more_asset(definitions.read_text()))
        for program in deployment.programs:
            program.stop()
        deployment.start()
        parked.stay()

        for program in deployment.programs:
            program.kill()
        parked.heal()
        deployment.until(
            lambda: all(batch["outcome"] == "completed" for batch in deployment.provider.batches()),
            what="The end of the batches",
        )
        deployment.start()
        parked.land()
        deployment.wait_until_landed(deployment.launch(NEW))


def with_one_more_asset(definitions: str) -> str:
    return definitions.replace(WHERE, MORE + WHERE, 1).replace(AMONG, f"{AMONG}            {NEW},\n", 1)
