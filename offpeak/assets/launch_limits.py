"""What is known of the limits of a launch's models, as it stands in the ledger and the price sheet right now."""

from collections.abc import Iterable, Mapping

from offpeak.assets.resources import BatchApi
from offpeak.launches.limits import Limits, declared_limits, known_limits
from offpeak.ledger import limits_seen
from offpeak.ledger.ledger import Ledger


def limits_of(models: Iterable[str], *, api: BatchApi, ledger: Ledger) -> Mapping[str, Limits]:
    """By "provider/model", of the accounts that `api` names; empty for one of which nobody has said anything yet.

    An edit of the price sheet counts at once. What it said when a run last declared it to the ledger does not.
    """

    def seen(model: str) -> Limits:
        provider, _, name = model.partition("/")
        return limits_seen.said(ledger, realm=api.realm(provider), model=name)

    return known_limits(models, seen=seen, declared=lambda model: declared_limits(api.realtime_limits(model)))
