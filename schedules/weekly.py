"""Every week: the digests of the week that has just ended, before anybody reads mail on Monday."""

import dagster as dg

from ai_assets.digests import digest_outbox, weekly_digests

monday_digests = dg.define_asset_job(
    "monday_digests",
    selection=dg.AssetSelection.assets(weekly_digests, digest_outbox),
    description="Digests of one week, and the mails made of them.",
)

weekly = dg.build_schedule_from_partitioned_job(
    monday_digests,
    name="weekly",
    # The week ends at midnight. By 00:15 its last events are written, and the deadline of 8 hours ends before 9:00.
    day_of_week=1,
    hour_of_day=0,
    minute_of_hour=15,  # in the time zone of the partitions
    description="On Monday at 00:15 in Berlin, for the week that has just ended; the mails are there by 9:00.",
)
