"""One job, with everything that it takes to work on it."""

import logging
from dataclasses import dataclass

from pydantic import BaseModel

from offpeak.clock import Clock
from offpeak.ledger.closed import OnClose
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import SURFACE, FailurePolicy
from offpeak.money import ModelRates
from offpeak.providers.base import Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job of the ledger, as the process sees it that works on it now."""

    id: int
    asset: str
    model: str
    """Without its provider."""
    output: type[BaseModel] | None
    ledger: Ledger
    provider: Provider
    rates: ModelRates
    """Of its model."""
    clock: Clock
    log: logging.Logger
    policy: FailurePolicy = SURFACE
    on_close: OnClose | None = None
    """What is told of its end."""
