"""`with_offpeak`: the one line that a Dagster project adds.

Dagster has no hook at definitions load, so this wrapper is where the graph is validated, missing resources are added,
and the gates of `deps=[tolerates(...)]` are put in front of the bodies that need them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg

from offpeak.assets.declaration import Declaration, declaration_of, without_beta_warnings
from offpeak.assets.freshness_sensor import FRESHNESS_SENSOR, freshness_sensor
from offpeak.assets.gated import gated
from offpeak.assets.graph import chain_of
from offpeak.assets.held_up import told as told_of_launches
from offpeak.assets.housekeeping import HOUSEKEEPING_JOB, housekeeping_job
from offpeak.assets.launch_schedules import LAUNCH_SENSOR, Competing, Tell, launch_sensor, moved_out
from offpeak.assets.lifecycle import lifecycle_sensor
from offpeak.assets.notices_sensor import NOTICES_SENSOR, notices_sensor, tellers_of
from offpeak.assets.observing import observable
from offpeak.assets.on_time import ON_TIME_CHECK, Watch, on_time_check
from offpeak.assets.parking import SENSOR_NAME
from offpeak.assets.readers import batch_assets, reader_name, refuse_undeclared
from offpeak.assets.resources import API_KEY, BatchApi
from offpeak.assets.sources_sensor import SOURCES_SENSOR, sources_sensor
from offpeak.assets.stopping import STOP_JOB, stop_job
from offpeak.clock import SystemClock
from offpeak.errors import ConfigurationError, DefinitionError, did_you_mean
from offpeak.freshness.chain import Chain
from offpeak.freshness.deadlines import check_deadlines
from offpeak.freshness.sla import sla_of
from offpeak.launches.launch import Launch
from offpeak.ledger.notices import Notice
from offpeak.money.prices import PriceSheet
from offpeak.notifier import NOTIFIER_KEY, Notifier
from offpeak.results.io_manager import RESULTS_KEY, OffpeakResults
from offpeak.results.producer import Rhythm, keep_time


def with_offpeak(defs: dg.Definitions) -> dg.Definitions:
    """The same definitions with Offpeak's resources, gates and guarantees, the sensor that collects batches, the one
    that looks whether source assets have changed, and a job, `offpeak_housekeeping`, which deletes files that nothing
    needs any more.

    A resource that the definitions have already (`batch_api`, `offpeak_results`, `notifier`) is kept, and so is a
    sensor made by `lifecycle_sensor`. Where an asset says whom to tell, a sensor is added that does. Where `batch_api`
    names launches, schedules that buy skip what falls into one, and a sensor is added that makes it up. Raises
    DefinitionError for a reader of a batch asset that declares no tolerance, for a contract or a tolerance that
    schedules and deadlines along the way cannot keep, for deadlines that contradict each other or an SLA, for a model
    that nobody knows the price of, and for a destination that the notifier does not have; and ConfigurationError for a
    list of launches that cannot be read.
    """
    resources = dict(defs.resources or {})
    resources.setdefault(API_KEY, BatchApi())
    resources.setdefault(RESULTS_KEY, OffpeakResults())
    resources.setdefault(NOTIFIER_KEY, Notifier())
    definitions = [each for each in defs.assets or () if isinstance(each, dg.AssetsDefinition)]
    batch = batch_assets(definitions)
    checks = [each for each in defs.asset_checks or () if isinstance(each, dg.AssetsDefinition)]
    # what is only specified is run by somebody else, who has to know all the same how old its inputs may get
    specified = [dg.AssetsDefinition(specs=[each]) for each in defs.assets or () if isinstance(each, dg.AssetSpec)]
    for reader in (*definitions, *specified, *checks):
        refuse_undeclared(reader, batch)
    _check_prices(batch.values(), resources[API_KEY])
    told = _check_destinations(batch.values(), (defs.resources or {}).get(NOTIFIER_KEY))
    sensors, jobs = list(defs.sensors or ()), list(defs.jobs or ())
    watch = Watch()
    watched = [on_time_check(watch, spec) for spec in _deadlines((*definitions, *specified), batch)]
    watched = [each for each in watched if not _has_check(each, (*definitions, *checks))]
    if batch:
        if not _has(sensors, FRESHNESS_SENSOR):
            sensors.append(freshness_sensor(watch, notices=told))
        if not _has(jobs, STOP_JOB):
            jobs.append(stop_job)
        if not _has(jobs, HOUSEKEEPING_JOB):
            jobs.append(housekeeping_job)
        if not _has(sensors, SENSOR_NAME):
            sensors.append(lifecycle_sensor())
        if told and not _has(sensors, NOTICES_SENSOR):
            sensors.append(notices_sensor())
    schedules, competing = list(defs.schedules or ()), Competing()
    if batch and (api := _plans_launches(resources[API_KEY])) is not None:
        moving = [each for each in schedules if isinstance(each, dg.ScheduleDefinition)]
        schedules = [
            moved_out(each, api, competing) if isinstance(each, dg.ScheduleDefinition) else each for each in schedules
        ]
        if moving and not _has(sensors, LAUNCH_SENSOR):
            sensors.append(launch_sensor(moving, _jobs_of(moving, jobs), competing, tell=_telling(definitions, watch)))
    if (sources := observable(definitions, resources)) and not _has(sensors, SOURCES_SENSOR):
        sensors.append(sources_sensor(sources))
    made = dg.Definitions(
        assets=[gated(each, batch) if isinstance(each, dg.AssetsDefinition) else each for each in defs.assets or ()],
        schedules=schedules,
        sensors=sensors,
        jobs=jobs,
        resources=resources,
        executor=defs.executor,
        loggers=defs.loggers,
        asset_checks=[*(gated(each, batch) for each in checks), *watched],
        metadata=defs.metadata,
        component_tree=defs.component_tree,
    )
    if batch:
        with without_beta_warnings():  # Dagster copies the sensor that makes up what launches have skipped
            watch.chain = _check_ages(made, batch)
        competing.learn(watch.chain)
    return made


def _plans_launches(api: object) -> BatchApi | None:
    """The resource, where it names launches. Raises ConfigurationError for a list that cannot be read."""
    if not isinstance(api, BatchApi) or api.launches is None or isinstance(api.launches, dg.EnvVar):
        return None
    api.planned_launches()
    return api


def _jobs_of(schedules: Iterable[dg.ScheduleDefinition], jobs: Iterable[Any]) -> list[Any]:
    """What the schedules run, each once."""
    named = {each.name: each for each in jobs}
    found = {each.job_name: each.job if each.has_job else named.get(each.job_name) for each in schedules}
    return [each for each in found.values() if each is not None]


def _telling(definitions: Iterable[dg.AssetsDefinition], watch: Watch) -> Tell:
    """What the sensor asks whom to tell of launches that come."""
    made = list(definitions)

    def tell(launches: Sequence[Launch], now: datetime, notifier: Notifier) -> Collection[Notice]:
        return told_of_launches(watch.chain, launches, tellers_of(made, notifier), now=now)

    return tell


def _deadlines(
    definitions: Iterable[dg.AssetsDefinition], batch: Mapping[dg.AssetKey, dg.AssetsDefinition]
) -> list[dg.AssetSpec]:
    """The assets that have to be fresh by a time of day and depend on batch assets."""
    above = {spec.key: {dep.asset_key for dep in spec.deps} for asset in definitions for spec in asset.specs}
    reached = set(batch)
    while more := {key for key, deps in above.items() if deps & reached} - reached:
        reached |= more
    return [
        spec
        for asset in definitions
        for spec in asset.specs
        if spec.key in reached and sla_of(spec.key.to_user_string(), spec.freshness_policy) is not None
    ]


def _has_check(mine: dg.AssetChecksDefinition, definitions: Iterable[dg.AssetsDefinition]) -> bool:
    """Whether the check of a deadline is there already; DefinitionError where it is another one of that name."""
    (key,) = mine.check_keys
    found = next((each.get_spec_for_check_key(key) for each in definitions if key in each.check_keys), None)
    if found is None:
        return False
    if found.description != mine.get_spec_for_check_key(key).description:
        raise DefinitionError(
            f"{key.asset_key.to_user_string()} has a check called {ON_TIME_CHECK!r}, which is the name of the check "
            "that Offpeak adds to an asset with a freshness_sla. Give yours another name."
        )
    return True


def _check_ages(defs: dg.Definitions, batch: Mapping[dg.AssetKey, dg.AssetsDefinition]) -> Chain:
    """Raise DefinitionError for an age that cannot be kept; remember each batch asset's rhythm."""
    chain = chain_of(defs, now=SystemClock().now())
    chain.check()
    check_deadlines(chain)
    handed = chain.handed_up()
    for key, asset in batch.items():
        if (name := key.to_user_string()) in chain.nodes:
            rhythm = Rhythm(
                crons=chain.triggers(name),
                follows=chain.nodes[name].follows,
                handed=handed.get(name, ()),
                name=name,
                chain=chain,
            )
            keep_time(asset.specs_by_key[key].metadata, rhythm)
    return chain


