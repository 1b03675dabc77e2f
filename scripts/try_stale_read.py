"""Read ticket labels with a tolerance that they are past: the gate refuses, and says how old they are."""

import sys
from datetime import timedelta

import dagster as dg
import pandas as pd

from offpeak import tolerates
from offpeak.cli.project import find_project, load_definitions, prepare_dagster_home
from offpeak.errors import StaleInput


@dg.asset(ins={"ticket_labels": tolerates(timedelta(seconds=1))})
def impatient_dashboard(ticket_labels: pd.DataFrame) -> None:
    """A consumer that accepts labels of the last second only."""
    print(f"Read {len(ticket_labels)} rows.")


def main() -> int:
    project = find_project()
    defs = load_definitions(project)
    with dg.DagsterInstance.from_config(str(prepare_dagster_home(project))) as instance:
        try:
            dg.materialize(
                [impatient_dashboard, *(defs.assets or [])],  # type: ignore[list-item]
                selection=[impatient_dashboard],
                resources=defs.resources,
                instance=instance,
            )
        except StaleInput as refusal:
            print(f"\nRefused: {refusal}")
            return 0
    print("The labels were read; they should have been refused.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
