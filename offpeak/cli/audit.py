"""`offpeak audit`: which AI work runs in the wrong lane, what moving it saves, and the batch asset that it would be."""

from collections.abc import Mapping, Sequence
from datetime import time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offpeak.cli.formats import AsJson, columns, console, plain, print_json
from offpeak.errors import ConfigurationError

if TYPE_CHECKING:
    from offpeak.audit.audit import Audit
    from offpeak.audit.scaffold import Scaffold
    from offpeak.audit.verdict import Verdict

FOUND = 3
"""The exit code of `--check` where there is something in the wrong lane: 1 and 2 are errors."""

Workloads = Annotated[
    Path | None, typer.Option("--list", help="A list of AI work, in YAML; without anything named, workloads.yaml here.")
]
Usage = Annotated[
    list[Path] | None,
    typer.Option("--usage", help="A file of a log of calls: JSONL, CSV or Parquet, also .gz. Several are one log."),
]
Code = Annotated[
    list[Path] | None, typer.Option("--code", help="A folder of Python, which is read and never run. May be repeated.")
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="What a column of the log is, such as time=started_at. May be repeated."),
]
Zone = Annotated[str, typer.Option(help="Where the clock hangs that starts jobs.")]
Tests = Annotated[bool, typer.Option("--tests", help="Read the tests in a folder of code, too.")]
Small = Annotated[str, typer.Option(help="Dollars a month. What saves less is not worth a move.")]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(
        invoke_without_command=True,
        help="Find AI work that runs in the wrong lane: in a list, a log of calls, and code. It buys nothing.",
        epilog="Example: offpeak audit --usage calls.jsonl --code src",
        rich_markup_mode=None,
    )
    group.callback()(audit)
    group.command("scaffold", epilog="Example: offpeak audit scaffold morning_digest --usage calls.jsonl")(scaffold)
    app.add_typer(group, name="audit")


