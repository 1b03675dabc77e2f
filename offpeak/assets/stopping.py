"""The run that stops jobs: somebody terminated the run that held their place, or cancelled its backfill.

What no other live job waits for is cancelled at the provider; what the batches finished until then is kept.
"""

from datetime import timedelta

import dagster as dg

from offpeak.assets.declaration import Declaration, declaration_of
from offpeak.assets.parking import location_of
from offpeak.assets.resources import API_KEY, BatchApi
from offpeak.assets.work import Work
from offpeak.clock import SystemClock
from offpeak.errors import OffpeakError
from offpeak.ledger import jobs, parked_runs
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.parked_runs import ParkedRun
from offpeak.ledger.states import JobState, ParkedState
from offpeak.results.io_manager import RESULTS_KEY, OffpeakResults

STOP_JOB = "offpeak_stop_batches"

GRACE = timedelta(seconds=20)
"""How long one run waits for cancelled batches to end. Providers may take ten minutes: then another run collects."""

AGAIN = timedelta(minutes=1)
"""When a job whose batches had not ended yet is looked at again."""

AGAIN_AFTER_ERROR = timedelta(minutes=10)

LONGEST = timedelta(hours=1)
"""A run that began so long ago and has not ended has died unseen: another one may be requested."""


@dg.op(
    required_resource_keys={API_KEY, RESULTS_KEY},
    description="Cancels the batches of jobs that were terminated, and keeps what they finished.",
)
def stop_batches(context: dg.OpExecutionContext) -> None:
    """One round for every parked run of this code location that is being stopped."""
    results: OffpeakResults = getattr(context.resources, RESULTS_KEY)
    api: BatchApi = getattr(context.resources, API_KEY)
    ledger, clock = results.ledger, SystemClock()
    failed: dict[int, str] = {}
    for patience in (timedelta(0), GRACE):  # what goes on costs money: all is cancelled before anything is waited for
        ends = clock.now() + patience
        for each in _being_stopped(context, ledger):
            for job_id in [job_id for job_id in each.jobs if job_id not in failed]:
                try:
                    _stop(context, each, job_id, ledger, api, patience=max(ends - clock.now(), timedelta(0)))
                except OffpeakError as error:  # the others are stopped all the same
                    failed[job_id] = f"run {each.run_id}: {error}"
    for each in _being_stopped(context, ledger):
        if not each.jobs:
            parked_runs.enter(ledger, each.id, ParkedState.STOPPED, why="its jobs are cancelled")
            continue
        pause = AGAIN_AFTER_ERROR if each.jobs.keys() & failed.keys() else AGAIN
        parked_runs.note(ledger, [each.id], release_at=clock.now() + pause)
        context.log.info(f"{', '.join(each.jobs.values())}: not all batches have ended yet; looked at again later.")
    if failed:
        raise OffpeakError("Not every job could be stopped; it is tried again. " + " / ".join(failed.values()))


def _being_stopped(context: dg.OpExecutionContext, ledger: Ledger) -> list[ParkedRun]:
    location = location_of(context.run) or None
    found = parked_runs.open_ones(ledger, location=location)
    return [each for each in found if each.state is ParkedState.STOPPING]


@dg.job(name=STOP_JOB, description="Cancels the batches of terminated runs at their provider.")
def stop_job() -> None:
    """What the lifecycle sensor requests."""
    stop_batches()


def _stop(
    context: dg.OpExecutionContext, each: ParkedRun, job_id: int, ledger: Ledger, api: BatchApi, *, patience: timedelta
) -> None:
    """Cancel one job's batches, and close it once they have ended and are collected."""
    asset = each.jobs[job_id]
    declaration = _declaration(context.repository_def, asset)
    provider = api.provider(declaration.provider, asset=asset)
    try:
        work = Work(
            job_id,
            asset=asset,
            model=declaration.model,
            output=declaration.output,
            ledger=ledger,
            provider=provider,
            rates=api.rates(declaration.model),
            clock=SystemClock(),
            log=context.log,
        )
        if not work.wind_down(patience=patience):
            return
    finally:
        provider.close()
    kept = jobs.answered(ledger, job_id)
    why = f"run {each.run_id} was terminated; {kept:,} rows have an answer, which is kept"
    jobs.close(ledger, job_id, JobState.CANCELLED, why=why)
    context.log.info(f"{asset}: job {job_id} is cancelled: {why}.")


def _declaration(repository: dg.RepositoryDefinition, asset: str) -> Declaration:
    key = dg.AssetKey.from_user_string(asset)
    found = repository.assets_defs_by_key.get(key)
    declaration = declaration_of(found) if found is not None else None
    if declaration is None:
        raise OffpeakError(
            f"{asset} is no batch asset of this code location any more, so its open batches cannot be collected. "
            "Bring it back until they are, or cancel them at the provider."
        )
    return declaration
