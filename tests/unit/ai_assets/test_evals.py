"""What the two variants, the judge and the comparisons are asked."""

import pandas as pd

from ai_assets.evals import (
    PAIRWISE,
    PROMPTS,
    RUBRIC,
    candidate_outputs,
    eval_comparisons,
    eval_grades,
    eval_outputs,
)
from offpeak import Chat

CASES = pd.DataFrame(
    {
        "case_id": ["E-1", "E-2"],
        "question": ["How long?", "How much?"],
        "context": ["It takes a day.", "It costs 5."],
        "reference": ["A day.", "5."],
        "traced_answer": ["One day.", None],
        "human_grade": ["5", None],
    },
    dtype=object,
)
BASELINE = pd.DataFrame({"key": ["E-1/baseline"], "text": ["Some"]})
CANDIDATE = pd.DataFrame({"key": ["E-1/candidate", "E-2/candidate"], "text": ["A day", "Five"]})


def test_every_case_is_answered_by_both() -> None:
    assert [each.key for each in eval_outputs.plan(CASES)] == ["E-1/baseline", "E-2/baseline"]
    text = "Question: How long?\n\nArticle:\nIt takes a day."
    assert candidate_outputs.plan(CASES[:1]) == [
        Chat(key="E-1/candidate", system=PROMPTS["candidate"], prompt=text, max_tokens=400)
    ]


def test_the_judge_grades_what_there_is_and_what_production_said_but_not_what_is_missing() -> None:
    requests = eval_grades.plan(CASES, BASELINE, CANDIDATE)
    assert [each.key for each in requests] == ["E-1/baseline", "E-1/candidate", "E-1/traced", "E-2/candidate"]
    text = "Question: How long?\n\nReference: A day.\n\nAnswer: One day."
    assert requests[2] == Chat(key="E-1/traced", prefix=RUBRIC, prompt=text, max_tokens=400)


def test_the_judge_does_not_see_what_a_person_thought() -> None:
    other = CASES.assign(human_grade=["1", None])
    assert eval_grades.plan(other, BASELINE, CANDIDATE) == eval_grades.plan(CASES, BASELINE, CANDIDATE)


def test_two_answers_are_compared_in_both_orders() -> None:
    one, other = (each for each in eval_comparisons.plan(CASES, BASELINE, CANDIDATE) if isinstance(each, Chat))
    assert (one.key, other.key) == ("E-1/baseline", "E-1/candidate")
    assert one.system == PAIRWISE
    assert (one.prompt or "").endswith("First answer: Some\n\nSecond answer: A day")
    assert (other.prompt or "").endswith("First answer: A day\n\nSecond answer: Some")
