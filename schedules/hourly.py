"""Every hour: a look at what is on its way, kept so that Dagster plots it over time."""

import dagster as dg

from ai_assets.operations import batch_operations

hourly_look = dg.define_asset_job(
    "hourly_look",
    selection=dg.AssetSelection.assets(batch_operations),
    description="How purchases are getting on. It reads the ledger and buys nothing.",
)

hourly = dg.ScheduleDefinition(
    name="hourly",
    job=hourly_look,
    cron_schedule="7 * * * *",  # not on the hour, when everything else begins
    execution_timezone="UTC",
    description="A job counts as stuck after an hour at the soonest, so a look every hour misses none.",
)
