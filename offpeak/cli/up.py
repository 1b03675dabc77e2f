"""`offpeak up`: start Dagster (and programs beside it), materialise assets in one run, and say what landed.

It stays up until Ctrl-C or SIGTERM and then ends every process it started, within five seconds. With `--once` it ends
by itself: exit code 0 when everything landed, 1 with the reason when not.
"""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from offpeak.cli.landed import Landed, landed_assets, table_of
from offpeak.cli.project import Project, find_project, prepare_dagster_home, set_variables_of_env_file
from offpeak.cli.selection import batch_assets, choose, without_key
from offpeak.cli.webserver import AssetNode, EventKind, RunEvent, Webserver, WebserverError
from offpeak.errors import ConfigurationError, JobFailed
from offpeak.processes import (
    ProcessGroups,
    Stopped,
    accepts_connections,
    holder_of,
    port_is_free,
    stopping_on_signals,
)

START_WITHIN = timedelta(minutes=4)
"""`dagster dev` was ready after 17 s on an idle machine and after 47 s on two busy cores."""

CANCEL_WITHIN = timedelta(seconds=1.5)
"""Together with the grace that programs get, a shutdown stays within five seconds."""

POLL_EVERY_S = 0.5

KEEP_BACKFILLS = {"DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR": "1"}
"""Dagster's daemon otherwise fails a backfill whose code location does not load at the moment it looks, and cancels its
runs: the parked one too, and with it a paid batch."""

STOPPED_BY_HAND = 130
"""The exit code of a command that was stopped before it had done what it was asked: 128 + SIGINT, as shells have it."""


def register(app: typer.Typer) -> None:
    app.command("up")(up)


def up(
    select: Annotated[str, typer.Option(help="Assets to materialise once Dagster is up, as A,B.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Materialise every asset of the project.")] = False,
    once: Annotated[bool, typer.Option("--once", help="End when everything has landed; fail with the reason.")] = False,
    port: Annotated[int, typer.Option(help="Port of the Dagster UI on 127.0.0.1.")] = 3000,
    alongside: Annotated[
        list[str] | None, typer.Option(metavar="COMMAND", help="A program to run beside Dagster; may be repeated.")
    ] = None,
    then: Annotated[
        list[str] | None,
        typer.Option(metavar="COMMAND", help="A program to run beside Dagster once that is up; may be repeated."),
    ] = None,
    wait_for: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="Run nothing before this address answers; may be repeated."),
    ] = None,
    simulated: Annotated[bool, typer.Option("--simulated", help="Say that nobody charges the prices shown.")] = False,
    quote: Annotated[bool, typer.Option("--quote", help="Say what the run will cost before it starts.")] = False,
    skip_without_key: Annotated[
        bool,
        typer.Option(
            "--skip-without-key", help="Leave out assets whose OPENAI_API_KEY or ANTHROPIC_API_KEY is not set."
        ),
    ] = False,
    next_steps: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A text to show once everything has landed.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the outcome as JSON; progress goes to stderr.")
    ] = False,
) -> None:
    """Start Dagster, materialise assets in one run, and show what landed."""
    project = find_project()
    set_variables_of_env_file(project)
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    _refuse_taken_port(port)
    session = _Session(project, Webserver(port), console)
    landed_all = False
    try:
        with stopping_on_signals():
            try:
                session.start(alongside or [], wait_for or [], then or [])
                names = [name.strip() for name in select.split(",") if name.strip()]
                assets = session.chosen(names, every=every, skip_without_key=skip_without_key)
                if assets and quote:
                    say_the_cost(project, assets, console)
                landed = session.materialise(assets)
                landed_all = True
                _say_what_landed(session, landed, simulated=simulated, as_json=as_json)
                refuse_dead_letters(landed)
                if once:
                    return
                if next_steps is not None:
                    console.print(f"\n{next_steps.read_text(encoding='utf-8').rstrip()}", markup=False)
                console.print("\nCtrl-C ends everything that was started.")
                session.stay()
            finally:
                session.stop()
    except Stopped:
        raise typer.Exit(0 if landed_all and not once else STOPPED_BY_HAND) from None


