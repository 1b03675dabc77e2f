"""Every week: the suite is answered and graded anew, as far as a case, a prompt, a model or a trace has changed."""

import dagster as dg

from ai_assets.evals import (
    candidate_outputs,
    eval_calibration,
    eval_comparisons,
    eval_grades,
    eval_outputs,
    prompt_regression,
)

weekly_evaluation = dg.define_asset_job(
    "weekly_evaluation",
    selection=dg.AssetSelection.assets(
        eval_outputs, candidate_outputs, eval_grades, eval_comparisons, eval_calibration, prompt_regression
    ),
    description="Answers of both variants, grades and comparisons, what the judge is worth, and the verdict.",
)

weekly_evals = dg.ScheduleDefinition(
    name="weekly_evals",
    job=weekly_evaluation,
    cron_schedule="30 2 * * 6",  # two batches in a row have the whole weekend
    execution_timezone="UTC",
    description="On Saturdays at 02:30 UTC, so that the figures are there on Monday.",
)
