"""Agreement, kappa and intervals, against values worked out by hand."""

import pytest

from resources.agreement import agreement, cohens_kappa, confidence_threshold, paired_bootstrap, wilson

# Ten answers, graded by two:    judge pass  judge fail
#                 person pass        5           1         6
#                 person fail        1           3         4
#                                    6           4        10
PERSON = ["pass"] * 6 + ["fail"] * 4
JUDGE = ["pass"] * 5 + ["fail"] + ["pass"] + ["fail"] * 3


def test_agreement_is_the_share_of_pairs_that_are_the_same() -> None:
    # 5 passed by both and 3 failed by both, of 10: 8/10
    assert agreement(PERSON, JUDGE) == pytest.approx(0.8)


def test_kappa_takes_away_what_chance_would_give() -> None:
    # observed 8/10. By chance both pass 6/10 * 6/10 = 0.36, both fail 4/10 * 4/10 = 0.16: expected 0.52.
    # kappa = (0.80 - 0.52) / (1 - 0.52) = 0.28 / 0.48 = 7/12
    assert cohens_kappa(PERSON, JUDGE) == pytest.approx(7 / 12)


def test_kappa_of_three_labels() -> None:
    # pairs (a,a) (a,b) (b,b) (c,c) (c,a): observed 3/5. The first says a 2, b 1, c 2; the second a 2, b 2, c 1.
    # expected (2*2 + 1*2 + 2*1) / 25 = 8/25. kappa = (15/25 - 8/25) / (17/25) = 7/17
    assert cohens_kappa(["a", "a", "b", "c", "c"], ["a", "b", "b", "c", "a"]) == pytest.approx(7 / 17)


def test_kappa_is_one_in_full_agreement_zero_by_chance_and_negative_below() -> None:
    assert cohens_kappa([1, 2, 3], [1, 2, 3]) == 1
    assert cohens_kappa([1, 1], [1, 1]) == 1  # by convention: chance alone explains it, and nothing contradicts
    # one always passes, the other half the time: observed 1/2, expected 1 * 1/2: kappa 0
    assert cohens_kappa(["pass", "pass"], ["pass", "fail"]) == 0
    # never the same: observed 0, expected 1/2 * 1/2 + 1/2 * 1/2 = 1/2: kappa -1
    assert cohens_kappa(["pass", "fail"], ["fail", "pass"]) == -1


@pytest.mark.parametrize("labels", [([], []), (["a"], ["a", "b"])])
def test_agreement_without_pairs_is_refused(labels: tuple[list[str], list[str]]) -> None:
    with pytest.raises(ValueError, match="needs pairs"):
        cohens_kappa(*labels)


def test_the_wilson_interval_of_eight_in_ten() -> None:
    # z = 1.959964, z^2 = 3.841459, z^2/n = 0.3841459, so 1 + z^2/n = 1.3841459.
    # centre = (0.8 + 0.1920729) / 1.3841459 = 0.716740
    # half = 1.959964 / 1.3841459 * sqrt(0.8 * 0.2 / 10 + 0.3841459 / 40)
    #      = 1.416010 * sqrt(0.016 + 0.00960365) = 1.416010 * 0.1600114 = 0.226578
    found = wilson(8, 10)
    assert found.value == pytest.approx(0.8)
    assert (found.low, found.high) == (pytest.approx(0.490162, abs=2e-6), pytest.approx(0.943318, abs=2e-6))


def test_the_wilson_interval_of_none_and_of_all_stays_within_bounds() -> None:
    # none of 10: centre and half are both 0.1920729 / 1.3841459 = 0.138766, so the interval is 0 to 0.277533
    assert (wilson(0, 10).low, wilson(0, 10).high) == (pytest.approx(0), pytest.approx(0.277533, abs=1e-6))
    assert (wilson(10, 10).low, wilson(10, 10).high) == (pytest.approx(0.722467, abs=1e-6), pytest.approx(1))
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


def test_the_bootstrap_of_two_pairs_has_the_interval_that_counting_gives() -> None:
    # two differences 0 and 1: a sample of two has the mean 0, 1/2 or 1 with probability 1/4, 1/2 and 1/4.
    # The 2.5% quantile lies within the lowest quarter, the 97.5% quantile within the highest: 0 and 1.
    found = paired_bootstrap([0, 1])
    assert (found.value, found.low, found.high) == (0.5, 0, 1)


def test_the_bootstrap_of_ten_pairs_has_the_quantiles_of_the_binomial_distribution() -> None:
    # five differences of 1 and five of 0: the mean of a sample of ten is X/10, with X heads of ten tosses of a coin.
    # P(X <= 1) = (1 + 10) / 1024 = 1.1% and P(X <= 2) = (1 + 10 + 45) / 1024 = 5.5%: the 2.5% quantile is 2, so 0.2.
    # The distribution is the same from above: the 97.5% quantile is 8, so 0.8.
    found = paired_bootstrap([1.0] * 5 + [0.0] * 5)
    assert (found.value, found.low, found.high) == (0.5, pytest.approx(0.2), pytest.approx(0.8))


def test_the_bootstrap_of_uneven_pairs_has_an_uneven_interval() -> None:
    # two differences of 1 and eight of 0: X hits of ten, each with 0.2. P(X = 0) = 0.8^10 = 10.7%: the 2.5% quantile is
    # 0. P(X <= 4) = 96.7% and P(X <= 5) = 99.4%: the 97.5% quantile is 5, so 0.5. The mean is 0.2, not the middle.
    found = paired_bootstrap([1.0] * 2 + [0.0] * 8)
    assert (found.value, found.low, found.high) == (pytest.approx(0.2), 0.0, pytest.approx(0.5))


def test_the_bootstrap_of_many_pairs_is_near_the_normal_interval() -> None:
    # 100 differences, half -1 and half 0: mean -1/2, standard deviation 1/2, of the mean 1/2 / 10 = 0.05.
    # normal interval: -0.5 -+ 1.96 * 0.05 = -0.598 to -0.402; a bootstrap mean moves in steps of 0.01
    found = paired_bootstrap([-1.0] * 50 + [0.0] * 50)
    assert found.value == -0.5
    assert (found.low, found.high) == (pytest.approx(-0.598, abs=0.011), pytest.approx(-0.402, abs=0.011))


def test_the_bootstrap_of_the_same_pairs_is_the_same() -> None:
    differences = [0.25, -0.5, 1.0, 0.0, 0.75]
    assert paired_bootstrap(differences) == paired_bootstrap(differences)
    assert paired_bootstrap([2.0, 2.0]).low == paired_bootstrap([2.0, 2.0]).high == 2
    with pytest.raises(ValueError, match="at least one pair"):
        paired_bootstrap([])


def test_the_threshold_is_the_lowest_confidence_that_is_still_good_enough() -> None:
    # by falling confidence: 0.9 right 1/1, 0.8 right 2/2, 0.7 wrong 2/3, 0.6 right 3/4, 0.5 wrong 3/5
    confidences, agreed = [0.5, 0.9, 0.7, 0.8, 0.6], [False, True, False, True, True]
    assert confidence_threshold(confidences, agreed, wanted=1.0) == 0.8
    assert confidence_threshold(confidences, agreed, wanted=0.75) == 0.6
    assert confidence_threshold(confidences, agreed, wanted=0.5) == 0.5
    assert confidence_threshold([0.9], [False], wanted=0.5) is None


def test_equal_confidences_pass_together_or_not_at_all() -> None:
    assert confidence_threshold([0.9, 0.9], [True, False], wanted=1.0) is None