def say_the_cost(project: Project, assets: Sequence[AssetNode], console: Console) -> None:
    """Before anything is bought: what `offpeak plan` says of each of these assets.

    A process of its own, because this one never imports the project. Raises ConfigurationError when a plan fails: a
    price that cannot be told is not spent.
    """
    for asset in batch_assets(assets):
        console.print(f"\noffpeak plan {asset.name}", markup=False)
        plan = subprocess.run(
            [sys.executable, "-m", "offpeak.cli", "plan", asset.name],
            cwd=project.root,
            env={**os.environ, "DAGSTER_HOME": str(project.dagster_home)},
            check=False,
            stdout=sys.stderr if console.stderr else None,
        )
        if plan.returncode != 0:
            raise ConfigurationError(f"The cost of {asset.name} cannot be told (see above), so nothing was bought.")


def refuse_dead_letters(landed: Sequence[Landed]) -> None:
    """Raise JobFailed when rows were paid for or sent and have no answer: that is not "everything landed"."""
    broken = [f"{asset.failed} of {asset.asset}" for asset in landed if asset.failed]
    if broken:
        raise JobFailed(
            f"Not every row has an answer: {', '.join(broken)} failed for good. "
            "What landed is kept; `offpeak explain ASSET KEY` tells why one row failed."
        )


def _refuse_taken_port(port: int) -> None:
    if not port_is_free(port):
        raise ConfigurationError(
            f"Port {port}, where the Dagster UI would be, is in use by {holder_of(port)}: choose another with "
            f"`offpeak up --port {port + 1}`."
        )


def _say_what_landed(session: "_Session", landed: Sequence[Landed], *, simulated: bool, as_json: bool) -> None:
    if as_json:
        report = {"url": session.webserver.url, "assets": [asset.as_json() for asset in landed]}
        typer.echo(json.dumps(report, indent=2))
        return
    if landed:
        session.console.print(table_of(landed, simulated=simulated))
    session.console.print(f"The Dagster UI is at {session.webserver.url}")


