"""Every hour: what people asked since the last time and walked away from. Without a new request it buys nothing."""

import dagster as dg

from ai_assets.follow_ups import follow_up_results

hourly_follow_ups = dg.define_asset_job(
    "hourly_follow_ups",
    selection=dg.AssetSelection.assets(follow_up_results),
    description="The longer answers to what the application has queued.",
)

follow_ups = dg.ScheduleDefinition(
    name="follow_ups",
    job=hourly_follow_ups,
    cron_schedule="23 * * * *",
    execution_timezone="UTC",
    description="A request waits for an hour at most before it is on its way.",
)
