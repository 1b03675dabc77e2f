"""Every quarter: what counts as normal is looked at anew, and which work runs in the wrong lane. It buys nothing."""

import dagster as dg

from ai_assets.audits import workload_audit
from ai_assets.embeddings import embedding_baseline

review_of_the_quarter = dg.define_asset_job(
    "review_of_the_quarter",
    selection=dg.AssetSelection.assets(embedding_baseline, workload_audit),
    description="The vectors of today become what drift is measured against; and the workload audit.",
)

quarterly_review = dg.ScheduleDefinition(
    name="quarterly_review",
    job=review_of_the_quarter,
    cron_schedule="0 16 2 1,4,7,10 *",
    execution_timezone="UTC",
    description="On the second day of a quarter at 16:00 UTC: an hour after the week's drift, if that falls on it.",
)
