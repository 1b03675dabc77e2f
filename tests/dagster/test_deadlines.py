"""Parked runs and their deadlines: the sensor lets them go in time, and they rescue, serve what there is, or fail."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dagster as dg

from offpeak import Notify
from offpeak.clock import to_micros
from offpeak.ledger import limits_seen, tables
from offpeak.ledger.submissions import of_job
from offpeak.notifier import Notifier
from offpeak.providers.realtime import Measure

from ..conftest import LocalProvider
from ..receivers import Webhook
from .code_location import CodeLocation
from .conftest import OfflineProvider
from .parked_assets import ROWS, hold, labels, let_end, sold, view

Made = Callable[..., CodeLocation]
MIN = timedelta(minutes=1)
SUCCESS, FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE


def api(local_provider: LocalProvider, **more: Any) -> dict[str, Any]:
    return {"batch_api": OfflineProvider(local_provider.url).api(keep=True, **more)}


def due_in(here: CodeLocation, duration: timedelta) -> None:
    """Have everything that is open be due so soon."""
    at = to_micros(here.ledger.clock.now() + duration)
    with here.ledger.database.write() as connection:
        connection.execute(tables.job.update().where(tables.job.c.closed_at.is_(None)).values(deadline_at=at))
        connection.execute(tables.chunk.update().values(due_at=at))


def metadata(here: CodeLocation, asset: str) -> dict[str, Any]:
    record = here.instance.fetch_materializations(dg.AssetKey(asset), limit=1).records[0].asset_materialization
    return {} if record is None else {name: value.value for name, value in record.metadata.items()}


def test_a_parked_run_is_let_go_at_its_last_safe_moment_and_rescued(
    code_location: Made, local_provider: LocalProvider, webhook: Webhook
) -> None:
    hold(local_provider, share=0.5)
    told = Notifier(destinations={"ops": webhook.url()})
    asset = labels(notify=Notify(to="ops", on=["rescue"]))
    here = code_location(asset, view(), resources=api(local_provider) | {"notifier": told})
    here.run("labels", "view")
    parked = here.parked()
    due_in(here, 42 * MIN)
    here.turn()
    assert here.parked().run_id == parked.run_id

    due_in(here, 40 * MIN)
    tick = here.turn()
    reason = f"the last safe moment to rescue {ROWS} requests has come"
    assert tick.skip_message == f"released run {parked.run_id}: {reason}"
    assert here.now(parked).status is SUCCESS
    assert here.made("labels") == here.made("view") == [parked.run_id]
    assert sold(local_provider) == [1] * ROWS
    assert [each["outcome"] for each in local_provider.batches()] == ["cancelled"]
    found = metadata(here, "labels")
    assert (found["rescued"], found["late"], found["rows"]) == (ROWS // 2, 0, ROWS)
    assert webhook.titles() == ["labels is rescued"]


def test_one_run_of_several_assets_rescues_all_of_them_without_being_parked_in_between(
    code_location: Made, local_provider: LocalProvider
) -> None:
    hold(local_provider)
    here = code_location(labels("first"), labels("second"), labels("third"), resources=api(local_provider))
    here.run("first", "second", "third")
    parked = here.parked()
    (chunk,) = of_job(here.ledger, here.jobs("first")[0].id)
    limits_seen.remember(here.ledger, realm=chunk.realm, model=chunk.model, limits={Measure.REQUESTS: 6_000.0})
    due_in(here, 20 * MIN)
    here.turn()
    assert here.now(parked).status is SUCCESS
    assert sold(local_provider) == [1] * (3 * ROWS)
    asked = [of_job(here.ledger, job.id)[0].cancel_at for job in here.jobs()]
    assert len([each for each in asked if each is not None]) == 3


def test_a_run_that_died_over_its_rescue_is_not_needed_for_another_one_to_see_it_through(
    code_location: Made, local_provider: LocalProvider
) -> None:
    hold(local_provider)
    here = code_location(labels(), resources=api(local_provider))
    here.run("labels")
    parked = here.parked()
    now = to_micros(here.ledger.clock.now())
    with here.ledger.database.write() as connection:
        connection.execute(tables.chunk.update().values(rescue_at=now))
    tick = here.turn()
    assert tick.skip_message == f"released run {parked.run_id}: a batch that was given up has to be seen through"
    assert here.made("labels") == [parked.run_id]
    assert metadata(here, "labels")["rescued"] == ROWS


def test_at_its_deadline_a_parked_run_serves_what_there_is_and_the_next_one_collects_the_rest(
    code_location: Made, local_provider: LocalProvider, webhook: Webhook
) -> None:
    asset = labels(on_deadline="serve_last_good", rows=2, notify=Notify(to="ops", on=["partial_failure"]))
    told = {"notifier": Notifier(destinations={"ops": webhook.url()})}
    here = code_location(asset, resources=api(local_provider, max_requests_per_batch=1) | told)
    hold(local_provider, times=1)
    here.run("labels")
    parked = here.parked()
    due_in(here, MIN)
    here.turn()
    assert here.parked().run_id == parked.run_id
    due_in(here, timedelta(0))
    assert here.turn().skip_message == f"released run {parked.run_id}: its deadline has come"
    assert here.made("labels") == [parked.run_id]
    found = metadata(here, "labels")
    assert (found["late"], found["failed"], found["rows"]) == (1, 0, 1)
    assert here.evaluated("labels:usable_answers") == [(parked.run_id, False)]
    assert here.states("labels") == ["completed_with_partial_failures"]
    assert "1 of its rows were still on their way at its deadline" in webhook.bodies()[0]
    assert "The next run collects what is on its way" in webhook.bodies()[0]

    let_end(local_provider)
    here.run("labels", tags={"offpeak/wait": "run"})
    assert metadata(here, "labels")["rows"] == 2
    assert sold(local_provider) == [1, 1]


def test_at_its_deadline_a_parked_run_fails_where_its_asset_says_so(
    code_location: Made, local_provider: LocalProvider
) -> None:
    hold(local_provider)
    here = code_location(labels(on_deadline="fail"), view(), resources=api(local_provider))
    here.run("labels", "view")
    parked = here.parked()
    due_in(here, timedelta(0))
    here.turn()
    assert here.now(parked).status is FAILURE
    assert 'on_deadline="fail"' in here.messages(parked)
    assert (here.made("labels"), here.made("view"), here.states("labels")) == ([], [], ["expired"])

    let_end(local_provider)
    here.run("labels", "view", tags={"offpeak/wait": "run"})
    assert len(here.made("view")) == 1
    assert sold(local_provider) == [1] * ROWS
