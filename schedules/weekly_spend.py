"""Every week: what was spent, saved and wasted. It buys nothing."""

import dagster as dg

from ai_assets.spending import spend_report

spend_of_the_week = dg.define_asset_job(
    "spend_of_the_week",
    selection=dg.AssetSelection.assets(spend_report),
    description="What was spent, saved and wasted. It reads the ledger and buys nothing.",
)

weekly_spend = dg.ScheduleDefinition(
    name="weekly_spend",
    job=spend_of_the_week,
    cron_schedule="0 6 * * 1",
    execution_timezone="UTC",
    description="On Mondays at 06:00 UTC: the week up to then, the last night's batches included.",
)
