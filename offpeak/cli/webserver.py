"""The Dagster webserver of this machine, spoken to over GraphQL: what is defined, launch a run, follow it.

Over HTTP rather than through an instance object, so that a run is launched exactly as the UI launches it, and so that
a command that only watches needs neither Dagster's import time nor its memory.
"""

import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from offpeak.errors import ConfigurationError, OffpeakError

AssetPath = tuple[str, ...]
"""An asset key's parts: ("classification", "ticket_labels")."""

Metadata = dict[str, "int | float | str | datetime"]

_PATIENCE = timedelta(minutes=1)
"""Launching a run loads the definitions, which took ten seconds on two busy cores."""


class WebserverError(OffpeakError):
    """The Dagster webserver could not be reached, or did not accept what it was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetNode:
    """One asset as the webserver lists it."""

    path: AssetPath
    repository: str
    location: str
    materializable: bool
    kinds: Sequence[str]
    dependencies: Sequence[str]
    """Names of the assets it reads or waits for."""
    newest_partition: str | None
    """None for an asset without partitions, or with none yet."""
    partitioned: bool

    @property
    def name(self) -> str:
        return "/".join(self.path)


class EventKind(StrEnum):
    STEP_STARTED = "step started"
    LOG = "log"
    MATERIALIZED = "materialized"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """What happened in a run, of the events a person at a terminal wants to see."""

    kind: EventKind
    asset: str
    """The asset's name where the event has one, else the step's; "" for the run as a whole."""
    message: str
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """Where a run stands, and what is new since it was last asked."""

    status: str
    events: Sequence[RunEvent]
    cursor: str | None

    @property
    def finished(self) -> bool:
        return self.status in {"SUCCESS", "FAILURE", "CANCELED"}


class Webserver:
    """A client of the webserver at `host`:`port`. Every method raises WebserverError when it cannot be reached."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._host, self._port = host, port

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}"

    def is_ready(self) -> bool:
        """Whether every code location has loaded. Raises ConfigurationError with the reason when one cannot load."""
        try:
            workspace = self._ask(_WORKSPACE)["workspaceOrError"]
        except WebserverError:
            return False
        entries = workspace.get("locationEntries", [])
        for entry in entries:
            loaded = entry["locationOrLoadError"] or {}
            if loaded.get("__typename") == "PythonError":
                raise ConfigurationError(f"The project's definitions cannot be loaded: {_root_cause(loaded)}")
        return bool(entries) and all(
            entry["loadStatus"] == "LOADED" and entry["locationOrLoadError"] is not None for entry in entries
        )

    def assets(self) -> list[AssetNode]:
        """Every asset defined, in no particular order."""
        return [_asset_node(node) for node in self._ask(_ASSETS)["assetNodes"] if not node["isAutoCreatedStub"]]

    def launch(self, assets: Sequence[AssetNode], tags: dict[str, str]) -> str:
        """Launch one run of these assets, as Materialize does in the UI; the run's id. All must be of one location."""
        first = assets[0]
        params = {
            "selector": {
                "repositoryLocationName": first.location,
                "repositoryName": first.repository,
                "jobName": "__ASSET_JOB",
                "assetSelection": [{"path": list(asset.path)} for asset in assets],
            },
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = self._ask(_LAUNCH, params=params)["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            raise WebserverError(
                f"Dagster did not launch the run of {', '.join(asset.name for asset in assets)}: "
                f"{answer.get('message') or answer.get('errors') or answer['__typename']}. Nothing was started."
            )
        run_id: str = answer["run"]["runId"]
        return run_id

    def follow(self, run_id: str, cursor: str | None) -> RunState:
        """The run's status and its events after `cursor`. The status is read first, so that no last event is missed."""
        status = self._ask(_STATUS, runId=run_id)["runOrError"].get("status", "FAILURE")
        events: list[RunEvent] = []
        while True:
            page = self._ask(_LOGS, runId=run_id, after=cursor)["logsForRun"]
            if page["__typename"] != "EventConnection":
                raise WebserverError(f"The events of run {run_id} cannot be read: {page.get('message')}.")
            events += [event for raw in page["events"] if (event := _run_event(raw)) is not None]
            cursor = page["cursor"]
            if not page["hasMore"]:
                return RunState(status=status, events=events, cursor=cursor)

    def cancel(self, run_id: str, *, within: timedelta) -> None:
        """Mark a run cancelled and end its process, so that it does not stay "started" when Dagster is gone."""
        self._ask(_CANCEL, within, runId=run_id)

    def _ask(self, query: str, within: timedelta = _PATIENCE, **variables: Any) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=within.total_seconds())
        try:
            connection.request(
                "POST",
                "/graphql",
                body=json.dumps({"query": query, "variables": variables}),
                headers={"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise WebserverError(f"The Dagster webserver at {self.url} does not answer: {error!r}.") from error
        finally:
            connection.close()
        if answer.get("errors"):
            reason = answer["errors"][0]["message"]
            raise WebserverError(f"The Dagster webserver at {self.url} refused a query: {reason}")
        data: dict[str, Any] = answer["data"]
        return data


def _asset_node(raw: dict[str, Any]) -> AssetNode:
    # All of them, because partitionKeyConnection, which could tell the newest alone, ignores an end_date.
    partitions = raw["partitionKeys"]
    return AssetNode(
        path=tuple(raw["assetKey"]["path"]),
        repository=raw["repository"]["name"],
        location=raw["repository"]["location"]["name"],
        materializable=raw["isMaterializable"],
        kinds=tuple(raw["kinds"]),
        dependencies=tuple("/".join(key["path"]) for key in raw["dependencyKeys"]),
        partitioned=raw["isPartitioned"],
        newest_partition=partitions[-1] if partitions else None,
    )


def _run_event(raw: dict[str, Any]) -> RunEvent | None:
    step = raw.get("stepKey") or ""
    match raw["__typename"]:
        case "ExecutionStepStartEvent":
            return RunEvent(kind=EventKind.STEP_STARTED, asset=step, message="started")
        case "LogMessageEvent" if raw["level"] != "DEBUG":
            return RunEvent(kind=EventKind.LOG, asset=step, message=raw["message"])
        case "MaterializationEvent":
            name = "/".join(raw["assetKey"]["path"]) if raw["assetKey"] else step
            metadata = dict(entry for item in raw["metadataEntries"] if (entry := _metadata(item)) is not None)
            return RunEvent(kind=EventKind.MATERIALIZED, asset=name, message="landed", metadata=metadata)
        case "ExecutionStepFailureEvent" | "RunFailureEvent" if raw.get("error"):
            return RunEvent(kind=EventKind.FAILED, asset=step, message=_root_cause(raw["error"]))
        case "RunFailureEvent":
            return RunEvent(kind=EventKind.FAILED, asset="", message=raw["message"])
        case _:
            return None


def _metadata(raw: dict[str, Any]) -> "tuple[str, int | float | str | datetime] | None":
    match raw["__typename"]:
        case "IntMetadataEntry":
            return raw["label"], int(raw["intRepr"])
        case "FloatMetadataEntry" if raw["floatValue"] is not None:
            return raw["label"], float(raw["floatValue"])
        case "TextMetadataEntry":
            return raw["label"], str(raw["text"])
        case "TimestampMetadataEntry":
            return raw["label"], datetime.fromtimestamp(float(raw["timestamp"]), tz=UTC)
        case _:
            return None


def _root_cause(error: dict[str, Any]) -> str:
    """The innermost message: Dagster wraps what the project raised in its own error of the step."""
    while error.get("cause"):
        error = error["cause"]
    return str(error["message"]).strip()


_ERROR = "message cause { message cause { message cause { message } } }"

_WORKSPACE = f"""
query {{
  workspaceOrError {{
    ... on Workspace {{
      locationEntries {{
        loadStatus
        locationOrLoadError {{ __typename ... on PythonError {{ {_ERROR} }} }}
      }}
    }}
  }}
}}
"""

_ASSETS = """
query {
  assetNodes {
    assetKey { path }
    repository { name location { name } }
    isMaterializable
    isPartitioned
    isAutoCreatedStub
    kinds
    dependencyKeys { path }
    partitionKeys
  }
}
"""

_LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on Error { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""

_STATUS = """
query Status($runId: ID!) {
  runOrError(runId: $runId) { ... on Run { status } }
}
"""

_CANCEL = """
mutation Cancel($runId: String!) {
  terminateRun(runId: $runId, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) { __typename }
}
"""

_LOGS = f"""
query Logs($runId: ID!, $after: String) {{
  logsForRun(runId: $runId, afterCursor: $after, limit: 500) {{
    __typename
    ... on EventConnection {{
      cursor
      hasMore
      events {{
        __typename
        ... on MessageEvent {{ message stepKey level }}
        ... on ExecutionStepFailureEvent {{ error {{ {_ERROR} }} }}
        ... on RunFailureEvent {{ error {{ {_ERROR} }} }}
        ... on MaterializationEvent {{
          assetKey {{ path }}
          metadataEntries {{
            __typename
            label
            ... on IntMetadataEntry {{ intRepr }}
            ... on FloatMetadataEntry {{ floatValue }}
            ... on TextMetadataEntry {{ text }}
            ... on TimestampMetadataEntry {{ timestamp }}
          }}
        }}
      }}
    }}
    ... on PythonError {{ message }}
  }}
}}
"""
