"""Which assets of a project others stand on, as far as a run can tell."""

import dagster as dg
from dagster._check import CheckError


def consumed(context: dg.AssetExecutionContext) -> frozenset[str]:
    """The assets that others of the run's code location depend on; of `dg.materialize`, those it was given."""
    try:
        assets = context.repository_def.asset_graph
    except CheckError:  # Dagster gives a run in this process none
        assets = context.job_def.asset_layer.asset_graph
    return frozenset(key.to_user_string() for key in assets.get_all_asset_keys() if assets.get(key).child_keys)
