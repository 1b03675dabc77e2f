"""A process may be killed anywhere while it parks: nothing is bought twice, waits for ever or is left over.

Each run is carried out by a process of its own; the sensor and the queue are the test's, as after a restart.
"""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent

from offpeak.ledger.states import OPEN_JOBS, ParkedState

from ..conftest import LocalProvider, Place
from ..dagster.code_location import make_home, names
from ..dagster.parked_assets import hold, let_end, sold
from .conftest import Program, running
from .parked_scene import ASSETS, Scene, opened
from .parker import ROWS


@pytest.fixture(scope="module")
def parker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Begins runs, in processes of their own."""
    with running("parker", tmp_path_factory.mktemp("parkers")) as program:
        yield program


@pytest.fixture(scope="module")
def _empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("dagster-home"))


@pytest.fixture
def scene(
    tmp_path: Path, _empty_home: Path, place: Place, parker: Program, local_provider: LocalProvider
) -> Iterator[Scene]:
    with opened(tmp_path, _empty_home, place, parker, local_provider) as found:
        yield found


def test_runs_killed_again_and_again_on_their_way_to_being_parked_are_bought_once(scene: Scene) -> None:
    here = scene.here
    hold(scene.local_provider)
    for point in ("planned", "submitted", "written down", "created", "queued", "held", "parked"):
        run = scene.killed(point, 1)
        here.instance.report_run_failed(run)  # as the code server does when it misses the process
        here.turn()
    again = here.run(*ASSETS)
    assert again.status is dg.DagsterRunStatus.SUCCESS, here.messages(again)
    scene.settle()
    assert all(here.made(asset) for asset in ASSETS)
    assert sold(scene.local_provider) == [1] * 2 * ROWS
    assert {job.state for job in here.jobs()} & OPEN_JOBS == set()


@pytest.mark.parametrize(("point", "time"), [("created", 2), ("queued", 2), ("held", 2), ("deleted", 1)])
def test_a_run_killed_while_its_second_step_parks_is_brought_in_order_and_bought_once(
    scene: Scene, point: str, time: int
) -> None:
    here = scene.here
    run = scene.killed(point, time)
    here.instance.report_run_failed(run)
    scene.settle()

    again = here.run(*ASSETS)
    assert again.status is dg.DagsterRunStatus.SUCCESS, here.messages(again)
    scene.settle()
    assert all(here.made(asset) for asset in ASSETS)
    assert sold(scene.local_provider) == [1] * 2 * ROWS
    assert {job.state for job in here.jobs()} & OPEN_JOBS == set()


@pytest.mark.parametrize(("point", "time"), [("planned", 1), ("written down", 1), ("held", 2)])
def test_a_run_terminated_anywhere_while_it_parks_is_stopped_and_goes_on_when_asked_to(
    scene: Scene, point: str, time: int
) -> None:
    here = scene.here
    hold(scene.local_provider, share=0.5)
    run = scene.killed(point, time)
    here.instance.report_run_canceled(run)
    for _ in range(3):
        here.turn()
    assert here.held() == []
    assert here.parked_runs() == []
    assert {batch["outcome"] for batch in scene.local_provider.batches()} <= {"cancelled"}
    assert {job.state.value for job in here.jobs()} == {"cancelled"}
    assert not any(here.made(asset) for asset in ASSETS)

    here.run(*ASSETS)
    scene.settle()
    assert all(here.made(asset) for asset in ASSETS)
    assert sold(scene.local_provider) == [1] * 2 * ROWS


def test_two_steps_that_park_in_the_same_moment_leave_one_run_for_both(scene: Scene) -> None:
    here = scene.here
    hold(scene.local_provider)
    here.beat()
    run = here.launch(*ASSETS)
    here.instance.report_dagster_event(DagsterEvent("PIPELINE_START", job_name=run.job_name), run.run_id)
    steps = [scene.begin(run_id=run.run_id, steps=[name], meet=2) for name in ("left", "right")]
    for step in steps:
        step.receipt()
    here.instance.report_dagster_event(DagsterEvent("PIPELINE_SUCCESS", job_name=run.job_name), run.run_id)
    parked = here.parked()
    assert names(parked) == set(ASSETS)
    assert parked.tags["offpeak/job"] == "1,2"
    assert {each.run_id for each in here.instance.get_runs()} == {run.run_id, parked.run_id}
    assert sorted(here.parked_states()) == [ParkedState.REPLACED, ParkedState.REPLACED, ParkedState.WAITING]
    scene.settle()
    for asset in ASSETS:
        assert here.made(asset) == [parked.run_id]


def test_a_sensor_killed_again_and_again_leaves_out_what_failed_and_lets_the_rest_go(scene: Scene) -> None:
    here = scene.here
    run = scene.killed("planned", 2)
    here.instance.report_run_failed(run)
    assert names(here.parked()) == {"left", "joined"}
    let_end(scene.local_provider)
    for point in ("written down", "created", "queued", "held"):
        scene.kill_tick(point)
    scene.kill_tick("released")
    scene.settle()
    assert len(here.made("left")) == 1
    assert here.made("joined") == []
    assert len(here.instance.get_runs()) == 2
    assert sold(scene.local_provider) == [1] * ROWS


def test_a_sensor_killed_again_and_again_stops_what_was_terminated(scene: Scene) -> None:
    here = scene.here
    hold(scene.local_provider)
    run = scene.killed("submitted", 2)  # one is parked, the other at the provider
    here.instance.report_run_canceled(run)
    for point in ("stopping unparked", "cancelled", "stopping"):
        scene.kill_tick(point)
    here.turn()
    assert {job.state.value for job in here.jobs()} == {"cancelled"}
    assert {batch["outcome"] for batch in scene.local_provider.batches()} == {"cancelled"}
    assert here.parked_runs() == []
    assert here.held() == []
