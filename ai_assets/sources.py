"""The application's tables: what every other family reads. They are never copied.

Reading an asset that depends on one of these reads its rows as they are at that moment. Observing one (the button in
the UI, a schedule, or a sensor) only records a version of its rows, so that automation sees that they have changed.
"""

import warnings
from collections.abc import Callable, Iterator

import dagster as dg

from resources.sources import SourceTables


def live_table(spec: dg.AssetSpec) -> dg.AssetsDefinition:
    """An asset that stands for the application's table of the same name."""

    def observe(source_tables: dg.ResourceParam[SourceTables]) -> Iterator[dg.ObserveResult]:
        version = source_tables.version(spec.key.path[-1])
        yield dg.ObserveResult(asset_key=spec.key, data_version=dg.DataVersion(version))

    with warnings.catch_warnings():
        # It is the one observable form that takes owners and kinds; what it does here has a test.
        warnings.simplefilter("ignore", dg.BetaWarning)
        decorate: Callable[..., dg.AssetsDefinition] = dg.multi_observable_source_asset(
            specs=[spec.with_io_manager_key("source_tables")], name=f"observe_{spec.key.to_python_identifier()}"
        )
        return decorate(observe)


support_tickets = live_table(
    dg.AssetSpec(
        "support_tickets",
        description="What customers wrote to support: one row per ticket, by `ticket_id`. In the sample data "
        "`human_category` and `human_urgency` are what a person said of it.",
        group_name="sources",
        owners=["team:support"],
        kinds={"table"},
        tags={"domain": "support"},
    )
)

archived_tickets = live_table(
    dg.AssetSpec(
        "archived_tickets",
        description="Support tickets of former months: one row per ticket, by `ticket_id`, with the moment it came in.",
        group_name="sources",
        owners=["team:support"],
        kinds={"table"},
        tags={"domain": "support"},
    )
)

documents = live_table(
    dg.AssetSpec(
        "documents",
        description="The articles of the help centre and the handbook: one row per document, by `document_id`.",
        group_name="sources",
        owners=["team:documentation"],
        kinds={"table"},
        tags={"domain": "knowledge"},
    )
)

product_events = live_table(
    dg.AssetSpec(
        "product_events",
        description="What users did in the product: one row per event, by `event_id`, with `user_id`, `occurred_at` "
        "(UTC), `kind`, and `detail` in a few words.",
        group_name="sources",
        owners=["team:product"],
        kinds={"table"},
        tags={"domain": "product"},
    )
)

submissions = live_table(
    dg.AssetSpec(
        "submissions",
        description="What users posted on the notice board: one row per post, by `submission_id`.",
        group_name="sources",
        owners=["team:community"],
        kinds={"table"},
        tags={"domain": "community"},
    )
)

supplier_notes = live_table(
    dg.AssetSpec(
        "supplier_notes",
        description="What colleagues jotted down about suppliers: one row per note, by `note_id`.",
        group_name="sources",
        owners=["team:purchasing"],
        kinds={"table"},
        tags={"domain": "purchasing"},
    )
)

pictures = live_table(
    dg.AssetSpec(
        "pictures",
        description="The pictures of the help centre: one row per picture, by `picture_id`, with its file and caption.",
        group_name="sources",
        owners=["team:documentation"],
        kinds={"table"},
        tags={"domain": "knowledge"},
    )
)

log_lines = live_table(
    dg.AssetSpec(
        "log_lines",
        description="What programs logged: one row per line, by `line_id`, with time and host beside the text.",
        group_name="sources",
        owners=["team:operations"],
        kinds={"table"},
        tags={"domain": "operations"},
    )
)

eval_cases = live_table(
    dg.AssetSpec(
        "eval_cases",
        description="What a prompt is tried on: one row per question, by `case_id`, with the text to answer from and a "
        "reference answer. Cases with `sampled_from` production carry the `traced_answer` that a customer got, and the "
        "`human_grade` (1 to 5) that a person gave it.",
        group_name="sources",
        owners=["team:data-platform"],
        kinds={"table"},
        tags={"domain": "evals"},
    )
)

follow_up_requests = live_table(
    dg.AssetSpec(
        "follow_up_requests",
        description="Questions that the application answered in real time and that deserve a longer look, by "
        "`request_id`. The application inserts the rows with plain SQL.",
        group_name="sources",
        owners=["team:support"],
        kinds={"table"},
        tags={"domain": "support"},
    )
)
