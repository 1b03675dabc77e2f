"""What a deployment's accounts may have enqueued, for each model: declared once, on the resource `batch_api`."""

from collections.abc import Sequence

import dagster as dg
from pydantic import model_validator

from offpeak.errors import DefinitionError
from offpeak.ledger.queueing import Limits
from offpeak.providers import NAMES

_AMOUNTS = ("enqueued_tokens", "open_batches", "creates_per_hour")


class QueueLimits(dg.Config):
    """What may be enqueued for one model on the batch tier, or for each model of a provider by itself.

    `model` is "provider/model", or "provider/*" for every model of it that has no limits of its own. `enqueued_tokens`
    bounds the input tokens of all open batches together, `open_batches` their number, and `creates_per_hour` the
    batches created within any hour. What is left out is not limited here; a limit that the provider names holds, too.

    Raises DefinitionError for a model without provider, for no limit at all, and for one that is not above nought.
    """

    model: str
    enqueued_tokens: int | None = None
    open_batches: int | None = None
    creates_per_hour: int | None = None

    @model_validator(mode="after")
    def _check(self) -> "QueueLimits":
        provider, _, name = self.model.partition("/")
        if provider not in NAMES or not name or ("*" in name and name != "*"):
            raise DefinitionError(
                f'QueueLimits(model={self.model!r}) names no model. Write "provider/model", such as '
                f'"openai/gpt-5-mini", or "openai/*" for each model of a provider; the providers are '
                f"{' and '.join(NAMES)}."
            )
        given = {field: getattr(self, field) for field in _AMOUNTS if getattr(self, field) is not None}
        if not given:
            raise DefinitionError(
                f"QueueLimits(model={self.model!r}) limits nothing. Give {', '.join(_AMOUNTS[:-1])} or {_AMOUNTS[-1]}, "
                "or leave it out."
            )
        for field, amount in given.items():
            if amount < 1:
                raise DefinitionError(
                    f"QueueLimits(model={self.model!r}): {field}={amount} would let nothing through. Give a whole "
                    "number from 1, or leave it out for no limit."
                )
        return self


def limits_for(declared: Sequence[QueueLimits], model_ref: str) -> Limits:
    """The limits of "provider/model": its own where it has any, else those of "provider/*", else none.

    Raises DefinitionError where the same model is named twice.
    """
    by_model: dict[str, QueueLimits] = {}
    for each in declared:
        if each.model in by_model:
            raise DefinitionError(f"QueueLimits(model={each.model!r}) is given twice. Give one with all its limits.")
        by_model[each.model] = each
    found = by_model.get(model_ref) or by_model.get(f"{model_ref.partition('/')[0]}/*")
    if found is None:
        return Limits()
    return Limits(
        enqueued_tokens=found.enqueued_tokens,
        open_batches=found.open_batches,
        creates_per_hour=found.creates_per_hour,
    )
