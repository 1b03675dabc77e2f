"""Every week: the digests of the week that has just ended, before anybody reads mail on Monday."""

from collections.abc import Iterator

import dagster as dg

from ai_assets.digests import digest_outbox, weekly_digests
from offpeak import partitions_due

monday_digests = dg.define_asset_job(
    "monday_digests",
    selection=dg.AssetSelection.assets(weekly_digests, digest_outbox),
    description="Digests of one week, and the mails made of them.",
)


@dg.schedule(
    job=monday_digests,
    # The week ends at midnight. By 00:15 its last events are written, and the deadline of 8 hours ends before 9:00.
    cron_schedule="15 0 * * 1",
    execution_timezone="Europe/Berlin",
    description="On Monday at 00:15 in Berlin, for the week that has just ended; the mails are there by 9:00.",
)
def weekly(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    """The week that has just ended, and those before it that nobody was there to begin."""
    for week in partitions_due(context, weekly_digests):
        yield dg.RunRequest(run_key=f"{week} at {context.scheduled_execution_time}", partition_key=week)
