"""Every day: whether the launches that are ahead can come. It buys nothing."""

import dagster as dg

from ai_assets.launch_plans import launch_capacity, launch_coverage, launch_report

plans_of_launches = dg.define_asset_job(
    "plans_of_launches",
    selection=dg.AssetSelection.assets(launch_capacity, launch_coverage, launch_report),
    description="Whether the launches that are ahead can come. It reads what is known already, and buys nothing.",
)

launch_plans = dg.ScheduleDefinition(
    name="launch_plans",
    job=plans_of_launches,
    cron_schedule="30 5 * * *",
    execution_timezone="UTC",
    description="Every day at 05:30 UTC, so that whoever plans a launch sees in the morning what it still needs.",
)
