"""What a judge's grades are worth, and what they say about a candidate: frames in, figures for the Dagster UI out.

Keys are `case/answer`: `E-001/candidate`, or `E-001/traced` for what production said. Of a comparison, the part behind
the case names the answer that was read first.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from resources.agreement import (
    Estimate,
    agreement,
    cohens_kappa,
    confidence_threshold,
    paired_bootstrap,
    wilson,
)
from resources.pictures import as_picture, as_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WANTED = (0.8, 0.9, 0.95)
"""Shares of agreement with people for which a threshold of the judge's confidence is sought."""
PASSES = 4
"""The lowest grade, of 1 to 5, that counts as a pass."""


def against_people(cases: pd.DataFrame, grades: pd.DataFrame) -> tuple[pd.DataFrame, Mapping[str, Any]]:
    """The thresholds of confidence, one row for each of `WANTED`, and how the judge and people agree about passes.

    A `confidence_from` that is missing means that the judge reaches that agreement nowhere. Raises ValueError where no
    case has both grades.
    """
    people = cases.dropna(subset=["human_grade"]).query("human_grade != ''")
    people = people.assign(key=people["case_id"] + "/traced", human_grade=people["human_grade"].astype(int))
    both = people.merge(grades, on="key")
    if both.empty:
        raise ValueError("No answer was graded both by a person and by the judge, so nothing can be said of the judge.")
    person, judge = list(both["human_grade"] >= PASSES), list(both["correctness"] >= PASSES)
    same = [one == other for one, other in zip(person, judge, strict=True)]
    sure = [float(each) for each in both["confidence"]]
    found = [confidence_threshold(sure, same, wanted=share) for share in WANTED]
    thresholds = pd.DataFrame(
        {
            "wanted_agreement": WANTED,
            "confidence_from": pd.array(found, dtype="Float64"),
            "share_of_cases": [0.0 if t is None else sum(each >= t for each in sure) / len(sure) for t in found],
        }
    )
    unlike = both[[not each for each in same]]
    return thresholds, {
        "graded_by_people": len(both),
        "agreement": agreement(person, judge),
        "agreement_interval": str(wilson(sum(same), len(same))),
        "cohens_kappa": cohens_kappa(person, judge),
        "thresholds": as_table(thresholds),
        "grades": as_table(pd.crosstab(both["human_grade"], both["correctness"]).reset_index(names="person \\ judge")),
        "disagreements": as_table(unlike[["key", "human_grade", "correctness", "confidence", "reason"]]),
        "plot": as_picture(_confidence(sure, same, both), "The judge against people"),
    }


def _confidence(sure: list[float], same: list[bool], both: pd.DataFrame) -> "Figure":
    """Left: how often the judge agrees among those that it is at least so sure of. Right: grade against grade."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    pairs = sorted(zip(sure, same, strict=True), reverse=True)
    shares = [sum(agreed for _, agreed in pairs[: n + 1]) / (n + 1) for n in range(len(pairs))]
    left.plot([confidence for confidence, _ in pairs], shares, marker=".", color="#0072B2")
    left.set(xlabel="confidence of the judge, at least", ylabel="agreement with people", ylim=(0, 1.05))
    counts = both.groupby(["human_grade", "correctness"]).size().reset_index(name="n")
    right.scatter(counts["human_grade"], counts["correctness"], s=60 * counts["n"], color="#E69F00", edgecolor="black")
    right.set(xlabel="grade by a person", ylabel="grade by the judge", xlim=(0.5, 5.5), ylim=(0.5, 5.5))
    return figure


def position_bias(comparisons: pd.DataFrame) -> Mapping[str, Any]:
    """How often what was read first wins: 0.5 without a bias. And how often both orders say the same."""
    decided = comparisons[comparisons["winner"] != "tie"]
    if decided.empty:
        return {"first_wins": "every comparison was a tie"}
    first = wilson(int((decided["winner"] == "first").sum()), len(decided))
    winners = comparisons.assign(case=_case(comparisons), won=[_won(row) for row in comparisons.to_dict("records")])
    asked_twice = winners.groupby("case").filter(lambda rows: len(rows) == 2)
    consistent = (asked_twice.groupby("case")["won"].nunique() == 1).mean()
    return {"first_wins": first.value, "first_wins_interval": str(first), "same_in_both_orders": float(consistent)}


def against_baseline(grades: pd.DataFrame, comparisons: pd.DataFrame) -> tuple[Estimate, Mapping[str, Any]]:
    """By how many points the candidate's grade differs from the baseline's on the same cases, with the paired bootstrap
    interval of 95%, and what the comparisons say. Raises ValueError where no case has both grades.
    """
    named = grades.assign(case=_case(grades), answer=grades["key"].str.rsplit("/", n=1).str[1])
    named = named.assign(grade=(named["correctness"] + named["completeness"]) / 2)
    table = named.pivot_table(index="case", columns="answer", values="grade").reindex(columns=["baseline", "candidate"])
    table = table.dropna()
    differences = table["candidate"] - table["baseline"]
    estimate = paired_bootstrap(list(differences))
    won = [_won(row) for row in comparisons.to_dict("records")]
    halves = won.count("candidate") + won.count("tie") / 2  # a tie is half a win for either
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    axes.hist(differences, bins=[step / 4 - 0.125 for step in range(-16, 18)], color="#56B4E9", edgecolor="black")
    axes.axvspan(estimate.low, estimate.high, color="#E69F00", alpha=0.4, label="mean, 95% interval")
    axes.set(xlabel="candidate's grade minus baseline's", ylabel="cases")
    axes.legend()
    worst = table.assign(difference=differences).sort_values("difference").head(5).reset_index()
    return estimate, {
        "cases": len(table),
        "baseline_mean": float(table["baseline"].mean()),
        "candidate_mean": float(table["candidate"].mean()),
        "difference": estimate.value,
        "difference_interval": str(estimate),
        "win_rate": str(wilson(halves, len(won))) if won else "nothing was compared",
        "worst_cases": as_table(worst),
        "plot": as_picture(figure, "Differences per case"),
    }


def _case(frame: pd.DataFrame) -> "pd.Series[str]":
    return frame["key"].str.rsplit("/", n=1).str[0]


def _won(comparison: Mapping[Any, Any]) -> str:
    """Whose answer won, whichever order it was in: baseline, candidate or tie."""
    first = str(comparison["key"]).rsplit("/", 1)[1]
    second = "baseline" if first == "candidate" else "candidate"
    return {"first": first, "second": second}.get(comparison["winner"], "tie")
