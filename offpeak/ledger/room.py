"""Room on the disks that a ledger writes to: looked at before anything is planned or sent, and missed in good order.

The check is what keeps a full disk from following a create: the id of a batch that was paid for takes a few kilobytes,
and there is room for thousands of them below the line at which nothing more is sent.
"""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from offpeak.errors import LedgerUnavailable
from offpeak.ledger.ledger import Ledger

FREE_AT_LEAST = 64 << 20
"""Bytes. A transaction of 5,000 answers takes about 2 MiB of SQLite's log, and several processes write."""

TROUBLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
"""What a disk says that takes no more bytes; all else that an OSError can mean is an error of the program."""


def require_room(ledger: Ledger) -> None:
    """Raise LedgerUnavailable when so little is free that a step might not be written down to its end."""
    database = ledger.database.url.database if ledger.database.sqlite else None
    for folder in {ledger.spool, *([Path(database).absolute().parent] if database else [])}:
        free = shutil.disk_usage(folder).free
        if free < FREE_AT_LEAST:
            raise LedgerUnavailable(
                f"Only {free / 2**20:.0f} MiB are free on the disk of {folder}, fewer than {FREE_AT_LEAST >> 20}. "
                "Nothing is planned or sent while that lasts. Make room there: a run that waits goes on by itself; "
                "otherwise materialise again."
            )


@contextmanager
def on_disk(ledger: Ledger) -> Iterator[None]:
    """Around work on spool files: raises LedgerUnavailable where the disk took no more."""
    try:
        yield
    except OSError as error:
        if error.errno not in TROUBLE:
            raise
        raise LedgerUnavailable(
            f"A file could not be written to its end in {ledger.spool}: {error.strerror}. It was taken back, and what "
            "the provider has is kept there. Make room: a run that waits goes on by itself; otherwise materialise "
            "again."
        ) from error
