"""Shops whose provider has as much room as a test says, and batches that stay open until it lets them end."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from offpeak.ledger import tables
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import ChunkState
from offpeak.providers.base import Provider

from ...conftest import LocalProvider, QuickClock, Shop, tickets, until

CHEAPER = "openai/gpt-5-nano"


@dataclass
class Account:
    """What happens at the provider."""

    local: LocalProvider

    def hold(self) -> None:
        """Let no batch end from now on."""
        self.local.fault("never_end", share=0, times=None)

    def let_go(self) -> None:
        """Let every batch end."""
        self.local.call("DELETE", "/local/faults")
        for batch in self.local.batches():
            if batch["outcome"] is None:
                self.local.heal(batch["id"])
        until(lambda: all(batch["outcome"] for batch in self.local.batches()), what="the end of the batches")

    def delivered(self) -> int:
        return int(self.local.tally("openai")["answers_delivered"])

    def bought_once(self, count: int) -> None:
        """So many requests were answered, and each of them once."""
        assert [row["answered"] for row in self.local.answered()] == [1] * count


@pytest.fixture
def account(local_provider: LocalProvider) -> Account:
    return Account(local_provider)


@pytest.fixture
def full_shop(any_shop: Shop, account: Account) -> Shop:
    """A shop at whose account one batch may be open, and is: another asset's. On each database."""
    any_shop.ledger.clock = any_shop.clock
    any_shop.limit(open_batches=1)
    account.hold()
    any_shop.leave(tickets(1, start=9_000), asset="occupant")
    return any_shop


@pytest.fixture
def roomy(ledger: Ledger, open_account: Callable[..., Provider]) -> Shop:
    """A shop without limits yet, on SQLite, whose ledger goes by its clock."""
    shop = Shop(ledger, open_account(), clock=QuickClock())
    ledger.clock = shop.clock
    return shop


def states(ledger: Ledger) -> list[str]:
    """The chunks' states, in the order in which they were written."""
    with ledger.database.read() as connection:
        return list(connection.execute(sa.select(tables.chunk.c.state).order_by(tables.chunk.c.id)).scalars())


def count(ledger: Ledger, state: ChunkState) -> int:
    return states(ledger).count(state.value)


def letters(ledger: Ledger) -> dict[str, tuple[str, str]]:
    """Reason and fate of what is not asked, by key."""
    dead, wanted = tables.dead_letter, tables.wanted
    query = sa.select(wanted.c.key, dead.c.reason, dead.c.fate).join(dead, dead.c.request_id == wanted.c.request_id)
    with ledger.database.read() as connection:
        return {key: (reason, fate) for key, reason, fate in connection.execute(query)}
