"""Every night: what changed since yesterday is bought while nobody waits."""

import dagster as dg

from ai_assets.classification import support_dashboard, ticket_labels
from ai_assets.embeddings import document_chunks, document_embeddings, embedding_neighbours

nightly_refresh = dg.define_asset_job(
    "nightly_refresh",
    selection=dg.AssetSelection.assets(
        ticket_labels, support_dashboard, document_chunks, document_embeddings, embedding_neighbours
    ),
    description="Labels of new and changed tickets with their dashboard, and vectors of what is new in the documents.",
)

nightly = dg.ScheduleDefinition(
    name="nightly",
    job=nightly_refresh,
    cron_schedule="30 1 * * *",
    # 01:30 exists exactly once on every night in UTC, the nights of the clock changes included
    execution_timezone="UTC",
    description="Begins at 01:30 UTC, so that a batch that takes its whole deadline has landed by 13:30 UTC.",
)
