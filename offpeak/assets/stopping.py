"""The run that stops jobs: somebody terminated the run that held their place, or cancelled its backfill.

What no other live job waits for is cancelled at the provider; what the batches finished until then is kept.
"""

from datetime import timedelta

import dagster as dg

from offpeak.assets.declaration import Declaration, declaration_of
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


@dg.op(
    required_resource_keys={API_KEY, RESULTS_KEY},
    description="Cancels the batches of jobs that were terminated, and keeps what they finished.",
)
def stop_batches(context: dg.OpExecutionContext) -> None:
    """One round for every parked run of this code location that is being stopped."""
    results: OffpeakResults = getattr(context.resources, RESULTS_KEY)
    api: BatchApi = getattr(context.resources, API_KEY)
    origin = context.run.remote_job_origin
    location = origin.repository_origin.code_location_origin.location_name if origin is not None else None
    failed: list[str] = []
    for each in parked_runs.open_ones(results.ledger, location=location):
        if each.state is ParkedState.STOPPING:
            try:
                _stop(context, each, results.ledger, api)
            except OffpeakError as error:  # the others are stopped all the same
                failed.append(f"run {each.run_id}: {error}")
                parked_runs.note(results.ledger, [each.id], release_at=SystemClock().now() + AGAIN_AFTER_ERROR)
    if failed:
        raise OffpeakError("Not every job could be stopped; it is tried again. " + " / ".join(failed))


@dg.job(name=STOP_JOB, description="Cancels the batches of terminated runs at their provider.")
def stop_job() -> None:
    """What the lifecycle sensor requests."""
    stop_batches()


def _stop(context: dg.OpExecutionContext, each: ParkedRun, ledger: Ledger, api: BatchApi) -> None:
    for job_id, asset in each.jobs.items():
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
            if not work.wind_down(patience=GRACE):
                parked_runs.note(ledger, [each.id], release_at=SystemClock().now() + AGAIN)
                context.log.info(f"{asset}: job {job_id} is being cancelled; its batches have not ended yet.")
                return
        finally:
            provider.close()
        kept = jobs.answered(ledger, job_id)
        why = f"run {each.run_id} was terminated; {kept:,} rows have an answer, which is kept"
        jobs.close(ledger, job_id, JobState.CANCELLED, why=why)
        context.log.info(f"{asset}: job {job_id} is cancelled: {why}.")
    parked_runs.enter(ledger, each.id, ParkedState.STOPPED, why="its jobs are cancelled")


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
