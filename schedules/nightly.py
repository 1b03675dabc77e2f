"""Every night: what changed since yesterday is bought while nobody waits."""

import dagster as dg

from ai_assets.classification import label_quality, support_dashboard, ticket_labels
from ai_assets.embeddings import document_chunks, document_embeddings, embedding_neighbours
from ai_assets.enrichment import image_alt_text, log_events, record_fields
from ai_assets.summaries import document_section_summaries, document_summaries
from ai_assets.translation import LANGUAGES, document_translations

nightly_refresh = dg.define_asset_job(
    "nightly_refresh",
    selection=dg.AssetSelection.assets(
        ticket_labels,
        support_dashboard,
        label_quality,
        document_chunks,
        document_embeddings,
        embedding_neighbours,
        document_section_summaries,
        document_summaries,
        record_fields,
        image_alt_text,
        log_events,
    ),
    description="Labels of new and changed tickets with their dashboard and quality, vectors and summaries of new and "
    "changed documents, and what is made of new and changed notes, pictures and log lines.",
)

nightly = dg.ScheduleDefinition(
    name="nightly",
    job=nightly_refresh,
    cron_schedule="30 1 * * *",
    # 01:30 exists exactly once on every night in UTC, the nights of the clock changes included
    execution_timezone="UTC",
    description="Begins at 01:30 UTC, so that a batch that takes its whole deadline has landed by the next night.",
)

translation_refresh = dg.define_asset_job(
    "translation_refresh",
    selection=dg.AssetSelection.assets(document_translations),
    description="New and changed documents in every language.",
)


@dg.schedule(
    name="nightly_translations",
    job=translation_refresh,
    cron_schedule="30 1 * * *",
    execution_timezone="UTC",
    description="At 01:30 UTC, all languages in one run, and so as one purchase.",
)
def nightly_translations() -> dg.RunRequest:
    """A run over the whole range of languages."""
    first, *_, last = LANGUAGES
    return dg.RunRequest(tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last})
