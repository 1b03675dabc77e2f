"""What a task cost: every row that is a part of it, in whichever assets, with all attempts that each row took.

A task is named by requests (`task=`), such as the user whose digest a chain of assets makes. It is reckoned over the
rows as they are wanted now. A request that several rows want is divided among them by their number, in whole
pico-dollars, rounded down; rows that are part of no task, and of other tasks, are counted in that number.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from offpeak.errors import NotFound
from offpeak.ledger import tables
from offpeak.ledger.ledger import Ledger

LISTED = 50
"""Tasks that are listed, the dearest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCost:
    """Of one task, or of its rows in one asset. Money is whole pico-dollars."""

    task: str
    asset: str | None
    """None: in all of them."""
    rows: int
    unanswered: int
    """Of its rows, how many have no answer of their own (yet)."""
    cost_pico: int
    realtime_pico: int
    unusable_pico: int
    """The part of the cost of attempts that brought nothing usable."""


def of_task(ledger: Ledger, task: str) -> list[TaskCost]:
    """A task by asset, in order. Raises NotFound where no row is a part of it."""
    wanted, target = tables.wanted, tables.target
    query = _sums(wanted.c.task == task, target.c.asset).order_by(target.c.asset)
    with ledger.database.read() as connection:
        rows = connection.execute(query).all()
    if not rows:
        raise NotFound(
            f"No row is a part of a task {task!r}. Rows name theirs with task= on their request, and are a part of it "
            "from their next plan on. `offpeak bill --by task` lists those that there are."
        )
    return [_told(row, task=task, asset=row.asset) for row in rows]


def dearest(ledger: Ledger, *, limit: int = LISTED) -> list[TaskCost]:
    """Tasks over all assets, the dearest first."""
    wanted = tables.wanted
    query = _sums(wanted.c.task.is_not(None), wanted.c.task)
    with ledger.database.read() as connection:
        rows = connection.execute(query.order_by(sa.desc("cost_pico"), wanted.c.task).limit(limit)).all()
    return [_told(row, task=row.task, asset=None) for row in rows]


def _told(row: Any, *, task: str, asset: str | None) -> TaskCost:
    return TaskCost(
        task=task,
        asset=asset,
        rows=row.rows,
        unanswered=row.rows - row.answered,
        cost_pico=int(row.cost_pico),
        realtime_pico=int(row.realtime_pico),
        unusable_pico=int(row.unusable_pico),
    )


def _sums(which: sa.ColumnElement[bool], group: sa.Column[str]) -> sa.Select[Any]:
    """Sums over the wanted rows of some tasks. One pass over all wanted rows, and the attempts of those that count."""
    wanted, target, answer, failure = tables.wanted, tables.target, tables.answer, tables.failure
    asked = sa.select(wanted.c.request_id).where(which.self_group())
    wanting = (
        sa.select(wanted.c.request_id, sa.func.count().label("rows"))
        .where(wanted.c.request_id.in_(asked))
        .group_by(wanted.c.request_id)
        .subquery("wanting")
    )
    in_vain = (
        sa.select(
            failure.c.request_id,
            sa.func.sum(failure.c.cost_pico).label("cost_pico"),
            sa.func.sum(failure.c.realtime_pico).label("realtime_pico"),
        )
        .where(failure.c.request_id.in_(asked))
        .group_by(failure.c.request_id)
        .subquery("in_vain")
    )

    def share(*costs: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
        together: sa.ColumnElement[Any] = sa.literal(0)
        for cost in costs:
            together = together + sa.func.coalesce(cost, 0)
        # a sum is a numeric in Postgres, where a division of it would not end at whole numbers
        return sa.func.sum(sa.cast(together, sa.BigInteger) // wanting.c.rows)

    return (
        sa.select(
            group,
            sa.func.count().label("rows"),
            sa.func.count(answer.c.request_id).label("answered"),
            share(answer.c.cost_pico, in_vain.c.cost_pico).label("cost_pico"),
            share(answer.c.realtime_pico, in_vain.c.realtime_pico).label("realtime_pico"),
            share(in_vain.c.cost_pico).label("unusable_pico"),
        )
        .select_from(wanted)
        .join(target, target.c.id == wanted.c.target_id)
        .join(wanting, wanting.c.request_id == wanted.c.request_id)
        .outerjoin(answer, answer.c.request_id == wanted.c.request_id)
        .outerjoin(in_vain, in_vain.c.request_id == wanted.c.request_id)
        .where(which)
        .group_by(group)
    )
