"""Every policy through the same nights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

from .fixture import Fixture, Scenario
from .night import draw
from .policies import POLICIES, Policy
from .referee import Miss, Ruling, rule_on


@dataclass(frozen=True, slots=True)
class Standing:
    """One policy over all nights of a scenario."""

    rulings: Sequence[Ruling]
    chunks: int
    """Of a night."""

    @property
    def price(self) -> float:
        return mean(ruling.price for ruling in self.rulings)

    @property
    def misses(self) -> list[Miss]:
        return [ruling.miss for ruling in self.rulings if ruling.miss is not None]

    @property
    def without_excuse(self) -> list[Miss]:
        return [miss for miss in self.misses if miss.held]

    @property
    def paid_twice(self) -> int:
        return sum(ruling.paid_twice for ruling in self.rulings)

    @property
    def rescued(self) -> float:
        """Share of the chunks that were given up."""
        return sum(ruling.rescued for ruling in self.rulings) / (self.chunks * len(self.rulings))

    @property
    def called(self) -> int:
        """Jobs that the rule put into the background lane."""
        return sum(ruling.called for ruling in self.rulings)

    @property
    def left(self) -> tuple[float, float, float]:
        """Seconds before its deadline at which a job landed that was in time: the least, the median, the most."""
        found = [left for ruling in self.rulings for left in ruling.left]
        return (min(found), median(found), max(found)) if found else (0.0, 0.0, 0.0)


def compare(fixture: Fixture, scenario: Scenario, policies: Mapping[str, Policy] = POLICIES) -> dict[str, Standing]:
    """By policy."""
    rulings: dict[str, list[Ruling]] = {name: [] for name in policies}
    for seed in fixture.seeds:
        for number in range(fixture.nights):
            night = draw(fixture, scenario, seed, number)
            for name, policy in policies.items():
                rulings[name].append(rule_on(night, policy(night, fixture, scenario)))
    chunks = fixture.jobs * fixture.chunks
    return {name: Standing(of, chunks) for name, of in rulings.items()}
