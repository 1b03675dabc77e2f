"""The application's tables: what every other family reads. They are never copied.

Reading an asset that depends on one of these reads its rows as they are at that moment. Observing one (the button in
the UI, a schedule, or a sensor) only records a version of its rows, so that automation sees that they have changed; a
table that is not watched may be read whole for that.
"""

import warnings
from collections.abc import Callable, Iterator

import dagster as dg

from offpeak import SourceTables


def live_table(name: str, *, team: str, domain: str, description: str) -> dg.AssetsDefinition:
    """An asset that stands for the application's table of the same name."""
    spec = dg.AssetSpec(
        name,
        description=description,
        group_name="sources",
        owners=[f"team:{team}"],
        kinds={"table"},
        tags={"domain": domain},
    )

    def observe(
        context: dg.OpExecutionContext, source_tables: dg.ResourceParam[SourceTables]
    ) -> Iterator[dg.ObserveResult]:
        version = source_tables.observed_version(spec.key, context.instance)
        yield dg.ObserveResult(asset_key=spec.key, data_version=dg.DataVersion(version))

    with warnings.catch_warnings():
        # It is the one observable form that takes owners and kinds; what it does here has a test.
        warnings.simplefilter("ignore", dg.BetaWarning)
        decorate: Callable[..., dg.AssetsDefinition] = dg.multi_observable_source_asset(
            specs=[spec.with_io_manager_key("source_tables")], name=f"observe_{spec.key.to_python_identifier()}"
        )
        return decorate(observe)


support_tickets = live_table(
    "support_tickets",
    team="support",
    domain="support",
    description="What customers wrote to support: one row per ticket, by `ticket_id`. In the sample data "
    "`human_category` and `human_urgency` are what a person said of it.",
)

archived_tickets = live_table(
    "archived_tickets",
    team="support",
    domain="support",
    description="Support tickets of former months: one row per ticket, by `ticket_id`, with the moment it came in.",
)

documents = live_table(
    "documents",
    team="documentation",
    domain="knowledge",
    description="The articles of the help centre and the handbook: one row per document, by `document_id`.",
)

product_events = live_table(
    "product_events",
    team="product",
    domain="product",
    description="What users did in the product: one row per event, by `event_id`, with `user_id`, `occurred_at` "
    "(UTC), `kind`, and `detail` in a few words.",
)

submissions = live_table(
    "submissions",
    team="community",
    domain="community",
    description="What users posted on the notice board: one row per post, by `submission_id`.",
)

supplier_notes = live_table(
    "supplier_notes",
    team="purchasing",
    domain="purchasing",
    description="What colleagues jotted down about suppliers: one row per note, by `note_id`.",
)

pictures = live_table(
    "pictures",
    team="documentation",
    domain="knowledge",
    description="The pictures of the help centre: one row per picture, by `picture_id`, with its file and caption.",
)

log_lines = live_table(
    "log_lines",
    team="operations",
    domain="operations",
    description="What programs logged: one row per line, by `line_id`, with time and host beside the text.",
)

eval_cases = live_table(
    "eval_cases",
    team="data-platform",
    domain="evals",
    description="What a prompt is tried on: one row per question, by `case_id`, with the text to answer from and a "
    "reference answer. Cases with `sampled_from` production carry the `traced_answer` that a customer got, and the "
    "`human_grade` (1 to 5) that a person gave it.",
)

package_descriptions = live_table(
    "package_descriptions",
    team="data-platform",
    domain="evals",
    description="What Debian's packages say of themselves in one line, by `package`, and the section in which their "
    "maintainers put them: labelled text that nobody wrote for this project. Without apt-cache they are "
    "Python packages, which have no section.",
)

follow_up_requests = live_table(
    "follow_up_requests",
    team="support",
    domain="support",
    description="Questions that the application answered in real time and that deserve a longer look, by "
    "`request_id`. The application inserts the rows with plain SQL.",
)

catalog_items = live_table(
    "catalog_items",
    team="product",
    domain="launch",
    description="The templates, icons, fonts and sets of the design shop: one row per item, by `item_id`.",
)

launch_prompts = live_table(
    "launch_prompts",
    team="product",
    domain="launch",
    description="What visitors of the design tool may click on, by `prompt_id`; its `kind` is starter or example.",
)

launch_traffic = live_table(
    "launch_traffic",
    team="product",
    domain="launch",
    description="What visitors asked for: `asset` and `key` of a row, and how many `requests`. A rehearsal reads it.",
)