class _Session:
    """Everything `up` has running, and the run it launches."""

    def __init__(self, project: Project, webserver: Webserver, console: Console) -> None:
        self.project, self.webserver, self.console = project, webserver, console
        self._logs = project.dagster_home / "output"
        self._groups = ProcessGroups(self._logs)

    def start(self, alongside: Sequence[str], wait_for: Sequence[str], then: Sequence[str]) -> None:
        """Start Dagster and what runs beside it; return when Dagster is ready, and `then` has been started."""
        for address in wait_for:
            if accepts_connections(address):
                raise ConfigurationError(
                    f"{holder_of(int(address.rpartition(':')[2]))} answers at {address} already, so what would be "
                    "started there is not what would answer. End it, or choose another address."
                )
        home = prepare_dagster_home(self.project)
        env = {**KEEP_BACKFILLS, **os.environ, "DAGSTER_HOME": str(home), "PYTHONUNBUFFERED": "1"}
        began = time.monotonic()
        for number, command in enumerate(alongside, start=1):
            self._groups.start(f"alongside-{number}", shlex.split(command), folder=self.project.root, env=env)
        self._groups.start("dagster", self._dagster_dev(), folder=self.project.root, env=env)
        self.console.print(f"Starting Dagster; its output goes to {self._logs / 'dagster.log'}", markup=False)
        with self.console.status("Waiting for Dagster to load the project"):
            for address in wait_for:
                self._groups.wait_until(
                    lambda address=address: accepts_connections(address),  # type: ignore[misc]
                    within=START_WITHIN,
                    what=f"An answer from {address}",
                )
            self._groups.wait_until(self.webserver.is_ready, within=START_WITHIN, what="The start of Dagster")
        self.console.print(f"Dagster is up at {self.webserver.url} after {time.monotonic() - began:.0f} s")
        # what uses Dagster's storage must not make it at the same time as Dagster does
        for number, command in enumerate(then, start=1):
            self._groups.start(f"then-{number}", shlex.split(command), folder=self.project.root, env=env)

    def chosen(self, names: Sequence[str], *, every: bool, skip_without_key: bool) -> list[AssetNode]:
        """The assets to materialise; what is left out for want of a key is said.

        Raises ConfigurationError for a name that is no asset of the project, and when no asset is left.
        """
        wanted = choose(self.webserver.assets(), names, every=every)
        left_out = without_key(wanted, os.environ) if skip_without_key else {}
        for name, reason in left_out.items():
            self.console.print(f"{name}: left out, {reason}", markup=False)
        kept = [asset for asset in wanted if asset.name not in left_out]
        if left_out and not batch_assets(kept):
            raise ConfigurationError(
                f"Nothing can be bought: {'; '.join(f'{name}: {reason}' for name, reason in left_out.items())}. "
                "Set at least one provider's key."
            )
        return kept

    def materialise(self, assets: Sequence[AssetNode]) -> list[Landed]:
        """Materialise the assets in one run, and the newest partition of partitioned ones in one run per partition.

        Raises JobFailed with the reason when a run does not succeed.
        """
        by_partition: dict[str | None, list[AssetNode]] = {}
        for asset in assets:
            if asset.partitioned and asset.newest_partition is None:
                self.console.print(f"{asset.name}: left out, it has no partition yet", markup=False)
                continue
            by_partition.setdefault(asset.newest_partition, []).append(asset)
        events: list[RunEvent] = []
        for partition, group in by_partition.items():
            # The run waits for its batch, so that its end means that everything has landed.
            tags = {"offpeak/wait": "run", **({"dagster/partition": partition} if partition else {})}
            run_id = self.webserver.launch(group, tags)
            self.console.print(f"Run {run_id[:8]}: {', '.join(asset.name for asset in group)}", markup=False)
            try:
                events += self._follow(run_id)
            except Stopped:
                # A batch that is at the provider stays there: the next run collects it.
                with suppress(WebserverError):
                    self.webserver.cancel(run_id, within=CANCEL_WITHIN)
                raise
        return landed_assets(events)

    def _follow(self, run_id: str) -> list[RunEvent]:
        events: list[RunEvent] = []
        cursor: str | None = None
        began = time.monotonic()
        with self.console.status("Waiting for the run to start") as status:
            while True:
                state = self.webserver.follow(run_id, cursor)
                cursor = state.cursor
                for event in state.events:
                    who = event.asset or "run"
                    line = f"{who}: {event.message.removeprefix(f'{who}: ')}"
                    self.console.print(f"{time.monotonic() - began:5.0f} s  {line}", markup=False)
                    status.update(line.splitlines()[0])
                events += state.events
                if state.finished:
                    break
                self._groups.check()
                time.sleep(POLL_EVERY_S)
        if state.status != "SUCCESS":
            reasons = list(dict.fromkeys(event.message for event in events if event.kind is EventKind.FAILED))
            raise JobFailed(
                f"Run {run_id} ended with {state.status}: {' / '.join(reasons) or 'no reason was reported'}. "
                f"What was bought is kept, and running again goes on from there. See {self.webserver.url}/runs/{run_id}"
            )
        return events

    def stay(self) -> None:
        """Until a signal comes. Raises ConfigurationError when a program ends by itself."""
        while True:
            self._groups.check()
            time.sleep(POLL_EVERY_S)

    def stop(self) -> None:
        self._groups.stop()

    def _dagster_dev(self) -> list[str]:
        at = ["-h", "127.0.0.1", "-p", self.webserver.url.rpartition(":")[2]]
        # `dagster dev` finds a workspace.yaml by itself; a project made by `dg` has none.
        target = [] if (self.project.root / "workspace.yaml").exists() else ["-m", self.project.target_module]
        return [sys.executable, "-m", "dagster", "dev", *at, *target]
