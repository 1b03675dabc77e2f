"""`offpeak jobs resolve`: creates whose outcome nobody knows, and a person's decision about one."""

import getpass
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offpeak.cli.formats import AsJson, plain, print_json, when
from offpeak.cli.ledgers import DatabaseUrl, open_ledger
from offpeak.clock import in_words

if TYPE_CHECKING:
    from offpeak.ledger.resolving import Candidate, Unknown
    from offpeak.providers.base import Provider

SubmissionId = Annotated[
    int | None, typer.Argument(metavar="SUBMISSION", help="The submission's number; without it, all are listed.")
]


def resolve(
    submission: SubmissionId = None,
    adopt: Annotated[
        str | None, typer.Option("--adopt", metavar="BATCH", help="This batch of the provider is what it became.")
    ] = None,
    absent: Annotated[
        bool,
        typer.Option("--absent", help="It became nothing: queue its requests again. If it did, they are paid twice."),
    ] = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show creates whose outcome nobody knows, with the batches that they may have become; or decide about one."""
    if submission is None and (adopt is not None or absent):
        raise typer.BadParameter("Name the submission that this is about. `offpeak jobs resolve` lists them.")
    if adopt is not None and absent:
        raise typer.BadParameter("Say one of the two: --adopt BATCH or --absent.")
    from offpeak.ledger import resolving

    who = f"{getpass.getuser()}, offpeak jobs resolve"
    with open_ledger(database_url) as ledger:
        found = resolving.unknown(ledger, submission)
        if not found:
            _tell([], as_json=as_json)
            return
        with _accounts() as account:
            if adopt is None and not absent:
                _tell([(each, resolving.candidates(ledger, account(each), each)) for each in found], as_json=as_json)
                return
            (each,) = found
            if adopt is not None:
                resolving.adopt(ledger, account(each), each, adopt, who=who)
                said = f"is batch {adopt}"
            else:
                resolving.declare_absent(ledger, account(each), each, who=who)
                said = f"became nothing, and its {each.submission.requests:,} requests are queued again"
    if as_json:
        print_json({"submission": submission, "adopted": adopt, "absent": absent})
    else:
        typer.echo(f"Submission {submission} {said}. Materialise {' and '.join(each.assets)} again to go on.")


@contextmanager
def _accounts() -> "Iterator[Callable[[Unknown], Provider]]":
    """Opens the account that a submission was sent to, out of the project's definitions."""
    import dagster as dg

    from offpeak.assets.resources import API_KEY
    from offpeak.cli.project import find_project, load_definitions
    from offpeak.errors import ConfigurationError

    resources = load_definitions(find_project()).resources or {}
    if API_KEY not in resources:
        raise ConfigurationError(
            f"The project's definitions have no resource {API_KEY!r}, so no provider can be asked. Wrap them: "
            "defs = offpeak.with_offpeak(dg.Definitions(...))."
        )
    opened: dict[str, Provider] = {}
    with dg.build_resources({API_KEY: resources[API_KEY]}) as built:

        def account(each: "Unknown") -> "Provider":
            name = each.realm.partition(":")[0]
            if name not in opened:
                opened[name] = getattr(built, API_KEY).provider(name)
            return opened[name]

        try:
            yield account
        finally:
            for provider in opened.values():
                provider.close()


def _tell(found: "Sequence[tuple[Unknown, Sequence[Candidate]]]", *, as_json: bool) -> None:
    if as_json:
        print_json({"unknown": [_as_json(each, candidates) for each, candidates in found]})
        return
    if not found:
        typer.echo("The outcome of every create is known. Nothing is to be resolved.")
    for each, candidates in found:
        number = each.submission.stamp
        jobs = ", ".join(map(str, each.jobs))
        typer.echo(
            f"Submission {number}, job {jobs} of {', '.join(each.assets)}: a create of {each.submission.requests:,} "
            f"requests was sent to {each.realm} {in_words(each.unknown_for)} ago, and its answer never came."
        )
        if each.attended:
            typer.echo(f"  A living process ({each.submission.owner}) waits for its answer. Nothing is to be done yet.")
            continue
        for candidate in candidates:
            typer.echo(
                f"  {'It is' if candidate.proven else 'It may be'} batch {candidate.batch_id}: {candidate.state}, "
                f"{candidate.requests:,} requests, created {when(candidate.created_at)}."
            )
        if not candidates:
            typer.echo("  The provider's list shows no batch that it could be.")
        typer.echo(
            "  Materialising the asset again goes on looking, and buys nothing before it is known. If you know better:"
        )
        typer.echo(f"    offpeak jobs resolve {number} --adopt BATCH   it became this batch")
        typer.echo(f"    offpeak jobs resolve {number} --absent        it became nothing; if it did, it is paid twice")


def _as_json(each: "Unknown", candidates: "Sequence[Candidate]") -> dict[str, Any]:
    return {
        "submission": each.submission.stamp,
        "jobs": list(each.jobs),
        "assets": list(each.assets),
        "realm": each.realm,
        "model": each.model,
        "requests": each.submission.requests,
        "sent_at": plain(each.submission.create_at),
        "unknown_seconds": each.unknown_for.total_seconds(),
        "attended": each.attended,
        "candidates": [plain(candidate) for candidate in candidates],
    }
