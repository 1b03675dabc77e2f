"""A few nights of the fixture, and proof that its referee can say no: `make bench-nights` simulates a thousand."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from ..bench_nights import FIXTURE, main
from .compare import Standing, compare
from .fixture import HOUR, MINUTE, Fixture, read
from .night import NEVER, Batch, Night, Outage, Throttle, draw
from .policies import POLICIES, Policy, all_knowing, always_batch, offpeak
from .provider import Bill, Tier
from .referee import Impossible, rule_on
from .report import KNOWING, US, failures
from .rescuing import Rescuing

AWAY, SLOW = 128, 201
"""Nights of the first seed."""


@pytest.fixture(scope="module")
def terms() -> Fixture:
    return read(FIXTURE).model_copy(update={"nights": 30})


def ruled(terms: Fixture, policy: Policy, scenario: int = 0) -> dict[str, Standing]:
    """With somebody else in Offpeak's place."""
    return compare(terms, terms.scenarios[scenario], {KNOWING: all_knowing, US: policy})


def a_night(terms: Fixture) -> Night:
    """Nothing goes wrong for everybody at once."""
    night = draw(terms, terms.scenarios[0], 1, 0)
    assert (night.slow, night.outage, night.throttle) == (1.0, NEVER, Throttle())
    return night


class Hasty(Rescuing):
    """Buys what it gives up at once, before its batch has ended."""

    def _give_up(self, batch: Batch, now: float) -> None:
        super()._give_up(batch, now)
        if batch in self._cancelled:
            self._lane.add(batch, 0, ready=now)

    def _collect(self, batch: Batch, applied: float) -> None:
        if self._cancelled.pop(batch, None) is None:
            super()._collect(batch, applied)
        else:
            self._provider.collect(batch)


class Idle(Rescuing):
    """Never gives up a batch."""

    def _judge(self, now: float) -> float:
        return math.inf


class Patient(Rescuing):
    """Passes over no tick."""

    def _judge(self, now: float) -> float:
        super()._judge(now)
        return now

    def _next(self, now: float) -> float:
        return now


def test_nothing_is_missed_or_paid_twice_in_any_scenario(terms: Fixture) -> None:
    for scenario in terms.scenarios:
        found = compare(terms, scenario)
        assert failures(scenario, found) == []
        assert found["always realtime"].price == 1
        assert found[US].rescued > 0


def test_one_who_buys_before_the_batch_has_ended_pays_twice_and_is_told(terms: Fixture) -> None:
    credited = 2
    assert terms.scenarios[credited].credited
    found = ruled(terms, lambda *of: Hasty(*of).run(), credited)
    assert found[US].paid_twice > 0
    assert any("answers were paid twice" in each for each in failures(terms.scenarios[credited], found))


def test_one_who_never_gives_up_a_batch_misses_deadlines_and_is_told(terms: Fixture) -> None:
    found = ruled(terms, lambda *of: Idle(*of).run())
    assert len(found[US].without_excuse) > terms.nights / 2
    assert any("late" in each and "capacity held" in each for each in failures(terms.scenarios[0], found))


def test_whoever_is_dearer_than_the_targets_allow_is_told(terms: Fixture) -> None:
    told = failures(terms.scenarios[0], ruled(terms, POLICIES["always realtime"]))
    assert len(told) == 2
    assert "0.54 at most" in told[0]
    assert "above the all-knowing" in told[1]


@pytest.mark.parametrize("number", [1, AWAY, SLOW])
def test_the_ticks_that_are_passed_over_would_change_nothing(terms: Fixture, number: int) -> None:
    scenario = terms.scenarios[0]
    night = draw(terms, scenario, 1, number)
    quick, patient = offpeak(night, terms, scenario), Patient(night, terms, scenario).run()
    assert quick.rescued
    assert (quick.landed, quick.rescued, quick.pressed_at) == (patient.landed, patient.rescued, patient.pressed_at)


