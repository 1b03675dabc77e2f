"""Waking when data changes: what lies below a change runs once, and without a change nothing does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import dagster as dg
import pytest

from offpeak import Chat, batch_asset, when_data_changes

from ..conftest import MODELS, LocalProvider
from .automation import Daemon
from .code_location import CodeLocation
from .parked_assets import DAILY, hold, let_end, plain, view

Made = Callable[..., CodeLocation]


@dg.multi_observable_source_asset(specs=[dg.AssetSpec("tickets")])
def tickets() -> None: ...


@dg.multi_observable_source_asset(specs=[dg.AssetSpec("notes")])
def notes() -> None: ...


def assets(text: list[str], *, code_version: str = "1") -> list[dg.AssetsDefinition]:
    """Two sources; a batch asset and its view below the one, an ordinary asset below the other."""
    wake = when_data_changes()

    @batch_asset(
        model=MODELS["openai"], deps=["tickets"], automation_condition=wake, code_version=code_version, **DAILY
    )
    def labels() -> Iterator[Chat]:
        for each in ("invoice", *text):
            yield Chat(key=each, prompt=f"What is this about: {each}?")

    return [
        tickets,
        notes,
        labels,
        view(automation_condition=wake, code_version="1"),
        plain("summary", "notes", automation_condition=wake, code_version="1"),
    ]


@dataclass
class Scene:
    """These assets, and whoever evaluates their conditions."""

    here: CodeLocation
    provider: LocalProvider
    text: list[str] = field(default_factory=list)
    """What the batch asset asks about: what is added is bought by the next plan."""
    daemon: Daemon = field(init=False)

    def __post_init__(self) -> None:
        self.daemon = Daemon(self.here.definitions, self.here.instance)
        self.here.beat()
        self.see("1")
        self.see("1", "notes")

    def see(self, version: str, source: str = "tickets") -> None:
        """The source is looked at."""
        observed = dg.AssetObservation(source, tags={"dagster/data_version": version})
        self.here.instance.report_runless_asset_event(observed)

    def asked(self) -> set[str]:
        return self.daemon.tick()

    def run(self, *assets: str) -> None:
        """A run that lands."""
        run = self.here.run(*assets, tags={"offpeak/wait": "run"})
        assert run.status is dg.DagsterRunStatus.SUCCESS, self.here.messages(run)


@pytest.fixture
def scene(code_location: Made, local_provider: LocalProvider) -> Scene:
    text: list[str] = []
    scene = Scene(code_location(*assets(text)), local_provider, text)
    scene.run("labels", "view", "summary")
    assert scene.asked() == set()
    return scene


def test_a_change_wakes_what_lies_below_it_once(scene: Scene) -> None:
    scene.see("1")
    assert scene.asked() == set(), "the same as before"
    scene.see("2")
    assert scene.asked() == {"labels", "view"}
    assert scene.asked() == set()
    scene.run("labels", "view")
    assert scene.asked() == set()
    scene.see("2", "notes")
    assert scene.asked() == {"summary"}


def test_what_changes_while_a_batch_is_on_its_way_waits_for_its_end_and_is_one_run(scene: Scene) -> None:
    here = scene.here
    scene.see("2")
    assert scene.asked() == {"labels", "view"}
    hold(scene.provider)
    scene.text.append("anew")
    here.run("labels", "view")
    assert len(here.held()) == 1
    assert scene.asked() == set()
    for version in ("3", "4"):
        scene.see(version)
        assert scene.asked() == set(), "a batch is open"
    let_end(scene.provider)
    here.turn()
    here.turn()
    assert here.held() == []
    assert scene.asked() == {"labels", "view"}
    assert scene.asked() == set()


def test_a_run_that_a_person_began_wakes_nothing(scene: Scene) -> None:
    hold(scene.provider)
    scene.text.append("anew")
    scene.here.run("labels", "view")
    assert scene.asked() == set()
    let_end(scene.provider)
    scene.here.turn()
    scene.here.turn()
    assert scene.asked() == set()


def test_after_a_failed_run_the_next_change_wakes_again(scene: Scene) -> None:
    scene.see("2")
    assert scene.asked() == {"labels", "view"}
    run = scene.here.run("labels", "view", tags={"offpeak/wait": "sleep"})
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert scene.asked() == set()
    scene.see("3")
    assert scene.asked() == {"labels", "view"}


def test_what_was_never_made_is_not_begun(code_location: Made, local_provider: LocalProvider) -> None:
    scene = Scene(code_location(*assets([])), local_provider)
    assert scene.asked() == set()
    scene.see("2")
    assert scene.asked() == set()


def test_another_code_version_wakes(scene: Scene, code_location: Made) -> None:
    scene.daemon.defs = code_location(*assets(scene.text, code_version="2")).definitions
    assert scene.asked() == {"labels", "view"}