def audit(
    context: typer.Context,
    workloads: Workloads = None,
    usage: Usage = None,
    code: Code = None,
    column: Columns = None,
    zone: Zone = "UTC",
    tests: Tests = False,
    small: Small = "1",
    html: Annotated[Path | None, typer.Option(help="Write the report to this HTML file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the report to this Markdown file.")] = None,
    sarif: Annotated[
        Path | None, typer.Option(help="Write what was found in code to this SARIF file, for code review tools.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="End with exit code 3 where something runs in the wrong lane.")
    ] = False,
    over: Annotated[
        str, typer.Option(help="With --check: only where moving it all would save more than these dollars a month.")
    ] = "0",
    as_json: AsJson = False,
) -> None:
    """Find AI work that runs in the wrong lane: in a list, a log of calls, and code. It buys nothing."""
    if context.invoked_subcommand is not None:
        return
    from offpeak.audit.report import report
    from offpeak.reports.documents import write

    limit = _dollars("--over", over)
    found = _audited(workloads, usage, code, column, zone, tests=tests, small=small)
    told = report(found)
    if as_json:
        _print_json(found)
    else:
        _print_table(found)
    texts = ((html, told.html), (markdown, told.markdown), (sarif, told.sarif))
    for path, text in texts:
        if path is not None:
            typer.echo(f"Wrote {write(text, path, what='The workload audit')}", err=True)
    if check and found.misfits and (not limit or Decimal(told.figures["saving_usd"]) > limit):
        raise typer.Exit(FOUND)


def scaffold(
    name: Annotated[str, typer.Argument(metavar="JOB", help="A job that the audit of the same options finds.")],
    workloads: Workloads = None,
    usage: Usage = None,
    code: Code = None,
    column: Columns = None,
    zone: Zone = "UTC",
    tests: Tests = False,
    rows: Annotated[
        str | None, typer.Option(help="The asset whose rows are asked about; without it, one with an example is made.")
    ] = None,
    key: Annotated[str, typer.Option(help="The column that names a row.")] = "key",
    text: Annotated[str, typer.Option(help="The column with what is asked about.")] = "text",
    package: Annotated[str, typer.Option(help="The package with the project's assets.")] = "ai_assets",
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the files instead of writing them.")] = False,
) -> None:
    """Write a batch asset for a job, and its schedule: files that load, and run, as they stand."""
    from offpeak.audit.scaffold import scaffold as made_of

    found = _audited(workloads, usage, code, column, zone, tests=tests, small="0")
    made = made_of(found.move(found.job(name)), rows=rows, key=key, text=text, package=package)
    if dry_run:
        typer.echo(made.asset + (f"\n\n{made.schedule}" if made.schedule else ""), nl=False)
        return
    for path in _write(made, package, force=force):
        typer.echo(f"Wrote {path}")
    typer.echo("\nNext:")
    for number, step in enumerate(made.next_steps, 1):
        typer.echo(f"  {number}. {step}")


def _write(made: "Scaffold", package: str, *, force: bool) -> list[Path]:
    from offpeak.cli.project import find_project
    from offpeak.reports.documents import write

    root = find_project().root
    files = {root.joinpath(*package.split(".")) / f"{made.name}.py": made.asset}
    if made.schedule is not None:
        files[root / "schedules" / f"{made.name}.py"] = made.schedule
    folder = next(iter(files)).parent
    if not folder.is_dir():
        raise ConfigurationError(
            f"There is no folder {folder} for the asset. Name the package with the project's assets: --package NAME"
        )
    for path in files:
        if path.exists() and not force:
            raise ConfigurationError(
                f"{path} is there already, and nothing was written. Move it away, or give --force."
            )
    return [write(text, path, what="The scaffold").relative_to(root) for path, text in files.items()]


def _audited(
    workloads: Path | None,
    usage: Sequence[Path] | None,
    code: Sequence[Path] | None,
    column: Sequence[str] | None,
    zone: str,
    *,
    tests: bool,
    small: str,
) -> "Audit":
    from offpeak.audit.audit import audit as audited
    from offpeak.audit.workloads import NAME
    from offpeak.clock import SystemClock

    if workloads is None and not usage and not code and Path(NAME).is_file():
        workloads = Path(NAME)
    return audited(
        workloads=workloads,
        usage=usage or (),
        code=code or (),
        columns=_columns(column or ()),
        zone=zone,
        tests=tests,
        small=_dollars("--small", small),
        now=SystemClock().now(),
    )


def _columns(given: Sequence[str]) -> Mapping[str, str] | None:
    found = {}
    for each in given:
        ours, equals, theirs = each.partition("=")
        if not equals or not ours.strip() or not theirs.strip():
            raise ConfigurationError(f"--column {each!r} maps nothing: write OURS=THEIRS, such as time=started_at.")
        found[ours.strip()] = theirs.strip()
    return found or None


def _dollars(option: str, text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or amount < 0:
        raise ConfigurationError(
            f"{option} {text!r} is no amount of dollars: write a number of nought or more, 25 or 2.50."
        )
    return amount


def _print_json(found: "Audit") -> None:
    from offpeak.audit.words import closely, what

    print_json(
        {
            "jobs": [_as_json(each, what(each), closely(each)) for each in found.verdicts],
            "findings": [
                {**plain(finding), "path": str(finding.path)} for each in found.code for finding in each.findings
            ],
            "not_parsed": [{"path": str(one.path), "reason": one.reason} for each in found.code for one in each.unread],
        }
    )


def _as_json(each: "Verdict", what: str, closely: Sequence[str]) -> dict[str, Any]:
    job, price = each.job, each.price
    deadline = job.deadline
    return {
        "name": job.name,
        "misfit": each.misfit,
        "case": job.case.value if job.case else None,
        "lane": job.lane.value,
        "belongs_in": each.lane.value,
        "waiting": job.waiting.value if job.waiting else None,
        "deadline": f"{deadline:%H:%M} {deadline.tzinfo}"
        if isinstance(deadline, time)
        else (deadline.total_seconds() if deadline else None),
        "cadence": job.cadence.words if job.cadence else None,
        "once": job.once,
        "calls": job.calls or None,
        "assumed": job.assumed or None,
        "sources": [source.value for source in job.sources],
        "where": list(job.where),
        "price": plain(price) if price else None,
        "signals": [plain(signal) for signal in each.signals],
        "exceptions": list(each.exceptions),
        "what": what if each.misfit else None,
        "closely": list(closely),
    }


def _print_table(found: "Audit") -> None:
    from offpeak.audit.words import amount, costs, told

    words = told(found)
    shown = console()
    for line in words.headlines:
        shown.print(f"{line.name}: {' '.join((line.figure, *filter(None, line.beside)))}", soft_wrap=True)
    if found.misfits:
        figures = ("costs", "saves")
        table = columns(
            "In the wrong lane", "job", "case", "belongs in", *figures, "where", right=figures, fold=("where",)
        )
        for each in found.misfits:
            table.add_row(
                each.job.name,
                each.job.case.heading if each.job.case else "-",
                each.lane.value,
                costs(each),
                amount(each, each.saving_pico),
                ", ".join(each.job.where),
            )
        shown.print()
        shown.print(table)
    stays = [each for each in found.verdicts if not each.misfit]
    if stays:
        table = columns("What stays", "job", "lane", "why", fold=("why",))
        for each in stays:
            table.add_row(each.job.name, each.job.lane.value, " ".join((each.reason, *each.exceptions)))
        shown.print()
        shown.print(table)
    shown.print()
    for text in words.about:
        shown.print(text.replace("`", ""), soft_wrap=True)
    shown.print(f"What next? {words.advice.replace('`', '')}", soft_wrap=True)
