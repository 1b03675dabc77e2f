"""Which source assets a listener looks after at this moment: a line per asset in Dagster's storage, renewed every BEAT.

The sensor `offpeak_sources` leaves those alone, and a second listener stands by. A line that is older than LASTS counts
for nothing, and so does one of a process of this machine that is no more.
"""

import json
import socket
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import dagster as dg
import psutil

from offpeak.clock import Clock

BEAT = timedelta(seconds=10)
LASTS = timedelta(seconds=30)
"""Three beats: one may be late, and the clocks of two machines may differ by some seconds."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What stands in the storage for one asset."""

    at: datetime
    host: str
    pid: int
    started: float
    """When the process began, as the operating system counts: a pid alone is given to somebody else one day."""

    def is_fresh(self, now: datetime) -> bool:
        return abs(now - self.at) <= LASTS

    def is_of_the_dead(self) -> bool:
        """Whether its process ran on this machine and is no more."""
        if self.host != socket.gethostname():
            return False
        try:
            return psutil.Process(self.pid).create_time() != self.started
        except psutil.NoSuchProcess:
            return True

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Heartbeat:
    """The lines of this process."""

    def __init__(self, instance: dg.DagsterInstance, clock: Clock) -> None:
        self._instance, self._clock = instance, clock
        process = psutil.Process()
        self._me = (socket.gethostname(), process.pid, process.create_time())

    def beat(self, keys: Collection[dg.AssetKey]) -> None:
        """Say that this process looks after these assets."""
        beat = Beat(self._clock.now(), *self._me)
        text = json.dumps({**asdict(beat), "at": beat.at.isoformat()})
        for key in keys:
            # one at a time, because Dagster's storage on SQLite takes several only where all of them are new, or none
            self._instance.daemon_cursor_storage.set_cursor_values({_name(key): text})

    def end(self, keys: Collection[dg.AssetKey]) -> None:
        """Say that it does no longer; what another one has said since stays."""
        for key, beat in _read(self._instance, keys).items():
            if self._is_mine(beat):
                self._instance.daemon_cursor_storage.set_cursor_values({_name(key): ""})

    def another(self, keys: Collection[dg.AssetKey]) -> Beat | None:
        """A living listener that looks after one of these assets."""
        now = self._clock.now()
        for beat in _read(self._instance, keys).values():
            if beat.is_fresh(now) and not self._is_mine(beat) and not beat.is_of_the_dead():
                return beat
        return None

    def _is_mine(self, beat: Beat) -> bool:
        return (beat.host, beat.pid, beat.started) == self._me


def listened_to(
    instance: dg.DagsterInstance, keys: Collection[dg.AssetKey], *, now: datetime
) -> Mapping[dg.AssetKey, Beat]:
    """Those of the assets whose line is fresh."""
    return {key: beat for key, beat in _read(instance, keys).items() if beat.is_fresh(now)}


def _read(instance: dg.DagsterInstance, keys: Collection[dg.AssetKey]) -> dict[dg.AssetKey, Beat]:
    names = {_name(key): key for key in keys}
    found = {}
    for name, text in instance.daemon_cursor_storage.get_cursor_values(set(names)).items():
        try:
            kept = json.loads(text)
            found[names[name]] = Beat(**{**kept, "at": datetime.fromisoformat(kept["at"])})
        except (ValueError, TypeError, KeyError):
            continue  # ended, or written by another version
    return found


def _name(key: dg.AssetKey) -> str:
    return f"offpeak/listening/{key.to_user_string()}"
