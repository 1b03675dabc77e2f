"""`Notifier`: where people are told what becomes of their assets: Slack, mail, ntfy, PagerDuty, a webhook, by apprise.

An address is a secret: most services put a token into it. It is read from its variable when something is sent, and
stands in no log, ledger row, metadata or error. Sending never raises, takes a bounded time, and happens in a process of
its own, so that a service that hangs holds up nobody.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import dagster as dg
from pydantic import Field

from offpeak.errors import ConfigurationError
from offpeak.notifier_process import Trouble

NOTIFIER_KEY = "notifier"
"""The resource key of `Notifier`."""

LONGEST_TIMEOUT_SECONDS = 30.0
"""With what a process takes to start, a sensor that sends stays within the minute that Dagster gives it."""

_START_SECONDS = 10.0
"""How long the process that sends may take to begin and end, on a machine that has much to do."""


class Severity(StrEnum):
    """How a service shows a message, in the words of apprise."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one destination is told."""

    destination: str
    title: str
    body: str
    severity: Severity


class Notifier(dg.ConfigurableResource[Any]):
    """The places that can be told of what happens to batch assets, by name. Resource key `notifier`.

    `destinations` has an apprise URL for each name: `{"support": dg.EnvVar("SUPPORT_URL")}`, or "$SUPPORT_URL", which
    is the same. Where a variable is not set nothing is sent. `base_url` is where the Dagster UI is, for links to runs;
    it takes a variable too. `timeout_seconds`, up to 30, is how long the services have, all of them together.

    An address that is given as text is shown in the Dagster UI, as all configuration is; that of a variable is not.
    """

    destinations: dict[str, str] = Field(default_factory=dict, repr=False)
    base_url: str | None = None
    timeout_seconds: float = 10.0

    def __init__(self, **data: Any) -> None:
        given = data.get("destinations", {})
        # not left to pydantic, which shows what it refuses
        if not isinstance(given, Mapping) or not all(isinstance(text, str) for pair in given.items() for text in pair):
            raise ConfigurationError(
                f"The resource {NOTIFIER_KEY!r}: destinations= takes the address of each destination by its name: "
                'Notifier(destinations={"support": dg.EnvVar("SUPPORT_URL")}).'
            )
        if not 0 < data.get("timeout_seconds", 10.0) <= LONGEST_TIMEOUT_SECONDS:
            raise ConfigurationError(
                f"The resource {NOTIFIER_KEY!r}: timeout_seconds={data['timeout_seconds']!r} is not more than 0 and at "
                f"most {LONGEST_TIMEOUT_SECONDS:g}: a run waits for so long when a service hangs."
            )
        # Dagster would read a variable before the run begins, and fail the run where it is not set
        data["destinations"] = {name: _by_name(address) for name, address in given.items()}
        data["base_url"] = _by_name(data.get("base_url"))
        super().__init__(**data)

    def reachable(self, names: Iterable[str]) -> list[str]:
        """Those of the destinations that have an address now."""
        return [name for name in names if self._address(name) is not None]

    def link(self, path: str) -> str | None:
        """The address of a page of the Dagster UI; None where nobody says where that is."""
        base = _value(self.base_url)
        return None if base is None else f"{base.rstrip('/')}/{path}"

    def send(self, messages: Sequence[Message]) -> list[str | None]:
        """Send each message, and say of each in a few words why it was not sent; None where it was.

        Raises nothing, and shows no address. Takes `timeout_seconds` at most, and what a process takes to start.
        """
        outcomes: dict[int, str | None] = {}
        orders: list[dict[str, object]] = []
        for number, each in enumerate(messages):
            if (address := self._address(each.destination)) is None:
                outcomes[number] = self._why_no_address(each.destination)
            else:
                words = {"title": each.title, "body": each.body, "severity": each.severity.value}
                orders.append({"number": number, "url": address, **words})
        silent = f"it did not answer within {self.timeout_seconds:g} s"
        try:
            lines = _in_its_own_process(orders, self.timeout_seconds) if orders else []
        except OSError as error:
            lines, silent = [], f"no process could be started to send it ({error.strerror})"
        outcomes |= {line["number"]: self._in_words(line) for line in lines}
        return [outcomes.get(number, silent) for number in range(len(messages))]

    def _address(self, name: str) -> str | None:
        return _value(self.destinations.get(name))

    def _why_no_address(self, name: str) -> str:
        address = self.destinations.get(name)
        if address is None:
            return f"the resource {NOTIFIER_KEY!r} has no destination {name!r}"
        return f"its variable {address[1:]} is not set" if address.startswith("$") else "its address is empty"

    def _in_words(self, line: Mapping[str, Any]) -> str | None:
        if line["trouble"] is None:
            return None
        match Trouble(line["trouble"]):
            case Trouble.NOT_INSTALLED:
                return "apprise is not installed where it was to be sent from: pip install 'offpeak[notify]'"
            case Trouble.NOT_UNDERSTOOD:
                return "apprise does not understand its address, or lacks a package for it"
            case Trouble.NOT_TAKEN if line["status"] is not None:
                return f"the service answered {line['status']}"
            case Trouble.NOT_TAKEN:
                return "the service did not take it, or could not be reached"


def _by_name(address: Any) -> Any:
    """A variable as its name, behind a dollar sign; anything else as it is."""
    return f"${address.env_var_name}" if isinstance(address, dg.EnvVar) else address


def _value(given: str | None) -> str | None:
    """What was given, or what the variable holds that it names; None for nothing."""
    if given is not None and given.startswith("$"):
        given = os.environ.get(given[1:])
    return given.strip() or None if given is not None else None


def _in_its_own_process(orders: Sequence[Mapping[str, object]], seconds: float) -> list[dict[str, Any]]:
    """What the process that sends says, line by line, until it ends or is killed."""
    command = [sys.executable, "-P", "-m", "offpeak.notifier_process"]  # -P: no file of the current folder is imported
    try:
        said = subprocess.run(  # its errors may hold addresses
            command,
            input=json.dumps({"seconds": seconds, "messages": orders}).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds + _START_SECONDS,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
    return [json.loads(line) for line in said.splitlines(keepends=True) if line.endswith(b"\n")]
