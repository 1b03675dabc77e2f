"""A process is killed at every point of the product's, at both providers and on both databases.

Runs that wait in place are children that never import Dagster. Runs that are parked are killed twice each, once while
they submit and once while they collect, in a dozen that has every point at both providers and on both databases.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from offpeak.faultpoints import FaultPoint
from offpeak.ledger.states import OPEN_JOBS

from ..conftest import LocalProvider, Place
from ..dagster.code_location import make_home
from ..dagster.parked_assets import let_end, sold
from ..promises import rederiving
from ..promises.conftest import Forge, Program, forging, running
from ..promises.matrix import POINTS, kill_and_go_on, kill_and_stop
from ..promises.parked_scene import opened
from ..promises.parker import ROWS

P = FaultPoint
SUBMITTING = (P.JOB_BEGUN, P.ROWS_WANTED, P.CLAIMED, P.UPLOADED, P.CREATED, P.CREATE_RECORDED)
"""Not the moment before the create: whoever goes on waits for minutes then, until the list would have shown it."""
COLLECTING = (P.RESULTS_PUBLISHED, P.LANDED, P.LINES_STORED, P.APPLIED, P.BURIED, P.JOB_CLOSED)
ASSETS = ("left", "right")
"""Bought at OpenAI, and at Anthropic."""
PLACES = ("place", "postgres_place")


@pytest.fixture(scope="session")
def forge(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, local_provider_server: LocalProvider
) -> Iterator[Forge]:
    """Starts purchases in processes of their own."""
    with forging(request, tmp_path_factory.mktemp("purchases"), local_provider_server) as found:
        yield found


@pytest.fixture(scope="module")
def parker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Begins runs, in processes of their own."""
    with running("parker", tmp_path_factory.mktemp("parkers")) as program:
        yield program


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("dagster-home"))


@pytest.mark.parametrize("point", POINTS)
def test_a_purchase_killed_at_any_point_is_bought_once(
    forge: Forge, any_place: Place, local_provider: LocalProvider, provider_name: str, point: FaultPoint
) -> None:
    kill_and_go_on(forge, any_place, local_provider, provider_name, point)


# Anthropic tells whose a batch is by its results alone: one whose id was lost may not be cancelled before it has ended.
STOPPABLE = [("openai", point) for point in (*SUBMITTING, P.CREATE_INTENDED)]
STOPPABLE += [("anthropic", point) for point in (*SUBMITTING, P.CREATE_INTENDED) if point is not P.CREATED]


@pytest.mark.parametrize(("provider", "point"), STOPPABLE)
def test_a_purchase_killed_at_any_point_and_then_stopped_leaves_nothing_open(
    forge: Forge, any_place: Place, local_provider: LocalProvider, provider: str, point: FaultPoint
) -> None:
    kill_and_stop(forge, any_place, local_provider, provider, point)


def dozen() -> list[tuple[FaultPoint, FaultPoint, str, str]]:
    """Each point of submitting and of collecting twice: at the other provider, and on the other database.

    But a lost id is told by Anthropic only when the batch has ended: a run that finds it has nothing to be parked for.
    """
    found = []
    for number in range(12):
        turn, half = number % 6, number // 6
        submitting, collecting = SUBMITTING[turn], COLLECTING[(turn + half) % 6]
        asset = ASSETS[0] if submitting is P.CREATED else ASSETS[(turn + half) % 2]
        found.append((submitting, collecting, asset, PLACES[(turn // 2 + half) % 2]))
    return found


@pytest.mark.parametrize(("submitting", "collecting", "asset", "where"), dozen())
def test_a_parked_run_killed_while_it_submits_and_while_it_collects_is_bought_once(
    submitting: FaultPoint,
    collecting: FaultPoint,
    asset: str,
    where: str,
    tmp_path: Path,
    empty_home: Path,
    parker: Program,
    local_provider: LocalProvider,
    request: pytest.FixtureRequest,
) -> None:
    place: Any = request.getfixturevalue(where)
    with opened(tmp_path, empty_home, place, parker, local_provider) as scene:
        here = scene.here
        local_provider.fault("never_end", times=None)
        here.instance.report_run_failed(scene.killed(submitting.value, 1, asset))
        again = here.run(asset)
        assert again.status is dg.DagsterRunStatus.SUCCESS, here.messages(again)
        parked = here.parked()
        let_end(local_provider)
        here.tick()
        assert here.held() == [], "the sensor did not release it"
        here.instance.report_run_failed(scene.kill(parked, collecting.value, 1))
        here.turn()

        last = here.run(asset)
        assert last.status is dg.DagsterRunStatus.SUCCESS, here.messages(last)
        scene.settle()
        assert len(here.made(asset)) == 1
        assert sold(local_provider) == [1] * ROWS
        assert {job.state for job in here.jobs()} & OPEN_JOBS == set()
        assert all(batch["outcome"] for batch in local_provider.batches())
        rederiving.check(here.ledger)
