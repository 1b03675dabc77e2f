"""Is another prompt or model better than what is in use? Both answer a suite, a judge grades, and people the judge."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from itertools import permutations
from typing import Any, Literal

import dagster as dg
import pandas as pd
from pydantic import BaseModel, Field

from offpeak import Chat, FreshnessContract, Waiting, Workload, batch_asset, tolerates, when_data_changes
from resources.judging import against_baseline, against_people, position_bias

ROLE = "You answer customers of a booking software out of the article that you are given, in plain words. "
PROMPTS = {
    "baseline": ROLE + "Answer in at most two sentences.",
    "candidate": ROLE + "Answer in at most three sentences: first the answer itself, then what there is to do.",
}
"""What is in use, and what is to replace it; the models of both are those of their assets, below."""
TRIAL = "1"
"""Raise it with every prompt and model that is to be tried: then their answers, and the grades of these, are meant."""

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


waking = {"automation_condition": when_data_changes()}
common = waking | {"group_name": "evals", "owners": ["team:data-platform"], "tags": {"domain": "evals"}}
buying = common | {"code_version": TRIAL, "workload": Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=24))}
answering: dict[str, Any] = buying | {"contract": FreshnessContract(valid_for=timedelta(days=8, hours=1))}
judging: dict[str, Any] = buying | {
    "model": "anthropic/claude-sonnet-5-5",
    "workload": Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=48)),  # of the run: two batches in a row
    "contract": FreshnessContract(valid_for=timedelta(days=10, hours=2)),  # a week, both deadlines, two hours
    "ins": dict.fromkeys(("eval_outputs", "candidate_outputs"), tolerates(timedelta(hours=194), min_coverage=0.95)),
}
judged = dict.fromkeys(("eval_grades", "eval_comparisons"), tolerates(timedelta(days=10, hours=3), min_coverage=0.95))
Made = Callable[..., Callable[..., dg.AssetsDefinition]]
reading: Made = partial(dg.asset, ins=judged, kinds={"matplotlib"}, code_version="1", **common)


@batch_asset(model="anthropic/claude-haiku-5-5", **answering)
def eval_outputs(eval_cases: pd.DataFrame) -> Iterator[Chat]:
    """What the prompt and the model in use answer to every case: keys are `case/baseline`."""
    yield from questions(eval_cases, "baseline")


@batch_asset(model="anthropic/claude-haiku-5-5", **answering)
def candidate_outputs(eval_cases: pd.DataFrame) -> Iterator[Chat]:
    """What the candidate answers, be it another prompt, another model or both: keys are `case/candidate`."""
    yield from questions(eval_cases, "candidate")


def questions(cases: pd.DataFrame, name: str) -> Iterator[Chat]:
    """Every case, asked with that prompt."""
    case: Any  # a row: pandas has no type for its fields
    for case in cases.itertuples():
        text = f"Question: {case.question}\n\nArticle:\n{case.context}"
        yield Chat(key=f"{case.case_id}/{name}", system=PROMPTS[name], prompt=text, max_tokens=400)


def pairs(cases: pd.DataFrame, *outputs: pd.DataFrame) -> Iterator[tuple[Any, str, dict[str, Any]]]:
    """Each case, its question with the reference, and both answers by name, None for one that is missing."""
    texts = pd.concat(outputs).set_index("key")["text"].to_dict()
    case: Any
    for case in cases.itertuples():
        asked = f"Question: {case.question}\n\nReference: {case.reference}"
        yield case, asked, {name: texts.get(f"{case.case_id}/{name}") for name in PROMPTS}


@batch_asset(output=Grade, **judging)
def eval_grades(
    eval_cases: pd.DataFrame, eval_outputs: pd.DataFrame, candidate_outputs: pd.DataFrame
) -> Iterator[Chat]:
    """A judge's grades by the rubric: of both answers, and of what production said (`case/traced`)."""
    for case, asked, answers in pairs(eval_cases, eval_outputs, candidate_outputs):
        for name, answer in {**answers, "traced": case.traced_answer}.items():
            if answer:
                text = f"{asked}\n\nAnswer: {answer}"
                yield Chat(key=f"{case.case_id}/{name}", prefix=RUBRIC, prompt=text, max_tokens=400)


@batch_asset(output=Comparison, **judging)
def eval_comparisons(
    eval_cases: pd.DataFrame, eval_outputs: pd.DataFrame, candidate_outputs: pd.DataFrame
) -> Iterator[Chat]:
    """Which of the two answers is better, asked in both orders: keys end in the one that is read first."""
    for case, asked, answers in pairs(eval_cases, eval_outputs, candidate_outputs):
        for (first, one), (_, other) in permutations(answers.items()):
            if one and other:
                text = f"{asked}\n\nFirst answer: {one}\n\nSecond answer: {other}"
                yield Chat(key=f"{case.case_id}/{first}", system=PAIRWISE, prompt=text, max_tokens=400)


@reading(code_version="1")
def eval_calibration(
    eval_cases: pd.DataFrame, eval_grades: pd.DataFrame, eval_comparisons: pd.DataFrame
) -> dg.Output[pd.DataFrame]:
    """How far the judge can be trusted: agreement with people on the same answers, and its bias to what it reads first.

    The rows are this week's thresholds: from which confidence on the judge agrees with people as often as is wanted.
    What the judge is less sure of is for a person to look at.
    """
    thresholds, shown = against_people(eval_cases, eval_grades)
    return dg.Output(thresholds, metadata={**shown, **position_bias(eval_comparisons)})


@reading(code_version="1", check_specs=[dg.AssetCheckSpec("no_regression", asset="prompt_regression", blocking=True)])
def prompt_regression(
    eval_grades: pd.DataFrame, eval_comparisons: pd.DataFrame
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """The candidate against what is in use, on the same cases. What depends on this asset waits for its check.

    The check fails when the candidate's mean grade is lower and the whole 95% interval of the difference (paired
    bootstrap over cases) lies below zero: a difference that the choice of cases does not explain.
    """
    difference, shown = against_baseline(eval_grades, eval_comparisons)
    yield dg.MaterializeResult(metadata=shown)
    yield dg.AssetCheckResult(
        check_name="no_regression",
        passed=difference.high >= 0,
        description=f"The candidate's grade differs by {difference} points, on {shown['cases']} cases.",
    )
