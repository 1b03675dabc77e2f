"""`offpeak jobs`: what was and is being bought, one job told whole, and the approval of a held one."""

import getpass
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offpeak.cli.formats import AsJson, columns, console, pairs, pico_text, plain, print_json, when, words
from offpeak.cli.ledgers import DatabaseUrl, open_ledger

if TYPE_CHECKING:
    from offpeak.ledger.history import ChunkRecord, JobHistory, Reason
    from offpeak.ledger.jobs import Bill, JobRow

JobId = Annotated[int, typer.Argument(metavar="ID", help="The job's number, as `offpeak jobs` lists it.")]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(
        invoke_without_command=True,
        help="List jobs, newest first; show one whole; approve one that the surge guard holds.",
        epilog="Example: offpeak jobs --open --asset ticket_labels",
        rich_markup_mode=None,
    )
    group.callback()(jobs)
    group.command("show", epilog="Example: offpeak jobs show 7")(show)
    group.command("approve", epilog="Example: offpeak jobs approve 7")(approve)
    app.add_typer(group, name="jobs")


def jobs(
    context: typer.Context,
    asset: Annotated[str | None, typer.Option(help="Only the jobs of this asset.")] = None,
    open_only: Annotated[
        bool, typer.Option("--open", help="Only jobs that have not ended, held ones included.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first; show one whole; approve one that the surge guard holds."""
    if context.invoked_subcommand is not None:
        return
    from offpeak.ledger.jobs import bills, listed, refuse_unknown_asset

    with open_ledger(database_url) as ledger:
        if asset is not None:
            refuse_unknown_asset(ledger, asset)
        rows = listed(ledger, asset=asset, open_only=open_only, limit=limit)
        costs = bills(ledger, [row.id for row in rows])
        address = ledger.database.url.render_as_string(hide_password=True)
    if as_json:
        print_json({"ledger": address, "jobs": [_as_json(row, costs[row.id]) for row in rows]})
    else:
        _print_list(rows, costs, address)


def show(job_id: JobId, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """One job whole: its partitions, batches, failures by reason, cost, and everything that happened."""
    from offpeak.ledger.history import of_job

    with open_ledger(database_url) as ledger:
        history = of_job(ledger, job_id)
    if as_json:
        document = plain(history)
        del document["bill"]
        print_json({**document, "job": _as_json(history.job, history.bill)})
    else:
        _print_history(history)


def approve(job_id: JobId, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Let a plan that the surge guard holds go through the next time its asset is materialised."""
    from offpeak.ledger.jobs import approve as let_through
    from offpeak.ledger.jobs import bill

    with open_ledger(database_url) as ledger:
        row = let_through(ledger, job_id, who=f"{getpass.getuser()}, offpeak jobs approve")
        document = _as_json(row, bill(ledger, job_id))
    if as_json:
        print_json(document)
    else:
        typer.echo(f"Job {row.id} of {row.asset} is approved. Nothing is bought yet: materialise {row.asset} again.")


def _as_json(row: "JobRow", bill: "Bill") -> dict[str, Any]:
    """A job with its bill; before the job has ended there is none, which is not a cost of nothing."""
    figures: Mapping[str, Any] = plain(bill)
    return {**plain(row), **{name: None if row.closed_at is None else value for name, value in figures.items()}}


def _print_list(rows: "Sequence[JobRow]", costs: "Mapping[int, Bill]", address: str) -> None:
    from offpeak.ledger.states import JobState

    out = console()
    names = ("id", "asset", "state", "lane", "rows", "new", "on their way", "reused", "cost", "batches", "created")
    table = columns(None, *names, right=("id", "rows", "new", "on their way", "reused", "cost"), fold=("asset",))
    for row in rows:
        table.add_row(
            str(row.id),
            row.asset,
            words(row.state.value),
            row.lane or "-",
            f"{row.rows:,}",
            f"{row.new:,}",
            f"{row.joined:,}",
            f"{row.reused:,}",
            _cost(row, costs[row.id]),
            _batches(row),
            when(row.created_at),
        )
    out.print(table if rows else "There are no such jobs.")
    for row in rows:
        if row.state is JobState.HELD:
            out.print(f"\nJob {row.id} is held. {row.reason}", soft_wrap=True)
            out.print(f"If it is meant: offpeak jobs approve {row.id}", soft_wrap=True)
    out.print(f"\nCost at list price. Ledger: {address}", soft_wrap=True)


def _cost(row: "JobRow", bill: "Bill") -> str:
    return "-" if row.closed_at is None else pico_text(bill.cost_pico)


def _batches(row: "JobRow") -> str:
    """How many, and how far: a batch may have landed and not be collected yet."""
    if not row.chunks:
        return "-"
    parts = [f"{count} {name}" for name, count in (("landed", row.landed), ("applied", row.applied)) if count]
    return f"{row.chunks}: {', '.join(parts)}" if parts else str(row.chunks)


def _print_history(history: "JobHistory") -> None:
    out, job, bill = console(), history.job, history.bill
    partitions = [target.partition_key for target in history.targets if target.partition_key]
    tokens = f"{bill.input_tokens:,} in ({bill.cached_tokens:,} from the cache), {bill.output_tokens:,} out"
    out.print(f"Job {job.id} of {job.asset}: {words(job.state.value)}")
    out.print(
        pairs(
            ("reason", job.reason),
            ("model", job.model),
            ("lane", job.lane),
            ("rows", f"{job.rows:,}: {job.new:,} new, {job.joined:,} on their way, {job.reused:,} bought before"),
            ("removed", f"{job.removed:,}" if job.removed else None),
            ("partitions", ", ".join(partitions) or None),
            ("cost", f"{_cost(job, bill)} at list price, {pico_text(bill.realtime_pico)} at realtime price")
            if job.closed_at
            else ("cost", "not known before the job has ended"),
            ("tokens", tokens if job.closed_at else None),
            ("created", when(job.created_at)),
            ("deadline", when(job.deadline_at)),
            ("ended", when(job.closed_at)),
            ("run", job.run_id or None),
        )
    )
    _print_batches(out, history.chunks)
    _print_reasons(out, "Attempts that brought no usable answer", history.failures)
    _print_reasons(out, "Dead letters, not tried again", history.dead_letters)
    events = columns("\nEvents", "at", "what", "state", "why", fold=("why",))
    for event in history.events:
        what = f"{event.subject} {event.subject_id}"
        events.add_row(when(event.at), what, words(event.state), event.why or "")
    out.print(events)


def _print_batches(out: Any, chunks: "Sequence[ChunkRecord]") -> None:
    if not chunks:
        return
    names = ("chunk", "state", "attempt", "requests", "submission", "its state", "batch", "submitted", "ended", "error")
    table = columns("\nBatches", *names, right=("chunk", "attempt", "requests", "submission"), fold=("batch", "error"))
    for chunk in chunks:
        begin = (str(chunk.id), words(chunk.state.value), str(chunk.attempt), f"{chunk.requests:,}")
        if not chunk.submissions:
            table.add_row(*begin, "-", "-", "-", "-", "-", "")
        for each in chunk.submissions:
            state = words(each.state.value) + (f" ({words(each.outcome)})" if each.outcome else "")
            times = (_clock(each.submitted_at), _clock(each.ended_at))
            table.add_row(*begin, str(each.id), state, each.batch_id or "-", *times, each.error or "")
            begin = ("", "", "", "")
    out.print(table)


def _clock(moment: Any) -> str:
    return "-" if moment is None else f"{moment:%m-%d %H:%M:%S}"


def _print_reasons(out: Any, title: str, reasons: "Sequence[Reason]") -> None:
    if not reasons:
        return
    table = columns(
        f"\n{title}", "count", "reason", "cost", "for example", right=("count", "cost"), fold=("for example",)
    )
    for each in reasons:
        table.add_row(f"{each.count:,}", each.reason, pico_text(each.cost_pico), each.message or "")
    out.print(table)
