"""The program that stands in for the providers: started for one play, and ended with everything it started.

Which program that is, launches.yaml says. All that is known of it here: it serves both APIs at a port of this machine.
"""

import os
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import orjson

from offpeak.errors import ConfigurationError
from offpeak.processes import ProcessGroups, accepts_connections
from offpeak.rehearsal.limits import ModelLimits

HOST = "127.0.0.1"

READY_WITHIN = timedelta(minutes=1)

EXAMPLE = """\
rehearsal:
  provider: python -m local_provider --port {port} --limits {limits}"""


@contextmanager
def stand_in(
    command: str | None, limits: Mapping[str, ModelLimits], *, folder: Path, logs: Path, name: str = "stand-in"
) -> Iterator[str]:
    """Run the program in `folder` until the block ends; gives its address, such as "http://127.0.0.1:40001".

    What it prints goes to `logs`/`name`.log. Raises ConfigurationError where `command` is none or makes no sense, and
    where the program ends by itself or does not answer within a minute.
    """
    port = _free_port()
    words = command_line(command, port=port, limits=limits)
    groups = ProcessGroups(logs)
    try:
        groups.start(name, words, folder=folder, env=dict(os.environ))
        address = f"{HOST}:{port}"
        groups.wait_until(
            lambda: accepts_connections(address), within=READY_WITHIN, what=f"An answer of the {name} at {address}"
        )
        groups.check()
        yield f"http://{address}"
        groups.check()
    finally:
        groups.stop()


def command_line(command: str | None, *, port: int, limits: Mapping[str, ModelLimits]) -> Sequence[str]:
    """The words of the command. A leading `python` is the one that runs this program, whatever is on the path.

    Raises ConfigurationError where there is no command, or it does not say where port and limits go.
    """
    if command is None:
        raise ConfigurationError(
            "Nothing stands in for the providers, and a rehearsal never calls the real ones. Nothing was played. Say "
            f"in launches.yaml which command does:\n{EXAMPLE}"
        )
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigurationError(f"rehearsal.provider in launches.yaml is no command: {error}.") from error
    for place in ("{port}", "{limits}"):
        if not any(place in word for word in words):
            raise ConfigurationError(
                f"rehearsal.provider in launches.yaml has no {place}, which is needed to say where the stand-in is and "
                f"what it allows. Nothing was played. It looks like this:\n{EXAMPLE}"
            )
    told = orjson.dumps({model: each.as_json() for model, each in limits.items()}).decode()
    filled = [word.replace("{port}", str(port)).replace("{limits}", told) for word in words]
    return [sys.executable, *filled[1:]] if filled[0] == "python" else filled


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
