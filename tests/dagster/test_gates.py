"""No reader gets past its tolerance, whichever way it reads."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from offpeak import Chat, FreshnessContract, Waiting, Workload, batch_asset, tolerates
from offpeak.clock import SystemClock
from offpeak.errors import DefinitionError, StaleInput
from offpeak.results import admission

from .conftest import age
from .labels import OLDER, STALENESS, labels


def reading(kind: str, ran: list[str]) -> dg.AssetsDefinition:
    """An asset that depends on the labels and reads them itself, with a body of the given kind."""

    def plain() -> None:
        ran.append(kind)

    def with_context(context: dg.AssetExecutionContext) -> None:
        ran.append(context.asset_key.to_user_string() and kind)

    def generator() -> Iterator[dg.MaterializeResult[None]]:
        ran.append(kind)
        yield dg.MaterializeResult()

    async def coroutine() -> None:
        ran.append(kind)

    async def async_generator() -> Any:  # Dagster takes no AsyncIterator as an annotation
        ran.append(kind)
        yield dg.Output(None)

    bodies: list[Callable[..., Any]] = [plain, with_context, generator, coroutine, async_generator]
    body = next(each for each in bodies if each.__name__ == kind)
    return dg.asset(name="report", deps=[tolerates("labels", STALENESS)])(body)


KINDS = ["plain", "with_context", "generator", "coroutine", "async_generator"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_dependency_that_is_too_old_is_refused_before_the_body_runs(
    kind: str, project: Any, resources: dict[str, Any]
) -> None:
    ran: list[str] = []
    made = project(labels, reading(kind, ran))
    made.run("labels")
    age(resources, "labels", OLDER)
    with pytest.raises(StaleInput, match="^report tolerates rows of labels up to"):  # noqa: RUF043
        made.run("report")
    assert ran == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_dependency_that_is_fresh_enough_lets_the_body_run(kind: str, project: Any) -> None:
    ran: list[str] = []
    project(labels, reading(kind, ran)).run("labels", "report")
    assert ran == [kind]


def test_an_input_that_is_too_old_is_refused(project: Any, resources: dict[str, Any]) -> None:
    @dg.asset(ins={"labels": tolerates(STALENESS)})
    def dashboard(labels: pd.DataFrame) -> None: ...

    made = project(labels, dashboard)
    made.run("labels", "dashboard")
    age(resources, "labels", OLDER)
    with pytest.raises(StaleInput, match="^dashboard tolerates rows of labels up to"):  # noqa: RUF043
        made.run("dashboard")


class Held(SystemClock):
    """A clock that stands still."""

    def __init__(self, moment: datetime) -> None:
        self._moment = moment

    def now(self) -> datetime:
        return self._moment


@pytest.mark.parametrize("name", ["dashboard", "report"])
def test_rows_exactly_as_old_as_tolerated_pass_and_a_microsecond_later_they_do_not(
    name: str, project: Any, resources: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    @dg.asset(ins={"labels": tolerates(STALENESS)})
    def dashboard(labels: pd.DataFrame) -> None: ...

    made = project(labels, dashboard, reading("plain", []))
    made.run("labels")
    as_of = resources["offpeak_results"].store.summary("labels", None).as_of
    monkeypatch.setattr(admission, "clock", Held(as_of + STALENESS))
    assert made.run(name).success
    monkeypatch.setattr(admission, "clock", Held(as_of + STALENESS + timedelta(microseconds=1)))
    with pytest.raises(StaleInput, match=f"^{name} tolerates rows of labels up to"):
        made.run(name)


def test_a_batch_asset_is_refused_rows_that_are_too_old_and_buys_nothing(
    project: Any, provider: Any, resources: dict[str, Any]
) -> None:
    @batch_asset(
        model="openai/gpt-5-mini",
        workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
        lane="batch",
        contract=FreshnessContract(valid_for=timedelta(hours=60)),
        ins={"labels": tolerates(STALENESS)},
    )
    def summaries(labels: pd.DataFrame) -> Iterator[Chat]:
        yield Chat(key="a", prompt="Summarise.")

    made = project(labels, summaries)
    made.run("labels")
    age(resources, "labels", OLDER)
    with pytest.raises(StaleInput, match="^summaries tolerates rows of labels up to"):  # noqa: RUF043
        made.run("summaries")
    assert provider.batches() == 1


def test_without_with_offpeak_an_input_without_a_tolerance_is_still_refused(resources: dict[str, Any]) -> None:
    @dg.asset
    def dashboard(labels: pd.DataFrame) -> None: ...

    with pytest.raises(DefinitionError, match="dashboard reads the batch asset labels without saying how stale"):
        dg.materialize([labels, dashboard], resources=resources)


def test_a_program_that_loads_the_rows_by_itself_sees_them_with_their_age(project: Any) -> None:
    made = project(labels)
    made.run("labels")
    frame = made.defs.load_asset_value("labels", instance=made.instance)
    assert {"as_of", "produced_at", "effective_until"} <= set(frame.columns)


@pytest.mark.parametrize("declares", [True, False])
def test_an_op_outside_any_asset_is_gated_or_refused(
    declares: bool, resources: dict[str, Any], instance: dg.DagsterInstance
) -> None:
    metadata = tolerates(STALENESS).metadata if declares else None

    @dg.op(ins={"rows": dg.In(metadata=metadata)})
    def mailing(rows: pd.DataFrame) -> int:
        return len(rows)

    @dg.job(resource_defs=resources)
    def send() -> None:
        mailing(*labels.to_source_assets())

    dg.materialize([labels], resources=resources, instance=instance)
    if not declares:
        with pytest.raises(
            DefinitionError, match=r"The op mailing reads .* dg\.In\(metadata=tolerates\(.*\)\.metadata\)"
        ):
            send.execute_in_process(instance=instance)
        return
    assert send.execute_in_process(instance=instance).output_for_node("mailing") == 2
    age(resources, "labels", OLDER)
    with pytest.raises(StaleInput, match="^mailing tolerates rows of labels up to"):  # noqa: RUF043
        send.execute_in_process(instance=instance)


def test_an_asset_that_is_only_specified_declares_what_it_tolerates_too(project: Any) -> None:
    with pytest.raises(DefinitionError, match=r"board reads .*: deps=\[tolerates\(\"labels\", .*\)\] on its AssetSpec"):
        project(labels, dg.AssetSpec("board", deps=["labels"]))
    assert project(labels, dg.AssetSpec("board", deps=[tolerates("labels", STALENESS)]))
