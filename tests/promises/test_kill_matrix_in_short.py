"""Killed at each of the product's own points once, on one of the providers and databases in turn."""

from typing import Any

import pytest

from offpeak.faultpoints import FaultPoint

from ..conftest import LocalProvider
from .conftest import Forge
from .matrix import POINTS, kill_and_go_on


def turns() -> list[tuple[FaultPoint, str, str]]:
    """Each point with a provider and a database; over all points each pair of them has its turn."""
    pairs = [("openai", "place"), ("anthropic", "postgres_place"), ("anthropic", "place"), ("openai", "postgres_place")]
    found = []
    for number, point in enumerate(POINTS):
        provider, place = pairs[number % len(pairs)]
        found.append((point, provider, place))
    return found


@pytest.mark.parametrize(("point", "provider", "where"), turns())
def test_a_purchase_killed_at_a_point_of_the_product_is_bought_once(
    forge: Forge,
    local_provider: LocalProvider,
    request: pytest.FixtureRequest,
    point: FaultPoint,
    provider: str,
    where: str,
) -> None:
    place: Any = request.getfixturevalue(where)
    kill_and_go_on(forge, place, local_provider, provider, point)
