"""What happens to jobs that live for hours outside Dagster, each told once and run on every kind of deployment.

A scenario is a function of a deployment. All of them go on at the same time in one deployment, so each has assets of
its own, and a model of its own at the provider.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import dagster as dg
import pytest

from .deployment import SOURCE_ROWS, Deployment

Scenario = Callable[[Deployment], None]

MONTHS = [f"m{month:02}" for month in range(1, 13)]
ROWS = 8
"""Requests of one asset of the project, or of one of its partitions."""
HELD = ROWS // 2
"""Of these, what a held batch answers before it stands still."""


def a_parked_run_holds_the_place_and_no_process(deployment: Deployment) -> None:
    deployment.hold("claude-haiku-5-5")
    origin = deployment.launch("ticket_labels", "support_dashboard")
    parked = is_parked(deployment, origin)
    lands(deployment, origin, parked.run_id)


def is_parked(deployment: Deployment, origin: str) -> dg.DagsterRun:
    """The parked run of a run of ticket_labels and support_dashboard whose batch is held."""
    parked = deployment.wait_until_parked(origin)
    submitting = deployment.wait_until_submitted(origin)
    assert submitting.status is dg.DagsterRunStatus.SUCCESS
    assert submitting.tags["offpeak/phase"] == "submitted"
    assert parked.tags["offpeak/phase"] == "parked"
    assert names(parked) == {"ticket_labels", "support_dashboard"}
    deployment.until(lambda: deployment.run(parked.run_id).tags.get("offpeak/progress"), what="A report of progress")
    deployment.until(lambda: not deployment.workers(origin), what="The end of the submitting process")
    deployment.wait_for_ticks()
    assert deployment.run(parked.run_id).status is dg.DagsterRunStatus.QUEUED
    assert not deployment.workers(parked.run_id)
    assert not deployment.landed("ticket_labels")
    assert not deployment.landed("support_dashboard")
    return parked


def lands(deployment: Deployment, origin: str, parked: str) -> None:
    """Heal that batch: the parked run materialises both assets once."""
    deployment.heal("ticket_labels")
    deployment.wait_until_landed(origin)
    assert [each.run_id for each in deployment.landed("ticket_labels")] == [parked]
    assert [each.run_id for each in deployment.landed("support_dashboard")] == [parked]
    assert deployment.sold("claude-haiku-5-5") == [1] * SOURCE_ROWS


def a_backfill_of_twelve_partitions_in_one_run_ends_well_with_its_downstream(deployment: Deployment) -> None:
    deployment.hold("gpt-5-mini")
    backfill = deployment.backfill(
        "monthly_tickets", "monthly_labels", "monthly_report", "year_report", partitions=MONTHS
    )
    origin = first_run(deployment, backfill)
    assert names(origin) == {"monthly_tickets", "monthly_labels", "monthly_report"}
    parked = deployment.wait_until_parked(origin.run_id)
    deployment.wait_until_submitted(origin.run_id)
    kept = ("dagster/backfill", "dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
    assert [parked.tags[tag] for tag in kept] == [backfill, MONTHS[0], MONTHS[-1]]
    assert names(parked) == {"monthly_labels", "monthly_report"}

    deployment.heal("monthly_labels")
    deployment.wait_until_backfilled(backfill)
    for asset in ("monthly_tickets", "monthly_labels", "monthly_report"):
        assert sorted(str(each.partition) for each in deployment.landed(asset)) == MONTHS
    assert len(deployment.landed("year_report")) == 1
    assert len(deployment.batches("monthly_labels")) == 1
    assert deployment.sold("gpt-5-mini") == [1] * 36


def a_diamond_runs_its_child_once_after_both_parents(deployment: Deployment) -> None:
    deployment.hold("gpt-5-nano")
    origin = deployment.launch("left_labels", "right_labels", "joined_view")
    deployment.wait_until_submitted(origin)
    deployment.until(
        lambda: [batch["outcome"] for batch in deployment.batches("right_labels")] == ["completed"],
        what="The end of the batch that is not held",
    )
    parked = deployment.wait_until_parked(origin)
    deployment.until(
        lambda: "1 of 2 batches landed" in deployment.run(parked.run_id).tags["offpeak/progress"],
        what="A report that one of two batches has landed",
    )
    deployment.wait_for_ticks()
    assert deployment.run(parked.run_id).status is dg.DagsterRunStatus.QUEUED
    assert not deployment.landed("joined_view")
    assert not deployment.checks("left_labels", "every_row_is_there")

    deployment.heal("left_labels")
    deployment.wait_until_landed(origin)
    for asset in ("left_labels", "right_labels", "joined_view"):
        assert len(deployment.landed(asset)) == 1, asset
    assert [check.passed for check in deployment.checks("left_labels", "every_row_is_there")] == [True]
    assert deployment.sold("gpt-5-nano") == deployment.sold("claude-haiku-4-5") == [1] * ROWS


def a_second_click_joins_the_purchase_and_both_runs_succeed(deployment: Deployment) -> None:
    deployment.hold("gpt-4.1-nano")
    first = deployment.launch("clicked_labels", "clicked_view")
    deployment.wait_until_parked(first)
    second = deployment.launch("clicked_labels", "clicked_view")
    deployment.wait_until_parked(second)
    deployment.wait_until_submitted(second)

    deployment.heal("clicked_labels")
    runs = [run.run_id for origin in (first, second) for run in deployment.wait_until_landed(origin)]
    views = deployment.landed("clicked_view")
    assert len(views) == 2
    assert {each.run_id for each in views} <= set(runs)
    assert len(deployment.batches("clicked_labels")) == 1
    assert deployment.sold("gpt-4.1-nano") == [1] * ROWS


def terminating_a_parked_run_cancels_what_nobody_else_waits_for_and_re_executing_it_goes_on(
    deployment: Deployment,
) -> None:
    deployment.hold("gpt-4.1-mini")
    deployment.hold("o4-mini")
    origin = deployment.launch("stopped_labels", "stopped_view", "shared_labels")
    deployment.wait_until_submitted(origin)
    parked = deployment.wait_until_parked(origin)
    joining = deployment.launch("sharing_labels")
    deployment.wait_until_submitted(joining)
    wait_until_answered(deployment, "stopped_labels", HELD)
    wait_until_answered(deployment, "sharing_labels", HELD)
    deployment.ui.terminate(parked.run_id)
    wait_until_cancelled(deployment, parked.run_id, "stopped_labels")
    wait_until_jobs_are(deployment, "shared_labels", "cancelled")
    assert deployment.sold("gpt-4.1-mini") == [1] * HELD
    assert [batch["status"] for batch in deployment.batches("sharing_labels")] == ["in_progress"]

    again = deployment.ui.re_execute(parked.run_id)
    deployment.wait_until_submitted(again)
    deployment.heal("sharing_labels")
    deployment.wait_until_landed(joining)
    wait_until_quiet(deployment, "stopped_labels")
    for asset in ("stopped_labels", "stopped_view", "shared_labels", "sharing_labels"):
        assert len(deployment.landed(asset)) == 1, asset
    assert deployment.sold("gpt-4.1-mini") == deployment.sold("o4-mini") == [1] * ROWS


def cancelling_a_backfill_cancels_its_batch_and_materialising_again_goes_on(deployment: Deployment) -> None:
    deployment.hold("gpt-4.1")
    backfill = deployment.backfill("cancelled_labels", partitions=MONTHS[:2])
    parked = deployment.wait_until_parked(first_run(deployment, backfill).run_id)
    wait_until_answered(deployment, "cancelled_labels", ROWS)
    deployment.ui.cancel_backfill(backfill)
    deployment.wait_until_backfilled(backfill, "CANCELED")
    wait_until_cancelled(deployment, parked.run_id, "cancelled_labels")
    assert deployment.sold("gpt-4.1") == [1] * ROWS

    deployment.wait_until_landed(
        deployment.launch("cancelled_labels", partitions=(MONTHS[0], MONTHS[1]), offpeak__wait="run")
    )
    assert sorted(str(each.partition) for each in deployment.landed("cancelled_labels")) == MONTHS[:2]
    assert deployment.sold("gpt-4.1") == [1] * 2 * ROWS


def a_batch_that_fails_fails_the_parked_run_and_materialising_again_goes_on(deployment: Deployment) -> None:
    deployment.provider.fault("fail_validation", code="model_mismatch", match={"model": "gpt-4o-mini"})
    origin = deployment.launch("refused_labels")
    deployment.wait_until_submitted(origin)
    deployment.until(
        lambda: all(deployment.ended(run.run_id) for run in deployment.runs(offpeak__origin_run=origin)),
        what="The end of the parked run",
    )
    (parked,) = deployment.runs(offpeak__origin_run=origin)
    assert parked.status is dg.DagsterRunStatus.FAILURE
    assert "model_mismatch" in deployment.why(parked.run_id)
    assert [job.state.value for job in deployment.jobs("refused_labels")] == ["failed"]

    deployment.wait_until_landed(deployment.launch("refused_labels", offpeak__wait="run"))
    assert len(deployment.landed("refused_labels")) == 1
    assert deployment.sold("gpt-4o-mini") == [1] * ROWS


def what_brought_no_answer_goes_round_again_and_a_chain_parks_again(deployment: Deployment) -> None:
    deployment.provider.fault("error_lines", match={"model": "gpt-5.2"}, share=0.5)
    deployment.provider.fault("expire", match={"model": "claude-opus-4-5"}, share=0.5)
    models = {
        "sliced_labels": "gpt-5.2",
        "expired_labels": "claude-opus-4-5",
        "summaries": "gpt-4o",
        "summary_labels": "claude-sonnet-4-5",
        "checked_labels": "gpt-5.1",
    }
    origin = deployment.launch(*models)
    deployment.wait_until_submitted(origin)
    runs = deployment.wait_until_landed(origin)
    assert len(runs) == 3
    for asset, model in models.items():
        assert len(deployment.landed(asset)) == 1, asset
        assert deployment.sold(model) == [1] * ROWS, asset
    for asset in ("sliced_labels", "expired_labels"):
        assert [batch["requests"] for batch in deployment.batches(asset)] == [ROWS, HELD], asset
    assert [check.passed for check in deployment.checks("checked_labels", "something_was_asked")] == [True]


def a_run_from_a_shell_waits_in_place_and_says_why(deployment: Deployment) -> None:
    done = deployment.run_in_shell("dg", "launch", "--assets", "shell_labels")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "waits for its batch in place" in done.stdout + done.stderr
    assert len(deployment.landed("shell_labels")) == 1
    assert deployment.sold("gpt-5.4-mini") == [1] * ROWS


def names(run: dg.DagsterRun) -> set[str]:
    """The assets of a run."""
    return {key.to_user_string() for key in run.asset_selection or ()}


def first_run(deployment: Deployment, backfill: str) -> dg.DagsterRun:
    """The run that a backfill begins with; Dagster looks at backfills every 30 seconds."""
    run: dg.DagsterRun = deployment.until(
        lambda: next(iter(deployment.runs(dagster__backfill=backfill)), None), what="A run of the backfill"
    )
    return run


def wait_until_answered(deployment: Deployment, asset: str, number: int) -> None:
    """Until the provider has answered so many requests of the asset's only batch, which counts as bought."""
    deployment.until(
        lambda: [batch["answered"] for batch in deployment.batches(asset)] == [number],
        what=f"{number} answers for {asset}",
    )


