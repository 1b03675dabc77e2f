"""Every week: have the documents moved away from the baseline? It buys nothing."""

import dagster as dg

from ai_assets.embeddings import embedding_drift

drift_of_the_week = dg.define_asset_job(
    "drift_of_the_week",
    selection=dg.AssetSelection.assets(embedding_drift),
    description="How far the documents' vectors have moved. It needs `embedding_baseline` to exist.",
)

weekly_drift = dg.ScheduleDefinition(
    name="weekly_drift",
    job=drift_of_the_week,
    cron_schedule="0 15 * * 1",
    execution_timezone="UTC",
    description="On Mondays at 15:00 UTC, by the vectors of the night, or of the one before where a batch takes long.",
)
"""Materialise `embedding_baseline` once before it is switched on; from then on each quarter renews it."""
