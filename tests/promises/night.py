"""A program whose children live a night of a project each: they materialise some of its assets, and end.

It has imported what a project stands on and nothing of any project: each night reads its project's files as they are
then. A job (see forking.py) is {"folder", "provider_url", "assets", "partition", "out"}; what comes of it is
{"success", "reason", "figures": {asset: {rows, bought, reused, ...}}}.
"""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import dagster as dg

import offpeak

from .forking import serve


def night(job: dict[str, Any]) -> dict[str, Any]:
    """What became of one night of the project that stands in `folder`."""
    folder = Path(job["folder"])
    os.chdir(folder)
    os.environ["OFFPEAK_LOCAL_URL"] = job["provider_url"]
    sys.path.insert(0, str(folder))
    project = importlib.import_module("definitions")
    assert Path(str(project.__file__)).parent == folder
    with dg.DagsterInstance.ephemeral() as instance:
        result = project.defs.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=[dg.AssetKey.from_user_string(name) for name in job["assets"]],
            partition_key=job.get("partition"),
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
    return {"success": result.success, "reason": "\n".join(errors), "figures": figures}


if __name__ == "__main__":
    sys.dont_write_bytecode = True  # a file edited twice within a second would pass for the one compiled in between
    for name in offpeak.__all__:
        getattr(offpeak, name)  # imports where it lives
    serve(night)