def wait_until_cancelled(deployment: Deployment, run_id: str, asset: str) -> None:
    """Until the run, the asset's job and its batch are cancelled."""
    deployment.until(
        lambda: deployment.run(run_id).status is dg.DagsterRunStatus.CANCELED,
        what=f"The end of {run_id}",
    )
    wait_until_jobs_are(deployment, asset, "cancelled")
    assert [batch["outcome"] for batch in deployment.batches(asset)] == ["cancelled"]


def wait_until_jobs_are(deployment: Deployment, asset: str, *states: str) -> None:
    """Until the asset's jobs are in these states, the oldest first."""
    deployment.until(
        lambda: [job.state.value for job in deployment.jobs(asset)] == [*states],
        what=f"The state {' and '.join(states)} of the jobs of {asset}",
    )


def wait_until_quiet(deployment: Deployment, asset: str) -> None:
    """Until no run of the asset is left that has not ended."""
    deployment.until(
        lambda: all(deployment.ended(run.run_id) for run in deployment.runs() if asset in names(run)),
        what=f"The end of all runs of {asset}",
    )


SCENARIOS: tuple[Scenario, ...] = (
    a_backfill_of_twelve_partitions_in_one_run_ends_well_with_its_downstream,
    cancelling_a_backfill_cancels_its_batch_and_materialising_again_goes_on,
    terminating_a_parked_run_cancels_what_nobody_else_waits_for_and_re_executing_it_goes_on,
    a_diamond_runs_its_child_once_after_both_parents,
    what_brought_no_answer_goes_round_again_and_a_chain_parks_again,
    a_second_click_joins_the_purchase_and_both_runs_succeed,
    a_batch_that_fails_fails_the_parked_run_and_materialising_again_goes_on,
    a_run_from_a_shell_waits_in_place_and_says_why,
)
"""The slow ones first."""

QUICK = (a_second_click_joins_the_purchase_and_both_runs_succeed,)
"""What `make test` has time for, beside what only the UI can show."""


@contextmanager
def carried_out(request: pytest.FixtureRequest, deployment: Deployment) -> Iterator[dict[Scenario, Future[None]]]:
    """The scenarios that the selected tests of a module ask for, all begun at once."""
    chosen = [
        item.callspec.params["scenario"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path and hasattr(item, "callspec")
    ]

    def carry_out(scenario: Scenario) -> None:
        with deployment.evidence():
            scenario(deployment)

    with ThreadPoolExecutor(len(chosen)) as pool:
        yield {scenario: pool.submit(carry_out, scenario) for scenario in chosen}
