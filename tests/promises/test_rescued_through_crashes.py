"""A process dies while it rescues a job from its deadline: nothing is lost, and nothing is bought twice unasked."""

from collections import Counter
from typing import Any

import pytest

from offpeak.faultpoints import FaultPoint
from offpeak.results.store import ResultStore

from ..conftest import LocalProvider, Place, tickets
from . import rederiving
from .buyer import Verdict
from .conftest import DIED, Forge

ROWS = tickets(9)
RESCUE = {"deadline": 4.0, "margin": 2.0, "cancel_bound": 0.5}
NARROW = {"max_requests": 3}
P = FaultPoint


def stuck(local_provider: LocalProvider, **fault: Any) -> dict[str, Any]:
    """What to buy with: three batches, of which the second answers one of its requests and does not end."""
    local_provider.fault("never_end", match={"nth_create": 2}, share=0.34, **fault)
    return {"rows": ROWS, "limits": NARROW, "rescue": RESCUE}


@pytest.mark.parametrize(
    ("point", "provider_name", "database"),
    [
        (P.GIVEN_UP, "openai", "place"),
        (P.GIVEN_UP, "anthropic", "postgres_place"),
        (P.CANCEL_SENT, "anthropic", "place"),
        (P.CANCEL_RECORDED, "openai", "postgres_place"),
        (P.APPLIED, "anthropic", "postgres_place"),
        (P.REST_QUEUED, "openai", "postgres_place"),
        (P.REST_QUEUED, "anthropic", "place"),
        (P.CALLS_INTENDED, "openai", "place"),
        (P.CALLS_RECORDED, "anthropic", "place"),
    ],
)
def test_a_job_that_is_being_rescued_keeps_what_was_bought_and_buys_the_rest_once(
    forge: Forge,
    request: pytest.FixtureRequest,
    local_provider: LocalProvider,
    point: FaultPoint,
    provider_name: str,
    database: str,
) -> None:
    any_place: Place = request.getfixturevalue(database)
    wanted = stuck(local_provider)
    dying = forge.start(any_place, local_provider, provider_name, die_at=point.value, **wanted)
    assert dying.wait() == DIED, f"no process came by {point}"
    receipt = forge.start(any_place, local_provider, provider_name, **wanted).receipt()

    assert (receipt["rows"], receipt["failed"]) == (9, 0)
    assert local_provider.answered(at_least=2) == []
    assert len(local_provider.answered()) == 9
    assert all(batch["outcome"] for batch in local_provider.batches()), "a batch was left open"
    with any_place.open() as ledger:
        frame = ResultStore(ledger).frame("labels", partitions=None, output=Verdict)
        assert set(frame["key"]) == set(ROWS)
        tally = local_provider.tally(provider_name)
        assert frame["rescued"].sum() == tally["realtime_answers"] == 2
        rederiving.check(ledger)


def test_a_process_that_dies_before_it_pays_twice_leaves_that_on_record_and_another_one_does_it_once(
    forge: Forge, place: Place, local_provider: LocalProvider
) -> None:
    wanted = stuck(local_provider)
    local_provider.fault("latency", match={"nth_create": 2}, seconds=600.0)  # a tenth of it is what cancelling takes
    wanted["rescue"] = {**RESCUE, "pay_twice": "1"}
    dying = forge.start(place, local_provider, "openai", die_at=P.TWICE_INTENDED.value, **wanted)
    assert dying.wait() == DIED, "no process came by the payment"
    receipt = forge.start(place, local_provider, "openai", **wanted).receipt()

    assert (receipt["rows"], receipt["failed"], receipt["rescued"]) == (9, 0, 3)
    answers = Counter(each["answered"] for each in local_provider.answered())
    assert answers[1] + answers[2] == 9
    assert answers[2] <= 3
    with place.open() as ledger:
        rederiving.check(ledger)