def test_each_answer_that_two_bills_are_for_counts(terms: Fixture) -> None:
    night, scenario = a_night(terms), terms.scenarios[0]
    outcome = offpeak(night, terms, scenario)
    assert rule_on(night, outcome).paid_twice == 0
    outcome.provider.bills.append(Bill(3, Tier.REALTIME, 100, 107, at=1.0))
    assert rule_on(night, outcome).paid_twice == 7


def test_rows_that_were_stored_before_their_answers_came_are_refused(terms: Fixture) -> None:
    night = a_night(terms)
    outcome = offpeak(night, terms, terms.scenarios[0])
    outcome.landed[5] = 1.0
    with pytest.raises(Impossible, match="batch 5"):
        rule_on(night, outcome)


def test_rows_that_never_came_are_late_for_ever(terms: Fixture) -> None:
    night = a_night(terms)
    outcome = offpeak(night, terms, terms.scenarios[0])
    del outcome.landed[5]
    miss = rule_on(night, outcome).miss
    assert miss is not None
    assert (miss.jobs, miss.late, miss.held) == (1, math.inf, True)


@pytest.mark.parametrize(
    ("outage", "throttle", "held"),
    [
        (Outage(11.5 * HOUR, 11.6 * HOUR), Throttle(), False),
        (Outage(10 * HOUR, 11 * HOUR), Throttle(), True),
        (NEVER, Throttle(9 * HOUR, 0.5), False),
        (NEVER, Throttle(14 * HOUR, 0.5), True),
    ],
)
def test_only_what_goes_wrong_after_the_last_safe_moment_is_an_excuse(
    terms: Fixture, outage: Outage, throttle: Throttle, held: bool
) -> None:
    night = a_night(terms)
    outcome = offpeak(night, terms, terms.scenarios[0])
    outcome.landed[5], outcome.pressed_at = 30 * HOUR, 11.25 * HOUR
    miss = rule_on(replace(night, outage=outage, throttle=throttle), outcome).miss
    assert miss is not None
    assert miss.held is held


def test_during_an_outage_no_batch_comes_nearer_to_its_end() -> None:
    outage = Outage(10.0, 30.0)
    assert [outage.delayed(start, 5) for start in (0, 5, 6, 10, 20, 30)] == [5, 10, 31, 35, 35, 35]


def test_a_night_without_a_slow_batch_is_left_alone(terms: Fixture) -> None:
    night = a_night(terms)
    early = [replace(batch, ends=batch.job.submitted + HOUR, never=False) for batch in night.batches]
    ruling = rule_on(calm := replace(night, batches=early), offpeak(calm, terms, terms.scenarios[0]))
    assert (ruling.price, ruling.rescued, ruling.miss) == (0.5, 0, None)
    assert min(ruling.left) > 10 * HOUR + 45 * MINUTE


def test_what_expires_is_not_billed(terms: Fixture) -> None:
    night = a_night(terms)
    lost = [replace(batch, never=True) for batch in night.batches]
    ruling = rule_on(gone := replace(night, batches=lost), always_batch(gone, terms, terms.scenarios[0]))
    assert ruling.price == 0
    assert ruling.miss is not None


def test_a_target_that_is_not_met_ends_the_bench_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = tmp_path / "strict.toml"
    strict.write_text(FIXTURE.read_text(encoding="utf-8").replace("price_at_most = 0.54", "price_at_most = 0.4"))
    for fixture, code in ((FIXTURE, 0), (strict, 1)):
        monkeypatch.setattr("sys.argv", ["bench_nights", "--fixture", str(fixture), "--nights", "3"])
        assert main() == code
        assert ("FAILED, wide: the price is 0.5" in capsys.readouterr().out) is (code == 1)


def test_a_fixture_with_a_misspelt_or_impossible_figure_is_refused(tmp_path: Path) -> None:
    given = FIXTURE.read_text(encoding="utf-8")
    for old, new in (("jobs =", "jbos ="), ("[0.0, 10.0]", "[10.0, 0.0]"), ("never_share = 0.02", "never_share = 2")):
        assert old in given
        (tmp_path / "wrong.toml").write_text(given.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(ValidationError):
            read(tmp_path / "wrong.toml")
