"""What tells that a table has changed without being asked: Postgres by NOTIFY, files by the kernel's notices.

Both are read as a stream of table names. From its first element on no later change is missed, so whoever looks at the
tables after that element, and then follows the stream, has seen everything. An element comes every TURN at the latest,
and mostly an empty one: waiting blocks on a socket or in the kernel, and sends no query to the source.
"""

import threading
from collections.abc import Collection, Generator, Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import watchfiles

from offpeak.errors import ConfigurationError, CouldNotRead
from offpeak.sources.database import SourceDatabase
from offpeak.sources.folder import SourceFolder
from offpeak.sources.log import CHANNEL

if TYPE_CHECKING:
    import psycopg

TURN = timedelta(seconds=0.2)

CONNECTION = {
    "application_name": "offpeak sources listen",
    "connect_timeout": "10",
    # A connection that waits for hours learns from the kernel alone, and within a minute, that the server is gone.
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
"""What libpq is told, unless the address says otherwise."""

Changes = Generator[frozenset[str], None, None]


def changes_of(source: SourceDatabase | SourceFolder, tables: Collection[str], *, stop: threading.Event) -> Changes:
    """The names among `tables` that may have changed; it ends when `stop` is set.

    Raises CouldNotRead when the source is out of reach, also later: then changes may be missed from that moment on.
    Raises ConfigurationError for a source that tells nobody of changes.
    """
    wanted = frozenset(tables)
    if isinstance(source, SourceFolder):
        for found in _of_folder(source, stop):
            yield wanted & found
        return
    match source.url.get_backend_name():
        case "postgresql":
            for found in _of_postgres(source, stop):
                yield wanted & found
        case "sqlite":
            for changed in _of_sqlite(source, stop):
                yield wanted if changed else frozenset()
        case other:
            raise ConfigurationError(
                f"{source} cannot be listened to: {other} has no way to tell of changes that Offpeak knows. The sensor "
                "offpeak_sources looks at its tables instead."
            )


def tells_of(source: SourceDatabase | SourceFolder, table: str) -> bool:
    """Whether every change of the table makes the source tell of it: on Postgres by the triggers of the table's log."""
    if isinstance(source, SourceFolder) or source.url.get_backend_name() != "postgresql":
        return True
    return source.notifies(table)


def _of_postgres(source: SourceDatabase, stop: threading.Event) -> Changes:
    import psycopg

    try:
        with closing(_connect(source.url)) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            yield frozenset()
            while not stop.is_set():
                # after the first notification whatever came with it is taken too, and nothing is waited for
                notified = connection.notifies(timeout=TURN.total_seconds(), stop_after=1)
                yield frozenset(each.payload for each in notified)
    except psycopg.Error as error:
        raise CouldNotRead(f"{source} cannot be listened to: {_said(error, source.url)}") from None


def _connect(url: sa.URL) -> "psycopg.Connection[Any]":
    """A connection as SQLAlchemy would make it, whichever driver the address names."""
    import psycopg

    dialect = url.set(drivername="postgresql+psycopg").get_dialect()()
    arguments, options = dialect.create_connect_args(url)
    return psycopg.connect(*arguments, **{**CONNECTION, **options}, autocommit=True)


def _said(error: Exception, url: sa.URL) -> str:
    """In one line, without the password. What libpq says in more lines is advice."""
    said, *_ = str(error).splitlines() or [type(error).__name__]
    return said.replace(str(url.password), "***") if url.password else said


def _of_folder(source: SourceFolder, stop: threading.Event) -> Changes:
    """tickets.csv and everything below tickets/ are of the table tickets."""
    for paths in _of_files(source.path, str(source), stop, recursive=True):
        below = (path.relative_to(source.path.resolve()).parts for path in paths)
        yield frozenset(parts[0].split(".")[0] for parts in below if parts)


def _of_sqlite(source: SourceDatabase, stop: threading.Event) -> Iterator[bool]:
    """Whether the file has changed. Somebody who only reads makes and removes the -wal file, which is no change."""
    file = Path(source.url.database or "")
    if not file.name or file.name.startswith(("file:", ":")):
        raise ConfigurationError(
            f"{source} cannot be listened to: it names no file by its path. Write the address as sqlite:///app.db."
        )
    wal = file.with_name(f"{file.name}-wal")

    def state() -> list[tuple[int, int]]:
        found = []
        for path in (file, wal):
            with suppress(FileNotFoundError):
                stat = path.stat()
                found += [(stat.st_mtime_ns, stat.st_size)] if stat.st_size else []
        return found

    if not file.exists():
        raise CouldNotRead(f"{source} cannot be listened to: there is no such file")
    seen = state()
    for paths in _of_files(file.parent, str(source), stop, recursive=False):
        now = state() if {file.name, wal.name} & {path.name for path in paths} else seen
        yield now != seen
        seen = now


def _of_files(folder: Path, source: str, stop: threading.Event, *, recursive: bool) -> Iterator[set[Path]]:
    """The paths that changed below a folder, with links resolved."""
    turn = int(TURN / timedelta(milliseconds=1))
    try:
        folder = folder.resolve(strict=True)
        place = folder.stat().st_ino
        for found in watchfiles.watch(
            folder,
            watch_filter=None,
            debounce=turn,
            step=turn // 4,
            rust_timeout=turn,
            yield_on_timeout=True,
            stop_event=stop,
            recursive=recursive,
        ):
            yield {Path(path) for _, path in found}
            if folder.stat().st_ino != place:
                raise CouldNotRead(f"{source} cannot be listened to any more: another folder has taken its place")
    except OSError as error:
        raise CouldNotRead(f"{source} cannot be listened to: {error.strerror or error}") from None


class Pending:
    """Tables that have changed and are not reported yet. Moments are seconds of one clock that never goes back.

    A table is due once it was quiet for `quiet`, and at the latest `longest` after the first change.
    """

    def __init__(self, *, quiet: timedelta, longest: timedelta) -> None:
        self._quiet, self._longest = quiet.total_seconds(), longest.total_seconds()
        self._since: dict[str, tuple[float, float]] = {}

    def changed(self, table: str, at: float) -> None:
        first, _ = self._since.get(table, (at, at))
        self._since[table] = (first, at)

    def due(self, now: float) -> list[str]:
        """The tables to report now, which are pending no longer."""
        found = [
            table
            for table, (first, last) in self._since.items()
            if now >= min(last + self._quiet, first + self._longest)
        ]
        for table in found:
            del self._since[table]
        return found
