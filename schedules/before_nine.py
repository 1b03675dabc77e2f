"""Every morning: what people open at nine where they work is ready by then, on the days of the clock changes too."""

import dagster as dg

from ai_assets.moderation import TIME_ZONE, moderation_flags, moderation_queue

moderation_refresh = dg.define_asset_job(
    "moderation_refresh",
    selection=dg.AssetSelection.assets(moderation_flags, moderation_queue),
    description="Flags of new and changed posts, and the queue that is made of them.",
)

before_nine = dg.ScheduleDefinition(
    name="before_nine",
    job=moderation_refresh,
    # 01:00 exists exactly once on every night: there, clocks change between two and three
    cron_schedule="0 1 * * *",
    execution_timezone=TIME_ZONE,
    description="Begins at 01:00 in Amsterdam, so that flags that take their whole deadline are there by 07:30.",
)
