"""A code location whose runs are carried out by processes of their own; the sensor and the queue are the test's."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from ..conftest import LocalProvider, Place
from ..dagster.code_location import CodeLocation, copy_home
from ..dagster.parked_assets import let_end
from .conftest import DIED, Forked, Program
from .parker import location_at

ASSETS = ("left", "right", "joined")
NOT_OVER = {dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING}


@dataclass
class Scene:
    """A code location whose runs are carried out by other processes."""

    here: CodeLocation
    place: Place
    home: Path
    parker: Program
    local_provider: LocalProvider

    def begin(self, **job: object) -> Forked:
        return self.parker.fork(
            home=str(self.home),
            url=self.place.url,
            spool=str(self.place.spool),
            provider_url=self.local_provider.url,
            **job,
        )

    def kill_tick(self, point: str) -> None:
        """Let the sensor's process die at that point of a tick."""
        assert self.begin(die_at=[point, 1]).wait() == DIED, point

    def killed(self, point: str, time: int, *assets: str) -> dg.DagsterRun:
        """A run of these assets, by default of all, that dies at that point."""
        self.here.beat()
        return self.kill(self.here.launch(*(assets or ASSETS)), point, time)

    def kill(self, run: dg.DagsterRun, point: str, time: int) -> dg.DagsterRun:
        """Let a run begin, and die at that point."""
        assert self.begin(run_id=run.run_id, die_at=[point, time]).wait() == DIED, point
        return self.here.now(run)

    def settle(self) -> None:
        """Let batches end and the sensor look, until nothing is held."""
        for _ in range(5):
            let_end(self.local_provider)
            self.here.turn()
            if not self.here.parked_runs():
                break
        assert self.here.held() == []
        assert [run.run_id for run in self.here.instance.get_runs() if run.status in NOT_OVER] == []
        assert self.here.parked_runs() == []


@contextmanager
def opened(
    folder: Path, empty_home: Path, place: Place, parker: Program, local_provider: LocalProvider
) -> Iterator[Scene]:
    """A scene with a Dagster instance of its own in `folder`."""
    home = copy_home(empty_home, folder / "dagster-home")
    with dg.DagsterInstance.from_config(str(home)) as instance, place.open() as ledger:
        here = location_at(
            url=place.url, spool=place.spool, provider_url=local_provider.url, instance=instance, ledger=ledger
        )
        yield Scene(here, place, home, parker, local_provider)
