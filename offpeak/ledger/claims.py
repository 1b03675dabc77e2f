"""Who works on a submission, and whether they still live.

A claim names its process (host, process id, start time), so that a claim left by a killed process on this host is
taken over at once. A process on another host cannot be asked: its claim holds until its lease has run out.
"""

import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

import psutil

LEASE = timedelta(minutes=15)
"""How long a claim of a process on another host is honoured after it was last written. Longer than any single call."""

_CLOCK_STEP = 3.0
"""Seconds by which the system may move a process's start time when it corrects its clock."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """A process, told apart from a later one that got the same id."""

    host: str
    pid: int
    started: int

    @classmethod
    def this_process(cls) -> "Claimant":
        return _this_process(os.getpid())

    @classmethod
    def parse(cls, text: str) -> "Claimant | None":
        """The claimant that `str()` wrote, or None when the text is not one."""
        host, _, rest = text.rpartition("#")
        pid, _, started = rest.partition("@")
        return cls(host, int(pid), int(started)) if host and pid.isdecimal() and started.isdecimal() else None

    def __str__(self) -> str:
        return f"{self.host}#{self.pid}@{self.started}"

    def alive(self, *, claimed_at: datetime, now: datetime) -> bool:
        """Whether its claim still holds."""
        if self.host != _host():
            return now - claimed_at < LEASE
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < _CLOCK_STEP
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def _host() -> str:
    return socket.gethostname()


@cache
def _this_process(pid: int) -> Claimant:
    return Claimant(_host(), pid, round(psutil.Process(pid).create_time()))
