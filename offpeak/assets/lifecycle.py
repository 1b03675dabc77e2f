"""The sensor that looks after parked runs: it decides, and runs do the work.

Each tick reads the ledger's open parked runs, asks each provider account once for its list of batches (when a look is
due), and then releases what has landed, shows progress, and hands what somebody terminated to the stopping job. Between
two ticks only the time of the last look at each account is kept: a tick may be lost, repeated or killed anywhere.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import dagster as dg

from offpeak.assets import parking
from offpeak.assets.making_way import making_way
from offpeak.assets.progress import progress_of, same_step
from offpeak.assets.rescued import pressing
from offpeak.assets.resources import API_KEY, BatchApi
from offpeak.assets.stopping import LONGEST, STOP_JOB
from offpeak.clock import Clock, SystemClock
from offpeak.errors import ConfigurationError, OffpeakError
from offpeak.lanes.polling import next_look
from offpeak.lanes.rescuer import Outlook, outlook
from offpeak.ledger import jobs, launch_windows, parked_runs, sightings
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.parked_runs import ParkedRun
from offpeak.ledger.sightings import OpenChunk
from offpeak.ledger.states import ParkedState
from offpeak.providers.base import BatchView
from offpeak.queue import gate
from offpeak.results.io_manager import RESULTS_KEY, OffpeakResults

WRITTEN_PER_TICK = 50
"""Parked runs at most that are released, or whose progress is shown, in one tick: each costs Dagster a transaction and
five milliseconds of CPU. What is left waits for the next tick; the queue starts fewer than that."""


def lifecycle_sensor(
    *,
    minimum_interval_seconds: int = 30,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.RUNNING,
) -> dg.SensorDefinition:
    """The sensor that collects what has landed. `with_offpeak` adds one where the definitions have none.

    `minimum_interval_seconds` bounds how soon after its batch's end a run is released. While the sensor is switched
    off, runs wait for their batches in place.
    """

    @dg.sensor(
        name=parking.SENSOR_NAME,
        job_name=STOP_JOB,
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=default_status,
        required_resource_keys={API_KEY, RESULTS_KEY},
        description="Looks after runs that wait for batches: progress, release on landing, cancellation.",
    )
    def look_after(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        results: OffpeakResults = getattr(context.resources, RESULTS_KEY)
        tick = _Tick(context, results.ledger, getattr(context.resources, API_KEY), SystemClock())
        yield from tick.run()

    return look_after


class _Tick:
    """One evaluation of the sensor."""

    def __init__(self, context: dg.SensorEvaluationContext, ledger: Ledger, api: BatchApi, clock: Clock) -> None:
        self._context, self._instance, self._ledger = context, context.instance, ledger
        self._api, self._clock = api, clock
        self._looks: dict[str, str] = json.loads(context.cursor or "{}")
        self._said: list[str] = []
        self._stopped: list[ParkedRun] = []

    def run(self) -> Iterator[dg.RunRequest | dg.SkipReason]:
        self._ledger.require_home()
        self._see_launches()
        origin = self._context.code_location_origin
        location = str(origin.location_name) if origin is not None else ""
        found = parked_runs.open_ones(self._ledger, location=location)
        held = parking.held(self._instance, self._ledger)
        self._sweep(held - {each.run_id for each in found})
        self._stop_unparked(location)
        waiting = [each for each in self._check(found, held) if each.state is ParkedState.WAITING]
        stopping = [each for each in found if each.state is ParkedState.STOPPING] + [
            replace(each, release_at=None) for each in self._stopped
        ]
        chunks = sightings.of_jobs(self._ledger, [job for each in (*waiting, *stopping) for job in each.jobs])
        if self._look(waiting, stopping, chunks):
            chunks = sightings.of_jobs(self._ledger, list(chunks))
        self._release(waiting, chunks)
        self._context.update_cursor(json.dumps(self._looks, sort_keys=True))
        if self._work_for_stopping(stopping):
            yield dg.RunRequest(tags={parking.PHASE_TAG: "stopping"})
            return
        yield dg.SkipReason("; ".join(self._said) or f"{len(waiting):,} parked, {len(stopping):,} being stopped.")

    def _see_launches(self) -> None:
        """Have the ledger know the launches that are planned now; where they cannot be read, it keeps what it knows."""
        try:
            if (windows := self._api.launch_windows()) is not None:
                launch_windows.declare(self._ledger, windows)
        except ConfigurationError as error:
            self._said.append(f"the launches cannot be read: {error}")
            self._context.log.warning(self._said[-1])

    def _sweep(self, surplus: set[str]) -> None:
        """Held runs of this ledger that no open parked run accounts for."""
        states = parked_runs.known(self._ledger, list(surplus)) if surplus else {}
        for run_id in surplus:
            if states.get(run_id) in _OVER:  # whoever took it out of the ledger died before deleting it
                self._instance.delete_run(run_id)
                self._said.append(f"deleted run {run_id}, which another one replaced")
            elif run_id not in states:  # somebody re-executed a run that was parked, which copies its tags
                parking.release(self._instance, run_id)
                self._said.append(f"released run {run_id}, which holds the place of no job")

    def _stop_unparked(self, location: str) -> None:
        """Jobs of runs that somebody terminated while they were still submitting."""
        by_run = jobs.abandoned(self._ledger)
        parked = parked_runs.known(self._ledger, list(by_run))
        for run_id, run in parking.runs(self._instance, list(by_run)).items():
            if run.status is not dg.DagsterRunStatus.CANCELED or parking.location_of(run) != location:
                continue
            if run_id not in parked and run.tags.get(parking.PHASE_TAG) in {parking.SUBMITTING, parking.COLLECTING}:
                parked_runs.stop_unparked(self._ledger, by_run[run_id], run_id=run_id, location=location)
                self._said.append(f"run {run_id} was terminated while it submitted, so its jobs are stopped")

    def _check(self, found: Sequence[ParkedRun], held: set[str]) -> Iterator[ParkedRun]:
        """The parked runs that go on waiting; the state of the others is brought up to Dagster's."""
        away = parking.runs(self._instance, [each.run_id for each in found if each.run_id not in held])
        origins = parking.runs(self._instance, [each.origin_run_id for each in found if not each.origin_ended])
        ended: list[int] = []
        for each in found:
            if each.state is ParkedState.STOPPING:
                continue
            origin = origins.get(each.origin_run_id)
            if each.run_id not in held:
                self._follow(each, away.get(each.run_id), origin)
                continue
            if each.state is ParkedState.INTENDED:  # its step is about to make it the holder, or died
                if origin is None or origin.is_finished:
                    self._instance.delete_run(each.run_id)
                    self._end(each, "its process died before it held a place")
                continue
            if not each.origin_ended and origin is not None:
                if not origin.is_finished:
                    continue
                if origin.status is dg.DagsterRunStatus.CANCELED:
                    self._instance.run_coordinator.cancel_run(each.run_id)
                    self._stop(each, f"run {origin.run_id} was terminated")
                    continue
                if origin.status is dg.DagsterRunStatus.FAILURE and self._narrow(each, origin):
                    continue
                ended.append(each.id)
            yield each
        parked_runs.note(self._ledger, ended, origin_ended=True)

    def _follow(self, each: ParkedRun, run: dg.DagsterRun | None, origin: dg.DagsterRun | None) -> None:
        """A parked run that is not held any more, or not yet there."""
        if each.state is ParkedState.INTENDED and (run is None or run.status is dg.DagsterRunStatus.NOT_STARTED):
            if origin is None or origin.is_finished:
                if run is not None:
                    self._instance.delete_run(run.run_id)
                self._end(each, "its process died before the run was queued")
        elif run is None:
            self._stop(each, "its run was deleted")
        elif run.status is dg.DagsterRunStatus.CANCELED:
            self._stop(each, "its run was terminated")
        elif run.is_finished:
            self._end(each, f"its run ended: {run.status.value}")
        elif each.state is ParkedState.WAITING and run.tags.get(parking.HOLD_TAG) != parking.WAITING:
            parked_runs.enter(self._ledger, each.id, ParkedState.RELEASED, why="its hold was lifted")

    def _end(self, each: ParkedRun, why: str) -> None:
        if parked_runs.enter(self._ledger, each.id, ParkedState.ENDED, why=why):
            self._said.append(f"run {each.run_id}: {why}")

    def _stop(self, each: ParkedRun, why: str) -> None:
        if not each.jobs:
            self._end(each, why)
            return
        if not parked_runs.enter(self._ledger, each.id, ParkedState.STOPPING, why=why):
            return  # another step of its original run took its place in the meantime
        parked_runs.note(self._ledger, [each.id], release_at=None)
        self._stopped.append(each)
        self._said.append(f"run {each.run_id}: {why}, so its jobs are stopped")

    def _narrow(self, each: ParkedRun, origin: dg.DagsterRun) -> bool:
        """Leave out what lies below an asset that the original run failed to make. True: this run must not start."""
        run, repository = self._instance.get_run_by_id(each.run_id), self._context.repository_def
        if run is None or repository is None:
            return False
        selection = parking.still_possible(self._instance, origin, run)
        if selection is None:
            return False
        tags = {name: run.tags[name] for name in (parking.PROGRESS_TAG,) if name in run.tags}
        try:
            run_id, number = parking.queue_held_run(
                self._instance,
                self._ledger,
                repository,
                run,
                origin_run_id=each.origin_run_id,
                location=each.location,
                selection=selection,
                tags=tags,
            )
        except parking.CannotHold as error:  # the others are looked after all the same
            self._said.append(f"run {each.run_id} cannot be replaced now: {error}")
            self._context.log.warning(self._said[-1])
            return True
        replaced = parked_runs.hold(
            self._ledger,
            number,
            origin_run_id=each.origin_run_id,
            jobs=each.jobs,
            joining=None,
            progress=each.progress or "",
            origin_ended=True,
        )
        for surplus in replaced if replaced is not None else [run_id]:
            self._instance.delete_run(surplus)
        before: set[parking.EntityKey] = {*(run.asset_selection or ()), *(run.asset_check_selection or ())}
        left_out = sorted(key.to_user_string() for key in before - selection.assets - selection.checks)
        self._said.append(f"run {run_id} leaves out {', '.join(left_out)}: run {origin.run_id} failed above them")
        return True

    def _look(
        self, waiting: Sequence[ParkedRun], stopping: Sequence[ParkedRun], chunks: Mapping[int, Sequence[OpenChunk]]
    ) -> bool:
        """One pass over each account's list where a look is due; True when anything was seen to change."""
        assets = {job: asset for each in (*waiting, *stopping) for job, asset in each.jobs.items()}
        by_realm: dict[str, list[OpenChunk]] = {}
        for each in chunks.values():
            for chunk in each:
                if chunk.at_provider and not chunk.landed:
                    by_realm.setdefault(chunk.realm, []).append(chunk)
        past = sightings.past_durations(self._ledger, sorted(set(assets.values()))) if by_realm else {}
        self._looks = {realm: moment for realm, moment in self._looks.items() if realm in by_realm}
        changed = 0
        for realm, open_chunks in by_realm.items():
            now = self._clock.now()
            due = min(_due(chunk, past.get(assets[chunk.job_id], ()), now) for chunk in open_chunks)
            last = self._looks.get(realm)
            if last is not None and now - datetime.fromisoformat(last) < due:
                continue
            try:
                changed += sightings.see(self._ledger, open_chunks, self._listed(realm, open_chunks))
            except OffpeakError as error:
                self._said.append(f"{realm} could not be asked: {error}")
                self._context.log.warning(self._said[-1])
            self._looks[realm] = now.isoformat()
        return changed > 0

    def _listed(self, realm: str, chunks: Sequence[OpenChunk]) -> Mapping[str, BatchView]:
        name = realm.partition(":")[0]
        provider = self._api.provider(name)
        try:
            if provider.realm != realm:
                raise ConfigurationError(
                    f"batches are open there, but {name} is configured to be reached at {provider.realm}. They are "
                    "collected once it is configured as it was."
                )
            since = sightings.since(chunks)
            wanted = {chunk.batch_id for chunk in chunks}
            return {batch.id: batch for batch in provider.batches(since=since) if batch.id in wanted} if since else {}
        finally:
            provider.close()

    def _release(self, waiting: Sequence[ParkedRun], chunks: Mapping[int, Sequence[OpenChunk]]) -> None:
        now, left = self._clock.now(), WRITTEN_PER_TICK
        no_room = gate.no_room(self._ledger, now=now) if waiting else {}
        launches = launch_windows.waits(self._ledger, now=now) if waiting else {}
        windows = launch_windows.known(self._ledger) if waiting else []
        terms = self._api.rescue_terms()
        found = outlook(self._ledger, terms, now=now) if waiting else Outlook()
        due = jobs.ending(self._ledger, now=now) if waiting else set()
        progressed: list[tuple[ParkedRun, str]] = []
        for each in waiting:
            mine = [chunk for job in each.jobs for chunk in chunks[job]]
            why = (
                each.why_now(mine, now, no_room, launches)
                or pressing(mine, found, due, terms, now=now)
                or making_way(mine, windows, now=now)
            )
            if why is None:
                progress = progress_of(mine)
                if not same_step(each.progress, progress):
                    progressed.append((each, progress))
            elif left:
                parking.release(self._instance, each.run_id)
                parked_runs.enter(self._ledger, each.id, ParkedState.RELEASED, why=why)
                self._said.append(f"released run {each.run_id}: {why}")
                left -= 1
        for each, progress in progressed[:left]:
            parking.show_progress(self._instance, each.run_id, progress)
            parked_runs.note(self._ledger, [each.id], progress=progress)

    def _work_for_stopping(self, stopping: Sequence[ParkedRun]) -> bool:
        """Whether a run has something to do for jobs that are being stopped, and none is at it."""
        now = self._clock.now()
        due = any(each.release_at is None or each.release_at <= now for each in stopping)
        in_progress = dg.RunsFilter(job_name=STOP_JOB, statuses=[*_IN_PROGRESS], created_after=now - LONGEST)
        return due and not self._instance.get_run_ids(in_progress, limit=1)


_OVER = (ParkedState.REPLACED, ParkedState.ENDED, ParkedState.STOPPED)

_IN_PROGRESS = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


def _due(chunk: OpenChunk, past: Sequence[timedelta], now: datetime) -> timedelta:
    if chunk.cancel_at is not None:  # it may end at any moment
        return next_look(max(now - chunk.cancel_at, timedelta(0)), ())
    elapsed = now - chunk.submitted_at if chunk.submitted_at is not None else timedelta(0)
    return next_look(max(elapsed, timedelta(0)), past)
