"""In the quiet days before a launch: every night what visitors will ask for, and a look whether it lasts to the end."""

from collections.abc import Iterator

import dagster as dg

from ai_assets.launches import launch_catalog_summaries, launch_embeddings, launch_examples, launch_starters
from offpeak import BatchApi, fresh_to_the_end, launches_due
from offpeak.launches.precompute import needed_at, why_none

PRECOMPUTED = (launch_starters, launch_examples, launch_catalog_summaries, launch_embeddings)

launch_checks = [fresh_to_the_end(each) for each in PRECOMPUTED]

launch_precomputation = dg.define_asset_job(
    "launch_precomputation",
    selection=dg.AssetSelection.assets(*PRECOMPUTED),
    description="Starters, examples, catalogue summaries and vectors of one launch, and whether they last to its end.",
)


@dg.schedule(
    job=launch_precomputation,
    cron_schedule="30 2 * * *",  # an hour after the rest of the night
    execution_timezone="UTC",
    description="At 02:30 UTC, for each launch that is in its quiet days. What is unchanged is looked at, not bought.",
)
def launch_precompute(
    context: dg.ScheduleEvaluationContext, batch_api: dg.ResourceParam[BatchApi]
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """A run for each launch; what others hold up is made up for after them."""
    yield from launches_due(context, launch_starters, batch_api.planned_launches())


launch_look = dg.define_asset_job(
    "launch_look",
    selection=dg.AssetSelection.checks(*launch_checks),
    description="Whether what is pre-computed lasts to the end of each launch. It reads the ledger and buys nothing.",
)


@dg.schedule(
    job=launch_look,
    cron_schedule="15 */3 * * *",  # a run that waits for its batch checks nothing until it has landed
    execution_timezone="UTC",
    description="Every three hours, from the first of the quiet days to the end of each launch.",
)
def launch_watch(
    context: dg.ScheduleEvaluationContext, batch_api: dg.ResourceParam[BatchApi]
) -> dg.RunRequest | dg.SkipReason:
    """A look, as long as a launch needs its rows."""
    launches, at = batch_api.planned_launches().launches, context.scheduled_execution_time
    return dg.RunRequest() if needed_at(launches, at) else dg.SkipReason(why_none(launches, at))
