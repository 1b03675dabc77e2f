"""Dagster's evaluation of automation conditions, one tick at a time."""

from datetime import datetime

import dagster as dg


class Daemon:
    """Dagster's evaluation of all conditions, tick by tick."""

    def __init__(self, defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.defs, self.instance, self.cursor = defs, instance, None

    def tick(self, at: datetime | None = None) -> set[str]:
        """The assets that are asked for, whatever their partitions."""
        result = dg.evaluate_automation_conditions(
            defs=self.defs, instance=self.instance, cursor=self.cursor, evaluation_time=at
        )
        self.cursor = result.cursor
        return {
            each.key.to_user_string()
            for each in result.results
            if isinstance(each.key, dg.AssetKey) and not each.true_subset.is_empty
        }
