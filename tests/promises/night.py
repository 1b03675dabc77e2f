"""One night of the project in the working directory: materialise the assets named as arguments, in this process.

Prints one JSON object: {"success", "error", "figures": {asset: {rows, bought, reused, ...}}}. Run with the project's
folder as the working directory, as Dagster would.
"""

import json
import sys

import dagster as dg

from definitions import defs  # of the project that stands in the working directory


def main(names: list[str]) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            asset_selection=[dg.AssetKey.from_user_string(name) for name in names],
            instance=instance,
            raise_on_error=False,
        )
        figures = {
            event.asset_key.to_user_string(): {
                label: entry.value
                for label, entry in event.materialization.metadata.items()
                if isinstance(entry.value, int | float | str)
            }
            for event in result.get_asset_materialization_events()
            if event.asset_key is not None
        }
        failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    errors = [str(failure.error.cause or failure.error) for failure in failures if failure.error is not None]
    print(json.dumps({"success": result.success, "error": "\n".join(errors), "figures": figures}))


if __name__ == "__main__":
    main(sys.argv[1:])