def _has(definitions: Iterable[object], name: str) -> bool:
    return any(getattr(each, "name", None) == name for each in definitions)


def _check_prices(batch: Iterable[dg.AssetsDefinition], api: Any) -> None:
    """Raise DefinitionError for a model without a price, where the resource says which prices count."""
    if not isinstance(api, BatchApi):
        return
    if not isinstance(api.smallest_saving, dg.EnvVar):
        api.worth_waiting_for()
        api.daily_budget()
    path = api.price_sheet.get_value() if isinstance(api.price_sheet, dg.EnvVar) else api.price_sheet
    sheet: PriceSheet | None = None
    for asset in batch:
        declaration = declaration_of(asset)
        if declaration is None:
            continue
        sheet = sheet or PriceSheet.load(Path(path) if path else None)
        try:
            sheet.rates(declaration.model, at=SystemClock().now())
        except ConfigurationError as error:
            raise DefinitionError(f"{reader_name(asset)}: model={declaration.model!r}: {error}") from error
        _refuse_dearer(reader_name(asset), declaration, sheet)
        api.limits_for(declaration.model)  # raises where a model is limited twice


def _refuse_dearer(asset: str, declaration: Declaration, sheet: PriceSheet) -> None:
    """Raise DefinitionError where the model to degrade to has no price, or is not the cheaper one by today's."""
    other, now = declaration.queue.degrade_to, SystemClock().now()
    if other is None:
        return
    try:
        mine, theirs = sheet.rates(declaration.model, at=now).batch.base, sheet.rates(other, at=now).batch.base
    except ConfigurationError as error:
        raise DefinitionError(f"{asset}: queue: degrade_to={other!r}: {error}") from error
    if theirs.input > mine.input or theirs.output > mine.output or theirs == mine:
        raise DefinitionError(
            f"{asset}: queue: degrade_to={other!r} is not cheaper than model={declaration.model!r} by today's prices "
            "of input and output on the batch tier. Name a cheaper model; `offpeak prices` tells what one costs."
        )


def _check_destinations(batch: Iterable[dg.AssetsDefinition], notifier: Any) -> bool:
    """Whether any asset says whom to tell. Raises DefinitionError for a destination that the resource does not have.

    Without the resource, or any destination, nobody is told, which is no error.
    """
    telling = [(each, found.notify) for each in batch if (found := declaration_of(each)) is not None and found.notify]
    for asset, routes in telling if notifier is not None else ():
        if not isinstance(notifier, Notifier):
            raise DefinitionError(
                f"{reader_name(asset)}: notify= needs the resource {NOTIFIER_KEY!r}, which is a "
                f"{type(notifier).__name__} here. Give an offpeak.Notifier, and yours another key."
            )
        unknown = routes.destinations - notifier.destinations.keys() if notifier.destinations else ()
        for name in sorted(unknown):
            hint = did_you_mean(name, notifier.destinations, nothing="")
            raise DefinitionError(
                f"{reader_name(asset)}: notify= names {name!r}, which is no destination of the resource "
                f"{NOTIFIER_KEY!r}. {hint}"
            )
    return bool(telling)
