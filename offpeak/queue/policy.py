"""How important an asset's requests are where room is short, and what is done when there is none."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Literal

from offpeak.errors import DefinitionError

MOST_PRIORITY = 1_000
"""Either way. A step of it is worth an hour of waiting."""


class OnFull(StrEnum):
    """What becomes of requests for which there is no room."""

    DELAY = "delay"
    DROP = "drop"
    DEGRADE = "degrade"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy:
    """What a batch asset does where more waits for its model than may be enqueued. Give it as `queue=`.

    Higher `priority` goes first; each hour of waiting counts as one step of it. When there is no room for a batch, and
    it has waited for longer than `patience`, `on_full` decides: "delay" waits on; "drop" lets its requests go, on
    record, and the next run asks for them again; "degrade" buys them from `degrade_to`, a cheaper "provider/model" of
    the same provider, and the next run asks the asset's own model again.
    """

    priority: int = 0
    on_full: Literal["delay", "drop", "degrade"] = "delay"
    degrade_to: str | None = None
    patience: timedelta = timedelta(0)


DELAY = QueuePolicy()
"""What an asset has that says nothing of the queue."""


def queue_policy(asset: str, given: object, *, model: str) -> QueuePolicy:
    """`queue=` as a policy. Raises DefinitionError, naming the asset and the field."""
    if given is None:
        return DELAY
    if not isinstance(given, QueuePolicy):
        raise DefinitionError(
            f'{asset}: queue={given!r} is not a QueuePolicy. Give one, such as QueuePolicy(priority=5, on_full="drop").'
        )
    if isinstance(given.priority, bool) or not isinstance(given.priority, int) or abs(given.priority) > MOST_PRIORITY:
        raise DefinitionError(
            f"{asset}: queue: priority={given.priority!r} is not a whole number from {-MOST_PRIORITY:,} to "
            f"{MOST_PRIORITY:,}. Each step is worth an hour of waiting; 0 is what others have."
        )
    if given.on_full not in set(OnFull):
        raise DefinitionError(f'{asset}: queue: on_full={given.on_full!r} is not one of "delay", "drop" or "degrade".')
    if not isinstance(given.patience, timedelta) or given.patience < timedelta(0):
        raise DefinitionError(
            f"{asset}: queue: patience={given.patience!r} is not a duration. Give a timedelta of nought or more: how "
            "long a batch waits for room before on_full= decides."
        )
    if OnFull(given.on_full) is OnFull.DELAY and given.patience:
        raise DefinitionError(
            f'{asset}: queue: patience={given.patience!r} says when on_full="drop" or on_full="degrade" decides. With '
            'on_full="delay" a batch waits until there is room: leave patience= out.'
        )
    return _check_degrade(asset, given, model)


def _check_degrade(asset: str, policy: QueuePolicy, model: str) -> QueuePolicy:
    other = policy.degrade_to
    if OnFull(policy.on_full) is not OnFull.DEGRADE:
        if other is not None:
            raise DefinitionError(f'{asset}: queue: degrade_to={other!r} goes with on_full="degrade".')
        return policy
    provider = model.partition("/")[0]
    if not isinstance(other, str) or not other.partition("/")[2]:
        raise DefinitionError(
            f'{asset}: queue: on_full="degrade" needs degrade_to=, a cheaper "provider/model"; it is {other!r}.'
        )
    if other.partition("/")[0] != provider:
        raise DefinitionError(
            f"{asset}: queue: degrade_to={other!r} is of another provider than model={model!r}. A request is written "
            f"for one provider: name a cheaper model of {provider}."
        )
    if other == model:
        raise DefinitionError(f"{asset}: queue: degrade_to={other!r} is the asset's own model. Name a cheaper one.")
    return policy
