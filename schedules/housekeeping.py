"""Every night: files that nothing needs any more are deleted, on this disk and at the providers."""

import dagster as dg

housekeeping = dg.ScheduleDefinition(
    name="housekeeping",
    job_name="offpeak_housekeeping",  # with_offpeak adds it
    cron_schedule="40 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,  # it buys nothing, and without it the disk fills
    description="At 03:40 UTC, when the night's purchases are on their way and nobody waits.",
)
