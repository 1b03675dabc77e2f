"""Is a candidate prompt better than the one in use? Both answer a suite, a judge grades them, and people the judge."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal

import dagster as dg
import pandas as pd
from pydantic import BaseModel, Field

from offpeak import Chat, FreshnessContract, Waiting, Workload, batch_asset, tolerates
from resources.judging import against_baseline, against_people, position_bias

ROLE = "You answer customers of a booking software out of the article that you are given, in plain words. "
PROMPTS = {
    "baseline": ROLE + "Answer in at most two sentences.",
    "candidate": ROLE + "Answer in at most three sentences: first the answer itself, then what there is to do.",
}
"""The prompt in use, and the one that is to replace it: raise `code_version` of `eval_outputs` with either."""

RUBRIC = """\
You grade an answer to a customer's question by a reference answer that a person wrote.
Correctness, 1 to 5: 5 says the same as the reference, 4 differs in what does not matter, 3 is right in part, 2 misses
the point, 1 contradicts the reference or does not answer. Completeness, 1 to 5: how much of the reference is there.
Length and friendliness count for nothing. Confidence, 0 to 1: how sure you are that a careful person grades the same.
"""
PAIRWISE = """\
You compare two answers to a customer's question by a reference answer that a person wrote. Say which is nearer to the
reference in what it says, or that it is a tie. Order, length and friendliness count for nothing.
"""


class Grade(BaseModel):
    """What the judge says of one answer."""

    correctness: int = Field(ge=1, le=5, description="Whether it says what the reference says.")
    completeness: int = Field(ge=1, le=5, description="How much of the reference is there.")
    confidence: float = Field(ge=0, le=1, description="How sure the judge is.")
    reason: str = Field(description="What is wrong or missing, in one sentence.")


class Comparison(BaseModel):
    """What the judge says of two answers, in the order in which it has read them."""

    winner: Literal["first", "second", "tie"]
    reason: str = Field(description="What decided it, in one sentence.")


common: dict[str, Any] = {
    "workload": Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
    "code_version": "1",
    "group_name": "evals",
    "owners": ["team:data-platform"],
    "tags": {"domain": "evals"},
}
judging: dict[str, Any] = common | {
    "model": "anthropic/claude-sonnet-5-5",
    "contract": FreshnessContract(valid_for=timedelta(days=8, hours=2)),  # a week, two batches in a row, two hours
    "ins": {"eval_outputs": tolerates(timedelta(days=7, hours=14), min_coverage=0.95)},
}
reading = tolerates(timedelta(days=8, hours=3), min_coverage=0.95)


@batch_asset(
    model="anthropic/claude-haiku-5-5", contract=FreshnessContract(valid_for=timedelta(days=7, hours=13)), **common
)
def eval_outputs(eval_cases: pd.DataFrame) -> Iterator[Chat]:
    """What both prompts answer to every case: keys are `case/baseline` and `case/candidate`."""
    case: Any
    for case in eval_cases.itertuples():
        for name, prompt in PROMPTS.items():
            text = f"Question: {case.question}\n\nArticle:\n{case.context}"
            yield Chat(key=f"{case.case_id}/{name}", system=prompt, prompt=text, max_tokens=400)


@batch_asset(output=Grade, **judging)
def eval_grades(eval_cases: pd.DataFrame, eval_outputs: pd.DataFrame) -> Iterator[Chat]:
    """A judge's grades by the rubric: of both prompts' answers, and of what production said (`case/traced`)."""
    answers = eval_outputs.set_index("key")["text"].to_dict()
    case: Any
    for case in eval_cases.itertuples():
        given = {name: answers.get(f"{case.case_id}/{name}") for name in PROMPTS} | {"traced": case.traced_answer}
        for name, answer in given.items():
            if answer:
                text = f"Question: {case.question}\n\nReference: {case.reference}\n\nAnswer: {answer}"
                yield Chat(key=f"{case.case_id}/{name}", system=RUBRIC, prompt=text, max_tokens=400)


@batch_asset(output=Comparison, **judging)
def eval_comparisons(eval_cases: pd.DataFrame, eval_outputs: pd.DataFrame) -> Iterator[Chat]:
    """Which of the two answers is better, asked in both orders: keys end in the prompt whose answer is read first."""
    answers = eval_outputs.set_index("key")["text"].to_dict()
    case: Any
    for case in eval_cases.itertuples():
        for first, second in (("baseline", "candidate"), ("candidate", "baseline")):
            one, other = answers.get(f"{case.case_id}/{first}"), answers.get(f"{case.case_id}/{second}")
            if one and other:
                asked = f"Question: {case.question}\n\nReference: {case.reference}"
                text = f"{asked}\n\nFirst answer: {one}\n\nSecond answer: {other}"
                yield Chat(key=f"{case.case_id}/{first}", system=PAIRWISE, prompt=text, max_tokens=400)


@dg.asset(
    ins={"eval_grades": reading, "eval_comparisons": reading},
    group_name="evals",
    owners=["team:data-platform"],
    tags={"domain": "evals"},
    kinds={"pandas", "matplotlib"},
)
def eval_calibration(
    context: dg.AssetExecutionContext,
    eval_cases: pd.DataFrame,
    eval_grades: pd.DataFrame,
    eval_comparisons: pd.DataFrame,
) -> pd.DataFrame:
    """How far the judge can be trusted: agreement with people on the same answers, and its bias to what it reads first.

    The rows are this week's thresholds: from which confidence on the judge agrees with people as often as is wanted.
    What the judge is less sure of is for a person to look at.
    """
    thresholds, figures = against_people(eval_cases, eval_grades)
    context.add_output_metadata({**figures, **position_bias(eval_comparisons)})
    return thresholds


@dg.asset(
    ins={"eval_grades": reading, "eval_comparisons": reading},
    check_specs=[dg.AssetCheckSpec("no_regression", asset="prompt_regression", blocking=True)],
    group_name="evals",
    owners=["team:data-platform"],
    tags={"domain": "evals"},
    kinds={"pandas", "matplotlib"},
)
def prompt_regression(
    eval_grades: pd.DataFrame, eval_comparisons: pd.DataFrame
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """The candidate against the prompt in use, on the same cases. What depends on this asset waits for its check.

    The check fails when the candidate's mean grade is lower and the whole 95% interval of the difference (paired
    bootstrap over cases) lies below zero: a difference that the choice of cases does not explain.
    """
    difference, figures = against_baseline(eval_grades, eval_comparisons)
    yield dg.MaterializeResult(metadata=figures)
    yield dg.AssetCheckResult(
        check_name="no_regression",
        passed=difference.high >= 0,
        description=f"The candidate's grade differs by {difference} points, on {figures['cases']} cases.",
    )
