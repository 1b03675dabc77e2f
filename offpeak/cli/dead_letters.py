"""`offpeak dead-letters`: requests that are not tried again. Which, why, what they cost; and what to do about them."""

import getpass
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offpeak.cli.formats import AsJson, columns, console, pairs, pico_text, plain, print_json, when
from offpeak.cli.ledgers import DatabaseUrl, open_ledger

if TYPE_CHECKING:
    from offpeak.ledger.dead_letters import Chosen, Count, DeadRow, Settled
    from offpeak.ledger.explaining import Attempt, DeadLetter, Explanation, Failure
    from offpeak.ledger.ledger import Ledger

LONGEST_MESSAGE = 160
"""Characters of a message in the list; `show` and JSON have all of it."""

AssetName = Annotated[str, typer.Argument(metavar="ASSET", help="The asset's key, as Dagster prints it.")]
Keys = Annotated[list[str] | None, typer.Argument(metavar="KEY", help="The rows' keys.")]
Partition = Annotated[str | None, typer.Option(help="Only in this partition.")]
ReasonName = Annotated[str | None, typer.Option("--reason", help="Those with this reason.")]
Every = Annotated[bool, typer.Option("--all", help="All of the asset's.")]


class FateName(StrEnum):
    """What became of a dead letter, as the command line takes it."""

    DEAD = "dead"
    DROPPED = "dropped"
    DISCARDED = "discarded"


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Requests that are not tried again: list them, show one whole, send them round again, or let them go.",
        rich_markup_mode=None,
    )
    group.command("list", epilog="Example: offpeak dead-letters list ticket_labels")(list_)
    group.command("show", epilog="Example: offpeak dead-letters show ticket_labels T-0001")(show)
    group.command("requeue", epilog="Example: offpeak dead-letters requeue ticket_labels --reason expired")(requeue)
    group.command("discard", epilog="Example: offpeak dead-letters discard ticket_labels T-0001 --why 'no text'")(
        discard
    )
    app.add_typer(group, name="dead-letters")


