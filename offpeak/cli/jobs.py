"""`offpeak jobs`: what was and is being bought, one job told whole, and approval of what waits for somebody.

A job that is open has a condition beside its state: what the ledger last saw of it, and what that means.
"""

import getpass
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offpeak.cli.formats import (
    AsJson,
    columns,
    console,
    pairs,
    pico_text,
    plain,
    print_json,
    print_json_line,
    when,
    words,
)
from offpeak.cli.ledgers import DatabaseUrl, open_ledger
from offpeak.cli.resolve import resolve
from offpeak.clock import in_words

if TYPE_CHECKING:
    from offpeak.ledger.history import ChunkRecord, JobHistory, Reason
    from offpeak.ledger.jobs import Bill, JobRow
    from offpeak.ledger.ledger import Ledger
    from offpeak.ledger.samples import DrawnSample
    from offpeak.ledger.spending import Estimated
    from offpeak.ledger.watching import Timing, Watched

WIDE = 130
"""Columns from which on a terminal has room for the whole list."""

LEFT_OUT = frozenset({"lane", "on their way", "created"})
"""What is left out where there is less room, so that names stay readable."""

JobId = Annotated[int, typer.Argument(metavar="ID", help="The job's number, as `offpeak jobs` lists it.")]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(
        invoke_without_command=True,
        help="List jobs, or watch the open ones; show one whole; approve, reject or send one; resolve a lost create.",
        epilog="Example: offpeak jobs --watch --asset ticket_labels",
        rich_markup_mode=None,
    )
    group.callback()(jobs)
    group.command("show", epilog="Example: offpeak jobs show 7")(show)
    group.command("approve", epilog="Example: offpeak jobs approve 7")(approve)
    group.command("reject", epilog="Example: offpeak jobs reject 7")(reject)
    group.command("send", epilog="Example: offpeak jobs send 7")(send)
    group.command("resolve", epilog="Example: offpeak jobs resolve 12 --adopt batch_68f1")(resolve)
    app.add_typer(group, name="jobs")


