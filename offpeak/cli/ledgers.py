"""The ledger that a command looks into: it has to be there, since an empty one would be a wrong answer."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from offpeak.ledger.ledger import Ledger

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        metavar="URL",
        help="The ledger to look into; without it, OFFPEAK_DATABASE_URL or the project's .offpeak/.",
    ),
]


@contextmanager
def open_ledger(database_url: str | None) -> "Iterator[Ledger]":
    """The ledger at `database_url`, or the project's own; nothing of the project's code is loaded.

    Raises LedgerUnreadable where there is none yet, ConfigurationError where nobody says where it is.
    """
    from offpeak.ledger.database import parse_address
    from offpeak.ledger.ledger import Ledger, existing
    from offpeak.ledger.location import offpeak_folder

    url = database_url or _default_url()
    with existing(url):
        pass  # opening it below would make one
    sqlite = parse_address(url).get_backend_name() == "sqlite"
    with Ledger.open(url, spool_dir=None if sqlite else offpeak_folder() / "spool") as ledger:
        yield ledger


def _default_url() -> str:
    from offpeak.cli.project import find_project, set_variables_of_env_file
    from offpeak.ledger.location import DATABASE_VARIABLE, default_database_url

    if not os.environ.get(DATABASE_VARIABLE):
        set_variables_of_env_file(find_project())
    return default_database_url()