def list_(
    asset: Annotated[
        str | None, typer.Argument(metavar="ASSET", help="Only this asset's; its key, as Dagster prints it.")
    ] = None,
    reason: ReasonName = None,
    fate: Annotated[
        FateName,
        typer.Option(help="Those that are dead, that the asset's policy dropped, or that somebody discarded."),
    ] = FateName.DEAD,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many rows at most.")] = 50,
    skip: Annotated[int, typer.Option(min=0, help="Begin after so many rows.")] = 0,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Dead letters: counts and cost by asset and reason, and the rows that want them, a page at a time."""
    from offpeak.ledger import dead_letters
    from offpeak.ledger.policy import Fate

    with open_ledger(database_url) as ledger:
        counts = dead_letters.counts(ledger, asset=asset)
        rows = dead_letters.listed(ledger, asset=asset, reason=reason, fate=Fate(fate.value), limit=limit, skip=skip)
    there = sum(each.rows for each in counts if each.fate.value == fate and reason in (None, each.reason))
    left = max(there - skip - len(rows), 0)
    if as_json:
        shown = {"skipped": skip, "left": left, "dead_letters": [plain(row) for row in rows]}
        print_json({"counts": [plain(each) for each in counts], **shown})
    else:
        _print_list(counts, rows, left=left, following=skip + len(rows))


def show(
    asset: AssetName,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The row's key.")],
    partition: Annotated[
        str | None, typer.Option(help="The partition that holds the row; needed where several do.")
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """One dead letter whole: what it asks, every attempt with the answer that could not be used, and the cost."""
    from offpeak.errors import NotFound
    from offpeak.ledger.explaining import explain

    with open_ledger(database_url) as ledger:
        found = explain(ledger, asset, key, partition_key=partition)
    dead = found.dead_letter
    if dead is None:
        raise NotFound(
            f"Row {key!r} of {asset} is no dead letter: it is {found.state.value}. `offpeak explain {asset} {key}` "
            "tells its history."
        )
    if as_json:
        print_json(_as_json(found, dead))
    else:
        _print(found, dead)


def requeue(
    asset: AssetName,
    keys: Keys = None,
    partition: Partition = None,
    reason: ReasonName = None,
    every: Every = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Send dead letters round again, with all attempts: the next materialization buys them. Nothing is sent now."""
    from offpeak.ledger import dead_letters

    chosen = _chosen(asset, keys, partition, reason, every=every)

    def act(ledger: "Ledger") -> "Settled":
        return dead_letters.requeue(ledger, chosen, who=_who("requeue"))

    _settle(act, "requeued", asset, database_url, as_json=as_json)


def discard(
    asset: AssetName,
    keys: Keys = None,
    partition: Partition = None,
    reason: ReasonName = None,
    every: Every = False,
    why: Annotated[str | None, typer.Option(help="What is written down as the reason.")] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Let dead letters go: they count no more as failed, and are not bought again. `requeue` by key undoes it."""
    from offpeak.ledger import dead_letters

    chosen = _chosen(asset, keys, partition, reason, every=every)

    def act(ledger: "Ledger") -> "Settled":
        return dead_letters.discard(ledger, chosen, who=_who("discard"), why=why)

    _settle(act, "discarded", asset, database_url, as_json=as_json)


def _chosen(asset: str, keys: list[str] | None, partition: str | None, reason: str | None, *, every: bool) -> "Chosen":
    from offpeak.ledger.dead_letters import Chosen

    if every and (keys or reason is not None):
        raise typer.BadParameter("--all takes every one: give it without keys and without --reason.")
    if not (every or keys or reason is not None):
        raise typer.BadParameter("Say which: keys, --reason, or --all.")
    return Chosen(asset=asset, keys=tuple(dict.fromkeys(keys or ())), partition_key=partition, reason=reason)


def _who(verb: str) -> str:
    return f"{getpass.getuser()}, offpeak dead-letters {verb}"


def _settle(
    act: "Callable[[Ledger], Settled]", deed: str, asset: str, database_url: str | None, *, as_json: bool
) -> None:
    with open_ledger(database_url) as ledger:
        settled = act(ledger)
    if as_json:
        print_json({"asset": asset, deed: settled.requests, "shared_with": plain(settled.shared_with)})
        return
    typer.echo(_told(settled, deed, asset))
    for each in settled.shared_with:
        typer.echo(f"{each.requests:,} of them are wanted by {each.asset} too, for which the same holds.")


def _told(settled: "Settled", deed: str, asset: str) -> str:
    if not settled.requests:
        return f"No such dead letter of {asset}: nothing was {deed}."
    number = "1 dead letter" if settled.requests == 1 else f"{settled.requests:,} dead letters"
    if deed == "requeued":
        return (
            f"Requeued {number} of {asset}, with all attempts. Nothing is bought yet: the next materialization of "
            f"{asset} buys what it still asks."
        )
    return (
        f"Discarded {number} of {asset}: counted as dropped from the next materialization on, and not bought again. "
        "`offpeak dead-letters requeue` with their keys undoes it."
    )


def _print_list(counts: "list[Count]", rows: "list[DeadRow]", *, left: int, following: int) -> None:
    out = console()
    if not counts:
        out.print("There are no dead letters.")
        return
    table = columns(None, "asset", "reason", "fate", "requests", "rows", "cost", right=("requests", "rows", "cost"))
    for each in counts:
        figures = (f"{each.requests:,}", f"{each.rows:,}", pico_text(each.cost_pico))
        table.add_row(each.asset, each.reason, each.fate.value, *figures)
    out.print(table)
    if not rows:
        out.print("\nNo rows to show. `--fate` shows what was dropped or discarded.", soft_wrap=True)
        return
    partitioned = any(row.partition_key for row in rows)
    names = ["asset", "key", *(["partition"] if partitioned else []), "reason", "attempts", "cost", "since", "message"]
    shown = columns("\nRows", *names, right=("attempts", "cost"), fold=("key", "message"))
    for row in rows:
        place = [row.partition_key] if partitioned else []
        attempts, cost, message = f"{row.attempts:,}", pico_text(row.cost_pico), _short(row.message or "")
        shown.add_row(row.asset, row.key, *place, row.reason, attempts, cost, when(row.at), message)
    out.print(shown)
    if left:
        out.print(f"\n{left:,} more: --skip {following}", soft_wrap=True)


def _short(message: str) -> str:
    return message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]}…"


def _as_json(found: "Explanation", dead: "DeadLetter") -> dict[str, Any]:
    attempts = [
        {
            "attempt": each.chunk.attempt,
            "submission_id": each.submission.id,
            "batch_id": each.submission.batch_id,
            "custom_id": each.custom_id,
            **plain(failure),
        }
        for each, failure in _failed(found)
    ]
    return {
        "asset": found.asset,
        "partition_key": found.partition_key,
        "key": found.key,
        "request_id": found.request_id,
        "model": found.model,
        **plain(dead),
        "cost_usd": _cost(found),
        "body": found.body,
        "body_missing": found.body_missing,
        "attempts": attempts,
        "shared_with": plain(found.shared_with),
        "sharers": found.sharers,
    }


def _cost(found: "Explanation") -> str:
    from offpeak.cli.formats import decimal_text
    from offpeak.money import dollars

    return decimal_text(dollars(_pico(found)))


def _pico(found: "Explanation") -> int:
    return sum(failure.cost_pico for _, failure in _failed(found))


def _print(found: "Explanation", dead: "DeadLetter") -> None:
    from offpeak.cli.explain import body_text, sharers_text

    out, attempts = console(), _failed(found)
    place = f" in partition {found.partition_key}" if found.partition_key else ""
    out.print(f"Row {found.key} of {found.asset}{place}: {dead.fate.value}, {dead.reason}", soft_wrap=True)
    out.print(
        pairs(
            ("message", dead.message),
            ("since", when(dead.at)),
            ("attempts", f"{len(attempts):,}"),
            ("cost", f"{pico_text(_pico(found))} at list price"),
            ("model", found.model),
            ("shared with", sharers_text(found)),
        )
    )
    out.print("\nIt asks")
    out.print(body_text(found), soft_wrap=True)
    for attempt, failure in attempts:
        out.print(f"\nAttempt {attempt.chunk.attempt}: {failure.reason}, {when(failure.at)}", soft_wrap=True)
        out.print(
            pairs(
                ("batch", attempt.submission.batch_id or ("none: called" if attempt.submission.called else "none")),
                ("message", failure.message),
                ("tokens", f"{failure.input_tokens:,} in, {failure.output_tokens:,} out"),
                ("cost", pico_text(failure.cost_pico)),
            )
        )
        if failure.raw is not None:
            out.print("came back", soft_wrap=True)
            out.print(failure.raw, soft_wrap=True)
    command = f"{found.asset} {found.key}"
    out.print(
        f"\nTo buy it again as it is: offpeak dead-letters requeue {command}\n"
        f"To let it go: offpeak dead-letters discard {command}",
        soft_wrap=True,
    )


def _failed(found: "Explanation") -> "list[tuple[Attempt, Failure]]":
    return [(each, each.failure) for each in found.attempts if each.failure is not None]
