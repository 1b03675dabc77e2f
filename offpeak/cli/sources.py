"""`offpeak sources`: how changes of the application's tables are known, and how they reach Dagster.

Only `watch` and `unwatch` write to the application's database, and only there is anything installed: two small tables
and the triggers that fill them.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from offpeak.cli import listen
from offpeak.cli.formats import AsJson, columns, console, plain, print_json
from offpeak.errors import ConfigurationError

if TYPE_CHECKING:
    from offpeak.sources.database import SourceDatabase
    from offpeak.sources.tables import SourceTables
    from offpeak.sources.watching import Knowledge

Tables = Annotated[list[str], typer.Argument(metavar="TABLE", help="The tables, as the assets are named.")]
Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The application's database; without it, the one that the project's SourceTables reads.",
    ),
]
Sql = Annotated[bool, typer.Option("--sql", help="Print the SQL and change nothing, for somebody who may run it.")]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Have a database log which rows change, see how changes are known, and tell Dagster of them at once.",
        rich_markup_mode=None,
    )
    group.command("watch", epilog="Example: offpeak sources watch support_tickets documents")(watch)
    group.command("unwatch", epilog="Example: offpeak sources unwatch documents")(unwatch)
    group.command("show", epilog="Example: offpeak sources show")(show)
    listen.register(group)
    app.add_typer(group, name="sources")


def watch(
    tables: Tables,
    url: Url = None,
    reader: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE", help="A role that plans read with, if it is not the tables' owner. Postgres."),
    ] = None,
    notify: Annotated[
        bool,
        typer.Option(
            help="Tell listeners of every transaction that changes a row. Postgres; not with two-phase commit."
        ),
    ] = True,
    sql: Sql = False,
    as_json: AsJson = False,
) -> None:
    """Log from now on which rows of the tables change: two small tables beside them, and triggers that fill them."""
    source = _database(url)
    readers = reader or []
    # All are looked at before the first is touched.
    planned = {each: source.watching_statements(each, notify=notify, readers=readers) for each in _once(tables)}
    if sql:
        _print_sql(planned, as_json=as_json)
        return
    done = {each: source.watch(each, notify=notify, readers=readers) for each in planned}
    if as_json:
        print_json({"database": str(source), "watched": [{"table": each, "new": new} for each, new in done.items()]})
        return
    for table, new in done.items():
        typer.echo(f"{table} is watched from now on" if new else f"{table} is watched already; nothing was changed")
    typer.echo(f"in {source}")


def unwatch(tables: Tables, url: Url = None, sql: Sql = False, as_json: AsJson = False) -> None:
    """End the log of the tables' changes, and with the last one remove all that was installed."""
    source = _database(url)
    planned = {each: source.unwatching_statements(each) for each in _once(tables)}
    if sql:
        _print_sql(planned, as_json=as_json)
        return
    for table in planned:
        source.unwatch(table)
    if as_json:
        print_json({"database": str(source), "unwatched": list(planned)})
        return
    for table in planned:
        typer.echo(f"{table} is no longer watched; the next plan reads all of it")
    typer.echo(f"in {source}")


def show(
    tables: Annotated[
        list[str] | None, typer.Argument(metavar="TABLE", help="The tables; without any, all there are.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """How the changes of each table are known, and what is wrong with a log that cannot be used."""
    source = _database(url)
    known = source.knowledge(_once(tables or []))
    if as_json:
        print_json({"database": str(source), "tables": plain(known)})
        return
    table = columns(str(source), "table", "changes are known by", "key", "watched since", fold=("table",))
    for each in known:
        table.add_row(each.table, _words(each), each.key_column or "-", each.installed_at or "-")
    console().print(table)
    for each in known:
        if each.problem:
            typer.echo(f"{each.table}: {each.problem}. Until then every plan reads all of it.")


def _words(known: "Knowledge") -> str:
    match known.how:
        case "log":
            return "its log"
        case "updated_at":
            return "its index on updated_at, deletions unseen"
        case _:
            return "reading every row"


def _print_sql(planned: dict[str, list[str]], *, as_json: bool) -> None:
    """For psql or sqlite3, as one transaction."""
    if as_json:
        print_json({"sql": planned})
        return
    statements = [statement for each in planned.values() for statement in each]
    if not statements:
        typer.echo(f"-- {', '.join(planned)}: there is nothing to do")
        return
    for statement in dict.fromkeys(("BEGIN", *statements, "COMMIT")):
        typer.echo(f"{statement};")


def _once(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _database(url: str | None) -> "SourceDatabase":
    from offpeak.sources.folder import SourceFolder
    from offpeak.sources.tables import open_source

    source = open_source(url, hint="correct --url") if url else _of_project().source()
    if isinstance(source, SourceFolder):
        raise ConfigurationError(
            f"{source} is a folder, which logs no changes: the names, sizes and times of its files say whether there "
            "are any, and every plan reads all of a table. Nothing was changed. Name a database with --url"
        )
    return source


def _of_project() -> "SourceTables":
    """The resource through which the project's assets read."""
    from offpeak.cli.project import find_project, load_definitions
    from offpeak.sources.tables import SourceTables

    resources = load_definitions(find_project()).resources or {}
    found = {key: each for key, each in resources.items() if isinstance(each, SourceTables)}
    if len(found) > 1 and "source_tables" not in found:
        raise ConfigurationError(
            f"The project has {len(found)} SourceTables ({', '.join(sorted(found))}), so it is not clear which "
            "database is meant. Nothing was changed. Name it with --url"
        )
    chosen = found.get("source_tables") or next(iter(found.values()), None)
    if chosen is None:
        raise ConfigurationError(
            "The project has no SourceTables, so nothing says which database is meant. Name it with --url"
        )
    made: SourceTables = chosen.process_config_and_initialize()
    return made