def jobs(
    context: typer.Context,
    asset: Annotated[str | None, typer.Option(help="Only the jobs of this asset.")] = None,
    open_only: Annotated[
        bool, typer.Option("--open", help="Only jobs that have not ended, held ones included.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Follow the open jobs until Ctrl-C: bars on a terminal; in a pipe, or with --json, a line per change.",
        ),
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, or watch the open ones; show one whole; approve, reject or send one; resolve a lost create."""
    if context.invoked_subcommand is not None:
        return
    if watch:
        _watch(asset, limit=limit, database_url=database_url, as_json=as_json)
        return
    from offpeak.ledger.jobs import bills, listed, refuse_unknown_asset
    from offpeak.ledger.watching import watched
    from offpeak.queue import gate

    with open_ledger(database_url) as ledger:
        if asset is not None:
            refuse_unknown_asset(ledger, asset)
        rows = listed(ledger, asset=asset, open_only=open_only, limit=limit)
        costs = bills(ledger, [row.id for row in rows])
        now = ledger.clock.now()
        found = watched(ledger, now=now, asset=asset, no_room=gate.waits(ledger, now=now))
        standing = {each.job.id: each for each in found}
        address = ledger.database.url.render_as_string(hide_password=True)
    if as_json:
        documents = [_as_json(row, costs[row.id], standing.get(row.id)) for row in rows]
        print_json({"ledger": address, "jobs": documents})
    else:
        _print_list(rows, costs, standing, address)


def _watch(asset: str | None, *, limit: int, database_url: str | None, as_json: bool) -> None:
    """Follow open jobs until interrupted, which is how it is meant to end."""
    from offpeak.cli.watch import changes, follow, line
    from offpeak.ledger.jobs import bill, refuse_unknown_asset

    out = console()
    with suppress(KeyboardInterrupt), open_ledger(database_url) as ledger:
        if asset is not None:
            refuse_unknown_asset(ledger, asset)
        if out.is_terminal and not as_json:
            follow(ledger, asset, limit=limit, out=out)
        for change in changes(ledger, asset):
            if as_json:
                job = _as_json(change.job, bill(ledger, change.job.id), change.standing)
                print_json_line({"at": plain(change.at), **job})
            else:
                typer.echo(line(change))


def show(job_id: JobId, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """One job whole: its partitions, batches, failures by reason, cost, times, and everything that happened."""
    from offpeak.ledger import samples, spending
    from offpeak.ledger.history import of_job
    from offpeak.ledger.watching import timings, watched
    from offpeak.queue import gate

    with open_ledger(database_url) as ledger:
        history = of_job(ledger, job_id)
        now = ledger.clock.now()
        found = watched(ledger, now=now, asset=history.job.asset, no_room=gate.waits(ledger, now=now))
        standing = next((each for each in found if each.job.id == job_id), None)
        (timing,) = timings(ledger, ids=[job_id])
        sample = samples.of_job(ledger, job_id)
        estimated = spending.estimated_for(ledger, job_id)
    if as_json:
        document = plain(history)
        del document["bill"]
        job = _as_json(history.job, history.bill, standing)
        job["estimated_from"] = None if estimated is None else estimated.basis
        print_json({**document, "job": job, "timing": _timing_as_json(timing), "sample": plain(sample)})
    else:
        _print_history(history, standing, timing, sample, estimated)


def approve(job_id: JobId, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Let a job go on: one whose sample has been shown, or a plan that the surge guard or a budget holds."""
    from offpeak.ledger import samples
    from offpeak.ledger.jobs import approve as let_through
    from offpeak.ledger.jobs import bill, listed
    from offpeak.ledger.states import JobState

    who = f"{getpass.getuser()}, offpeak jobs approve"
    with open_ledger(database_url) as ledger:
        rows = listed(ledger, ids=[job_id])
        if rows and rows[0].state is not JobState.HELD and samples.of_job(ledger, job_id, of_others=True) is not None:
            released = samples.approve(ledger, job_id, who=who)
            parked = _holds_a_place(ledger, released.id)
            said = f"The sample of job {released.id} of {released.asset} is approved: {released.rest or 0:,} requests "
            said += "are released. "
            said += "Its parked run goes on." if parked else f"To buy them, materialise {released.asset} again."
            (row,) = listed(ledger, ids=[job_id])
        else:
            row = let_through(ledger, job_id, who=who)
            said = f"Job {row.id} of {row.asset} is approved. Nothing is bought yet: materialise {row.asset} again."
        document = _as_json(row, bill(ledger, job_id), None)
    if as_json:
        print_json(document)
    else:
        typer.echo(said)


def reject(job_id: JobId, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Have the rest of a plan not bought, whose sample has been shown; the sample's answers are kept."""
    from offpeak.ledger import jobs as ledger_jobs
    from offpeak.ledger import parked_runs, samples
    from offpeak.ledger.jobs import bill, listed
    from offpeak.ledger.states import PARKED, JobState

    with open_ledger(database_url) as ledger:
        found = samples.reject(ledger, job_id, who=f"{getpass.getuser()}, offpeak jobs reject")
        for each in samples.jobs_of(ledger, found.id):
            run = parked_runs.of_job(ledger, each)
            if run is None or run.state not in PARKED:  # a parked run ends its job itself, and fails
                why = f"the sample of job {found.id} was rejected"
                ledger_jobs.close(ledger, each, JobState.CANCELLED, why=why)
        (row,) = listed(ledger, ids=[job_id])
        document = _as_json(row, bill(ledger, job_id), None)
    if as_json:
        print_json(document)
    else:
        typer.echo(
            f"The sample of job {found.id} of {found.asset} is rejected: {found.rest or 0:,} requests are not bought. "
            f"Mend the asset and materialise it again; as it is, it would draw another sample."
        )


def send(job_id: JobId, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Have a job sent although a launch keeps scheduled work from its provider."""
    from offpeak.ledger import launch_windows, parked_runs
    from offpeak.ledger.jobs import bill, listed
    from offpeak.ledger.states import PARKED

    with open_ledger(database_url) as ledger:
        launch_windows.send_anyway(ledger, job_id, who=f"{getpass.getuser()}, offpeak jobs send")
        (row,) = listed(ledger, ids=[job_id])
        run = parked_runs.of_job(ledger, job_id)
        document = _as_json(row, bill(ledger, job_id), None)
    if as_json:
        print_json(document)
        return
    parked = run is not None and run.state in PARKED
    goes_on = "Its parked run goes on." if parked else f"Materialise {row.asset} again."
    typer.echo(f"Job {row.id} of {row.asset} is sent although a launch may be under way. {goes_on}")


def _holds_a_place(ledger: "Ledger", sample_id: int) -> bool:
    """Whether a parked run waits for the sample, and so goes on by itself."""
    from offpeak.ledger import parked_runs, samples
    from offpeak.ledger.states import PARKED

    runs = (parked_runs.of_job(ledger, each) for each in samples.jobs_of(ledger, sample_id))
    return any(run is not None and run.state in PARKED for run in runs)


def _as_json(row: "JobRow", bill: "Bill", standing: "Watched | None") -> dict[str, Any]:
    """A job with its bill; before the job has ended there is none, which is not a cost of nothing.

    Only an open job has a condition, and progress.
    """
    from offpeak.ledger.spending import error

    figures: Mapping[str, Any] = plain(bill)
    document = {**plain(row), **{name: None if row.closed_at is None else value for name, value in figures.items()}}
    document["estimate_error"] = None if row.closed_at is None else error(row.estimate_pico, bill.cost_pico)
    if standing is None:
        return {**document, "condition": None, "why": None, "progress": None, "parked_run": None}
    run = standing.parked
    return {
        **document,
        "condition": standing.condition.value,
        "why": standing.why or None,
        "progress": {
            "requests": standing.requests,
            "finished": standing.finished,
            "batches": standing.batches,
            "landed": standing.landed,
            "applied": standing.applied,
            "submitted_at": plain(standing.submitted_at),
            "elapsed_seconds": _seconds(standing.elapsed),
            "typical_seconds": _seconds(standing.typical),
        },
        "parked_run": None if run is None else {"run_id": run.run_id, "state": run.state.value, "shown": run.progress},
    }


def _timing_as_json(timing: "Timing") -> dict[str, Any]:
    return {
        "submitted_at": plain(timing.submitted_at),
        "ended_at": plain(timing.ended_at),
        "to_submit_seconds": _seconds(timing.to_submit),
        "at_provider_seconds": _seconds(timing.at_provider),
        "to_collect_seconds": _seconds(timing.to_collect),
    }


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def _print_list(
    rows: "Sequence[JobRow]", costs: "Mapping[int, Bill]", standing: "Mapping[int, Watched]", address: str
) -> None:
    out = console()
    shown = [_cells(row, costs[row.id], standing.get(row.id)) for row in rows]
    names = [name for name in (shown[0] if shown else ()) if out.width >= WIDE or name not in LEFT_OUT]
    table = columns(None, *names, right=("id", "rows", "new", "on their way", "reused", "cost"), fold=("asset",))
    for cells in shown:
        table.add_row(*(cells[name] for name in names))
    out.print(table if rows else "There are no such jobs.")
    for line in _notes(rows, standing):
        out.print(line, soft_wrap=True)
    out.print(f"\nCost at list price. Ledger: {address}", soft_wrap=True)


def _cells(row: "JobRow", bill: "Bill", standing: "Watched | None") -> dict[str, str]:
    """A line of the list, by column."""
    return {
        "id": str(row.id),
        "asset": row.asset,
        "state": words(row.state.value if standing is None else standing.condition.value),
        "lane": row.lane or "-",
        "rows": f"{row.rows:,}",
        "new": f"{row.new:,}",
        "on their way": f"{row.joined:,}",
        "reused": f"{row.reused:,}",
        "cost": _cost(row, bill),
        "batches": _batches(row, standing),
        "created": when(row.created_at),
    }


def _notes(rows: "Sequence[JobRow]", standing: "Mapping[int, Watched]") -> Iterator[str]:
    """What is to be said of single jobs, below an empty line."""
    from offpeak.ledger.conditions import Condition

    begin = "\n"
    for row in rows:
        found = standing.get(row.id)
        if found is None or not found.why:
            continue
        if found.condition is Condition.HELD:
            yield f"{begin}Job {row.id} is held. {found.why}\nIf it is meant: offpeak jobs approve {row.id}"
        elif found.condition is Condition.AWAITING_APPROVAL:
            yield (
                f"{begin}Job {row.id} of {row.asset}: {found.why}.\nIf it is right: offpeak jobs approve {row.id}; if "
                f"not: offpeak jobs reject {row.id}"
            )
        else:
            yield f"{begin}Job {row.id} of {row.asset} is {words(found.condition.value)}: {found.why}."
        begin = ""


def _cost(row: "JobRow", bill: "Bill") -> str:
    return "-" if row.closed_at is None else pico_text(bill.cost_pico)


def _batches(row: "JobRow", standing: "Watched | None") -> str:
    """How many, and how far: a batch may have landed and not be collected yet; what is called one by one is none."""
    if not row.chunks:
        return "-"
    landed = row.landed if standing is None else standing.landed
    counts = (("called", row.called), ("landed", landed), ("applied", row.applied))
    parts = [f"{count} {name}" for name, count in counts if count]
    return f"{row.chunks}: {', '.join(parts)}" if parts else str(row.chunks)


def _print_history(
    history: "JobHistory",
    standing: "Watched | None",
    timing: "Timing",
    sample: "DrawnSample | None",
    estimated: "Estimated | None",
) -> None:
    out, job, bill, run = console(), history.job, history.bill, history.parked
    partitions = [target.partition_key for target in history.targets if target.partition_key]
    written = f", {bill.cache_write_tokens:,} written to it" if bill.cache_write_tokens else ""
    tokens = f"{bill.input_tokens:,} in ({bill.cached_tokens:,} from the cache{written}), {bill.output_tokens:,} out"
    out.print(f"Job {job.id} of {job.asset}: {words(job.state.value)}")
    out.print(
        pairs(
            ("condition", None if standing is None else _condition(standing)),
            ("progress", None if standing is None else _progress(standing)),
            ("reason", job.reason),
            ("model", job.model),
            ("lane", job.lane),
            ("rows", f"{job.rows:,}: {job.new:,} new, {job.joined:,} on their way, {job.reused:,} bought before"),
            ("removed", f"{job.removed:,}" if job.removed else None),
            ("partitions", ", ".join(partitions) or None),
            ("cost", f"{_cost(job, bill)} at list price, {pico_text(bill.realtime_pico)} at realtime price")
            if job.closed_at
            else ("cost", "not known before the job has ended"),
            ("estimate", None if not estimated else _estimate(estimated, bill if job.closed_at else None)),
            ("tokens", tokens if job.closed_at else None),
            ("sample", None if sample is None else _sample(sample)),
            ("created", when(job.created_at)),
            ("deadline", when(job.deadline_at) + ("" if job.on_deadline is None else f", {words(job.on_deadline)}")),
            ("ended", when(job.closed_at)),
            ("to submit", _duration(timing.to_submit)),
            ("at the provider", _duration(timing.at_provider)),
            ("to collect", _duration(timing.to_collect)),
            ("run", job.run_id or None),
            ("parked run", None if run is None else f"{run.run_id}, {words(run.state.value)}"),
        )
    )
    _print_batches(out, history.chunks)
    _print_reasons(out, "Attempts that brought no usable answer", history.failures)
    _print_reasons(out, "Dead letters, not tried again", history.dead_letters)
    events = columns("\nEvents", "at", "what", "state", "why", fold=("why",))
    for event in history.events:
        what = f"{words(event.subject)} {event.subject_id}"
        events.add_row(when(event.at), what, words(event.state), event.why or "")
    out.print(events)


def _estimate(estimated: "Estimated", bill: "Bill | None") -> str | None:
    """What the job was estimated at, from what, and by how much of the bill that was too high or too low."""
    from offpeak.ledger.spending import error

    if not estimated.pico:
        return None
    told = f"{pico_text(estimated.pico)}, {estimated.input_tokens:,} tokens in, {estimated.output_tokens:,} out"
    told += "" if estimated.basis is None else f", from {estimated.basis}"
    wrong = None if bill is None else error(estimated.pico, bill.cost_pico)
    return told if wrong is None else f"{told}: {abs(wrong):.1%} too {'high' if wrong > 0 else 'low'}"


def _sample(sample: "DrawnSample") -> str:
    told = f"{sample.requests:,} requests, {words(sample.state.value)} since {when(sample.entered_at)}"
    if sample.failed is None:
        return told
    return (
        f"{told}: {sample.failed:,} without a usable answer, {pico_text(sample.cost_pico or 0)}; "
        f"{sample.rest or 0:,} held, about {pico_text(sample.rest_pico or 0)}"
    )


def _condition(standing: "Watched") -> str:
    return words(standing.condition.value) + (f": {standing.why}" if standing.why else "")


def _progress(standing: "Watched") -> str | None:
    if not standing.requests:
        return None
    parts = [f"{standing.finished:,} of {standing.requests:,} requests"]
    if standing.batches > 1:
        parts.append(f"{standing.landed + standing.applied} of {standing.batches} batches have ended")
    if standing.elapsed is not None:
        parts.append(f"{in_words(standing.elapsed)} since the first was submitted")
    if standing.typical is not None:
        parts.append(f"a batch of this asset usually takes {in_words(standing.typical)}")
    return ", ".join(parts)


def _duration(duration: timedelta | None) -> str | None:
    return None if duration is None else in_words(duration)


def _print_batches(out: Any, chunks: "Sequence[ChunkRecord]") -> None:
    if not chunks:
        return
    names = ("chunk", "state", "attempt", "requests", "submission", "its state", "batch", "submitted", "ended", "error")
    title = "Batches and calls" if any(each.called for chunk in chunks for each in chunk.submissions) else "Batches"
    table = columns(f"\n{title}", *names, right=("chunk", "attempt", "requests", "submission"), fold=("batch", "error"))
    for chunk in chunks:
        begin = (str(chunk.id), words(chunk.state.value) + _special(chunk), str(chunk.attempt), f"{chunk.requests:,}")
        if not chunk.submissions:
            table.add_row(*begin, "-", "-", "-", "-", "-", "")
        for each in chunk.submissions:
            state = words(each.state.value) + (f" ({words(each.outcome)})" if each.outcome else "")
            times = (_clock(each.submitted_at), _clock(each.ended_at))
            batch = each.batch_id or ("called" if each.called else "-")
            table.add_row(*begin, str(each.id), state, batch, *times, each.error or "")
            begin = ("", "", "", "")
    out.print(table)


def _special(chunk: "ChunkRecord") -> str:
    """What sets a chunk apart from others, in parentheses."""
    if chunk.degraded_from is not None:
        return f" ({chunk.model} in place of {chunk.degraded_from})"
    if chunk.rescues is not None:
        return f" (rescues chunk {chunk.rescues})"
    return "" if chunk.given_up_at is None else f" (given up at {_clock(chunk.given_up_at)})"


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
