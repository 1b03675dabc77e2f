"""What is said of a judge and of a candidate, from small frames that can be reckoned by hand."""

import pandas as pd
import pytest

from resources.judging import against_baseline, against_people, position_bias


def cases(*grades: str | None) -> pd.DataFrame:
    return pd.DataFrame(
        {"case_id": [f"E-{number}" for number in range(len(grades))], "human_grade": list(grades)}, dtype=object
    )


def grades(rows: dict[str, tuple[int, int, float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [(key, *row, "because") for key, row in rows.items()],
        columns=["key", "correctness", "completeness", "confidence", "reason"],
    )


def comparisons(rows: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows.items()), columns=["key", "winner"])


def test_the_judge_is_compared_with_people_on_the_traced_answers_alone() -> None:
    # people: pass pass fail fail; the judge: pass fail fail pass. Both pass one and fail one: agreement 2/4.
    # by chance 1/2 * 1/2 + 1/2 * 1/2 = 1/2: kappa 0. Case 4 has no grade by a person and does not count.
    judged = grades(
        {
            "E-0/traced": (5, 5, 0.9), "E-1/traced": (3, 3, 0.6), "E-2/traced": (1, 1, 0.8), "E-3/traced": (4, 4, 0.7),
            "E-4/traced": (5, 5, 0.9), "E-0/candidate": (1, 1, 0.9),
        }
    )  # fmt: skip
    thresholds, figures = against_people(cases("5", "4", "2", "1", None), judged)
    assert (figures["graded_by_people"], figures["agreement"], figures["cohens_kappa"]) == (4, 0.5, 0.0)
    # by falling confidence: 0.9 right, 0.8 right, 0.7 wrong (2/3), 0.6 wrong (2/4); from 0.8 on it is always right
    assert list(thresholds["confidence_from"]) == [0.8, 0.8, 0.8]
    assert list(thresholds["share_of_cases"]) == [0.5, 0.5, 0.5]
    disagreements = figures["disagreements"].value
    assert "| E-1/traced | 4 | 3 |" in disagreements
    assert "E-0/traced" not in disagreements
    assert figures["plot"].value.startswith("![The judge against people](data:image/png;base64,")


def test_agreement_kappa_and_interval_of_ten_answers_are_those_worked_out_by_hand() -> None:
    # a 4 or 5 is a pass. Both pass 5 and fail 3, the person alone passes 1, the judge alone 1: agreement 8/10.
    # by chance 6/10 * 6/10 + 4/10 * 4/10 = 0.52: kappa = 0.28 / 0.48 = 7/12. The interval of 8 in 10 by Wilson's
    # formula is worked out in test_agreement.py: 0.490 to 0.943.
    people = ["5", "4", "5", "4", "5", "4", "1", "2", "3", "1"]
    judge = [4, 5, 5, 4, 4, 3, 5, 1, 3, 2]
    _, figures = against_people(
        cases(*people), grades({f"E-{number}/traced": (grade, grade, 0.5) for number, grade in enumerate(judge)})
    )
    assert (figures["agreement"], figures["cohens_kappa"]) == (pytest.approx(0.8), pytest.approx(7 / 12))
    assert figures["agreement_interval"] == "0.80 (95%: 0.49 to 0.94)"


def test_a_judge_that_is_never_right_has_no_threshold() -> None:
    thresholds, figures = against_people(cases("5"), grades({"E-0/traced": (1, 1, 0.9)}))
    assert thresholds["confidence_from"].isna().all()
    assert figures["agreement"] == 0


def test_empty_grades_of_a_csv_file_count_as_none() -> None:
    judged = grades({"E-0/traced": (5, 5, 0.9), "E-1/traced": (5, 5, 0.9)})
    assert against_people(cases("5", ""), judged)[1]["graded_by_people"] == 1
    with pytest.raises(ValueError, match="nothing can be said of the judge"):
        against_people(cases("", None), judged)


def test_the_bias_is_how_often_the_first_wins_among_what_was_decided() -> None:
    # decided: first, first, second: 2/3. Case 0: both times the candidate; case 1: each time the one read first.
    found = position_bias(
        comparisons(
            {"E-0/baseline": "second", "E-0/candidate": "first", "E-1/baseline": "first", "E-1/candidate": "tie"}
        )
    )
    assert found["first_wins"] == pytest.approx(2 / 3)
    assert found["same_in_both_orders"] == 0.5
    assert "tie" in position_bias(comparisons({"E-0/baseline": "tie"}))["first_wins"]


def test_the_candidate_is_compared_case_by_case_and_ties_are_half_a_win() -> None:
    # grades are the mean of both scores. E-0: 4.5 - 3.5 = 1; E-1: 2 - 3 = -1; E-2: 5 - 3.5 = 1.5; E-3 has no baseline.
    # mean (1 - 1 + 1.5) / 3 = 0.5
    judged = grades(
        {
            "E-0/baseline": (4, 3, 1), "E-0/candidate": (5, 4, 1), "E-1/baseline": (3, 3, 1),
            "E-1/candidate": (2, 2, 1), "E-2/baseline": (4, 3, 1), "E-2/candidate": (5, 5, 1),
            "E-3/candidate": (1, 1, 1), "E-0/traced": (1, 1, 1),
        }
    )  # fmt: skip
    # won by the candidate: once as the second, once as the first; lost once; one tie: 2.5 of 4 = 0.625, shown as 0.62
    compared = comparisons(
        {"E-0/baseline": "second", "E-0/candidate": "first", "E-1/baseline": "first", "E-1/candidate": "tie"}
    )
    difference, figures = against_baseline(judged, compared)
    assert difference.value == pytest.approx(0.5)
    # three pairs: a sample consists of the worst alone with probability 1/27 > 2.5%, and so with the best
    assert (difference.low, difference.high) == (-1, 1.5)
    assert figures["cases"] == 3
    assert (figures["baseline_mean"], figures["candidate_mean"]) == (pytest.approx(10 / 3), pytest.approx(11.5 / 3))
    assert figures["win_rate"].startswith("0.62 (95%:")
    assert figures["worst_cases"].value.splitlines()[2].startswith("| E-1 |")
