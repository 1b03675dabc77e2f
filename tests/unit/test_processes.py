"""Programs that a command starts: they end with it, whatever they started themselves, and however it is told to end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from offpeak.errors import ConfigurationError
from offpeak.processes import ProcessGroups, accepts_connections, holder_of, port_is_free

WITHIN_S = 5.0

# Ignores being asked to end, and has two children that do too: one in its group, one that left it.
STUBBORN = """
import signal, subprocess, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
children = [subprocess.Popen(sleeper), subprocess.Popen(sleeper, start_new_session=True)]
print("started", *(child.pid for child in children), flush=True)
time.sleep(600)
"""

# What `offpeak up` does around its programs, with the stubborn one in Dagster's place.
HOLDER = f"""
import os, sys, time
from pathlib import Path
from offpeak.processes import ProcessGroups, Stopped, stopping_on_signals
groups = ProcessGroups(Path(sys.argv[1]))
try:
    with stopping_on_signals():
        try:
            command = [sys.executable, "-c", {STUBBORN!r}]
            started = groups.start("stubborn", command, folder=Path("."), env=dict(os.environ))
            while "started" not in started.log.read_text():
                time.sleep(0.05)
            print("ready", flush=True)
            while True:
                time.sleep(0.5)
        finally:
            groups.stop()
except Stopped:
    sys.exit(42)
"""


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def groups(tmp_path: Path) -> Iterator[ProcessGroups]:
    groups = ProcessGroups(tmp_path / "logs")
    yield groups
    groups.stop()


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_command_leaves_no_process_behind_within_five_seconds(number: signal.Signals, tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    family = [child.pid for child in psutil.Process(holder.pid).children(recursive=True)]
    assert len(family) == 3

    began = time.monotonic()
    holder.send_signal(number)
    assert holder.wait(timeout=WITHIN_S) == 42
    assert all(is_gone(pid) for pid in family)
    assert time.monotonic() - began < WITHIN_S


def test_a_second_ctrl_c_does_not_interrupt_the_shutdown(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    family = [child.pid for child in psutil.Process(holder.pid).children(recursive=True)]
    while not all(is_gone(pid) for pid in family):  # after that it is the interpreter that ends, not the shutdown
        os.kill(holder.pid, signal.SIGINT)
        time.sleep(0.3)
    assert holder.wait(WITHIN_S) == 42
    assert all(is_gone(pid) for pid in family)


def test_a_program_that_ends_by_itself_is_reported_with_its_last_words(groups: ProcessGroups, tmp_path: Path) -> None:
    said_why = [sys.executable, "-c", "import sys; print('no more tea'); sys.exit(3)"]
    started = groups.start("kettle", said_why, folder=tmp_path, env=dict(os.environ))
    started.process.wait(timeout=WITHIN_S)
    with pytest.raises(ConfigurationError, match=r"kettle ended by itself with exit code 3(.|\n)*no more tea"):
        groups.check()


def test_waiting_ends_as_soon_as_a_program_dies(groups: ProcessGroups, tmp_path: Path) -> None:
    groups.start("brief", [sys.executable, "-c", ""], folder=tmp_path, env=dict(os.environ))
    with pytest.raises(ConfigurationError, match="brief ended by itself"):
        groups.wait_until(lambda: False, within=timedelta(minutes=10), what="Nothing")


def test_what_never_happens_is_an_error_that_names_it(groups: ProcessGroups) -> None:
    with pytest.raises(ConfigurationError, match="The start of Dagster did not happen within 0 s"):
        groups.wait_until(lambda: False, within=timedelta(0), what="The start of Dagster")


def test_a_command_that_does_not_exist_is_refused(groups: ProcessGroups, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="`no-such-program --port 1` cannot be started"):
        groups.start("none", ["no-such-program", "--port", "1"], folder=tmp_path, env=dict(os.environ))


def test_a_port_with_a_listener_is_not_free_and_its_holder_is_named(taken_port: int) -> None:
    assert not port_is_free(taken_port)
    assert str(os.getpid()) in holder_of(taken_port)
    assert accepts_connections(f"127.0.0.1:{taken_port}")


def test_a_port_is_free_again_when_its_server_is_gone() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    assert port_is_free(port)
    assert not accepts_connections(f"127.0.0.1:{port}")


def test_an_address_without_a_port_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="write HOST:PORT"):
        accepts_connections("localhost")
