"""A run of one asset knows which assets of its code location others stand on."""

from typing import Any

import dagster as dg

from offpeak import tolerates
from offpeak.reports.consumers import consumed

from .labels import STALENESS, labels


def test_a_run_knows_what_others_of_its_code_location_stand_on(code_location: Any) -> None:
    found: list[frozenset[str]] = []

    @dg.asset(deps=[tolerates("labels", STALENESS)])
    def dashboard() -> None: ...

    @dg.asset
    def report(context: dg.AssetExecutionContext) -> None:
        found.append(consumed(context))

    run = code_location(labels, dashboard, report).run("report")
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert found == [frozenset({"labels"})]
