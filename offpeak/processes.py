"""Programs started beside a command, each the leader of its own process group, ended with everything they started.

Nothing started here outlives `stop`: groups are asked to end, then killed, within `GRACE`; children that made a group
of their own are found through the process table before their parents are gone.
"""

import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType

import psutil

from offpeak.errors import ConfigurationError

GRACE = timedelta(seconds=2)
"""How long programs may take to end when asked. `dagster dev` can take ten seconds; what remains is killed."""


_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """The user pressed Ctrl-C, or the command was told to end. Not an Exception: nothing on the way may swallow it, and
    an event loop lets nothing through but a KeyboardInterrupt."""


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into `Stopped` in the main thread; restore the handlers afterwards."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature is the handler's
        raise Stopped(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """One running program and the file that holds all it printed."""

    name: str
    log: Path
    process: subprocess.Popen[bytes]

    def last_lines(self, count: int = 8) -> str:
        """The end of its output, for a message that explains why it ended."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-count:])


class ProcessGroups:
    """The programs of one command. Ended in the reverse order of their start."""

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._started: list[Started] = []

    def start(self, name: str, command: Sequence[str], *, folder: Path, env: dict[str, str]) -> Started:
        """Start a program in its own session. Raises ConfigurationError when it cannot be started at all."""
        self._log_folder.mkdir(parents=True, exist_ok=True)
        log = self._log_folder / f"{name}.log"
        # Held, so that no signal comes between the birth of the program and the note that it must be ended.
        with log.open("wb") as output, _signals_held() as arrived:
            try:
                process = subprocess.Popen(
                    list(command),
                    cwd=folder,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise ConfigurationError(f"`{shlex.join(command)}` cannot be started: {error}.") from error
            started = Started(name=name, log=log, process=process)
            self._started.append(started)
        for number in arrived:
            signal.raise_signal(number)
        return started

    def check(self) -> None:
        """Raise ConfigurationError, with the end of its output, when a program has ended by itself."""
        for started in self._started:
            code = started.process.poll()
            if code is not None:
                raise ConfigurationError(
                    f"{started.name} ended by itself with exit code {code}, so nothing more can run. "
                    f"Its last lines ({started.log}):\n{started.last_lines()}"
                )

    def wait_until(self, ready: Callable[[], bool], *, within: timedelta, what: str) -> None:
        """Poll `ready` until it holds. Raises ConfigurationError when it never does, or when a program ends first."""
        deadline = time.monotonic() + within.total_seconds()
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"{what} did not happen within {within.total_seconds():.0f} s; see {self._log_folder}."
                )
            time.sleep(0.2)

    def stop(self) -> None:
        """End every program with all its descendants. Signals meanwhile do not interrupt it."""
        with _signals_held():
            family = _descendants([started.process.pid for started in self._started])
            for started in reversed(self._started):
                _signal_group(started.process.pid, signal.SIGTERM)
            _, alive = psutil.wait_procs(family, timeout=GRACE.total_seconds())
            # The group again, for a child that was born after the process table was read.
            for started in self._started:
                _signal_group(started.process.pid, signal.SIGKILL)
            for process in alive:
                _kill(process)
            psutil.wait_procs(alive, timeout=1)
            for started in self._started:
                started.process.wait()
            self._started.clear()


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are still closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def accepts_connections(address: str) -> bool:
    """Whether something listens at "host:port". Raises ConfigurationError for an address of another form."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigurationError(f"{address!r} is not an address: write HOST:PORT, such as 127.0.0.1:8099.")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False


def holder_of(port: int) -> str:
    """Who listens on a port: "python (process 123)", or "another program" where the system does not tell."""
    try:
        for connection in psutil.net_connections("tcp"):
            address = connection.laddr
            if connection.status == psutil.CONN_LISTEN and connection.pid and address and address.port == port:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except (psutil.Error, OSError):
        pass
    return "another program"


@contextmanager
def _signals_held() -> Iterator[list[int]]:
    """Record the signals that would stop the command instead of acting on them; the caller decides afterwards."""
    arrived: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature is the handler's
        arrived.append(number)

    before = {number: signal.signal(number, hold) for number in _STOPPING}
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _descendants(pids: Sequence[int]) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            found += [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    return found


def _signal_group(leader: int, number: signal.Signals) -> None:
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
