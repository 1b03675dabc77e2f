"""The sensor that tells what the passing of time has changed: rows past their promise, deadlines endangered or missed.

It starts no run. It reads the ledger and Dagster's events, and reports an evaluation of a check where its state is
another than the one last told. The rows of an asset are counted when one of its jobs has moved, not on every tick.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from offpeak.assets import on_time
from offpeak.assets.declaration import declaration_of
from offpeak.assets.fresh import FRESH_CHECK, expected_of, figures, freshness_of, severity
from offpeak.assets.on_time import ON_TIME_CHECK, Watch
from offpeak.assets.outlook import Outlook
from offpeak.clock import Clock, SystemClock
from offpeak.freshness.standing import Standing
from offpeak.ledger.jobs import movements
from offpeak.ledger.states import SlaState
from offpeak.results.io_manager import RESULTS_KEY, OffpeakResults
from offpeak.results.store import ResultStore

FRESHNESS_SENSOR = "offpeak_freshness"


def freshness_sensor(watch: Watch, *, minimum_interval_seconds: int = 60) -> dg.SensorDefinition:
    """The sensor that `with_offpeak` adds."""

    @dg.sensor(
        name=FRESHNESS_SENSOR,
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={RESULTS_KEY},
        description="Tells when rows pass their promise, and when a deadline is endangered or missed; starts no run.",
    )
    def tell(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        results: OffpeakResults = getattr(context.resources, RESULTS_KEY)
        assert context.repository_def is not None  # noqa: S101 - a sensor belongs to one
        tick = Tick(
            watch,
            results,
            context.instance,
            context.repository_def.asset_graph,
            SystemClock(),
            cursor=json.loads(context.cursor or "{}"),
        )
        events = list(tick.run())
        return dg.SensorResult(
            asset_events=events,
            cursor=json.dumps(tick.cursor, sort_keys=True),
            skip_reason=dg.SkipReason("; ".join(tick.said) or "Nothing has changed."),
        )

    return tell


class Tick:
    """One evaluation. The cursor holds, by asset, what was last told and what it goes by; and when this began."""

    def __init__(
        self,
        watch: Watch,
        results: OffpeakResults,
        instance: dg.DagsterInstance,
        graph: Any,
        clock: Clock,
        *,
        cursor: Mapping[str, Any],
    ) -> None:
        self._chain, self._ledger, self._store = watch.loaded(), results.ledger, ResultStore(results.ledger)
        self._instance, self._graph, self._now = instance, graph, clock.now()
        self._before: Mapping[str, Any] = cursor.get("assets", {})
        self.cursor: dict[str, Any] = {"since": cursor.get("since", self._now.isoformat()), "assets": {}}
        self.said: list[str] = []

    def run(self) -> Iterator[dg.AssetCheckEvaluation]:
        """What has changed since the last tick, one evaluation each."""
        names = list(self._chain.producers)
        moved = movements(self._ledger, names)
        for name in names:
            yield from self._fresh(name, moved.get(name, ""))
        if not self._chain.slas:
            return
        outlook = Outlook.read(self._chain, self._ledger, now=self._now)
        for sla in self._chain.slas:
            key = dg.AssetKey.from_user_string(sla.asset)
            partitions_def = self._graph.get(key).partitions_def
            over = on_time.past(sla, now=self._now, instance=self._instance, partitions_def=partitions_def)
            ahead = on_time.upcoming(sla, outlook, instance=self._instance, partitions_def=partitions_def)
            for found in (over, ahead):
                # what was due before anybody watched is nobody's miss
                if found is None or found.due_at < datetime.fromisoformat(self.cursor["since"]):
                    continue
                if on_time.enter(self._ledger, sla, found):
                    self.said.append(found.why)
                    yield self._evaluation(
                        key,
                        ON_TIME_CHECK,
                        passed=found.state is SlaState.MET,
                        severity=on_time.severity(found),
                        description=found.why,
                        metadata={"due_at": dg.MetadataValue.timestamp(found.due_at), "state": found.state.value},
                    )

    def _fresh(self, name: str, moved: str) -> Iterator[dg.AssetCheckEvaluation]:
        """The state of one batch asset, where it is another than the one last told."""
        before = self._before.get(name, {})
        asset = self._graph.get(dg.AssetKey.from_user_string(name)).assets_def
        declaration = declaration_of(asset)
        if declaration is None:
            return
        key = dg.AssetKey.from_user_string(name)
        spec = asset.specs_by_key[key]
        expected = expected_of(spec, declaration, self._store, now=self._now, instance=self._instance)
        goes_by = hashlib.blake2b(f"{moved} {expected}".encode(), digest_size=8).hexdigest()
        until = before.get("until")
        if before.get("goes_by") == goes_by and (until is None or self._now <= datetime.fromisoformat(until)):
            self.cursor["assets"][name] = before
            return
        found = freshness_of(spec, declaration, self._store, now=self._now, expected=expected)
        changes_at = found.changes_at(declaration.contract)
        told = f"{found.standing.value} {found.partition_key}"
        self.cursor["assets"][name] = {
            "goes_by": goes_by,
            "until": changes_at.isoformat() if changes_at is not None else None,
            "told": told,
        }
        if told == before.get("told"):
            return
        never = found.standing is Standing.MISSING and found.as_of is None
        if "told" not in before and (never or found.standing is Standing.FRESH):
            return  # nobody has made it yet, or the run that did has just said so
        self.said.append(f"{name}: {found.description}")
        yield self._evaluation(
            key,
            FRESH_CHECK,
            passed=found.standing is Standing.FRESH,
            severity=severity(found),
            description=found.description,
            metadata=figures(found),
        )

    def _evaluation(
        self,
        key: dg.AssetKey,
        check: str,
        *,
        passed: bool,
        severity: dg.AssetCheckSeverity,
        description: str,
        metadata: Mapping[str, Any],
    ) -> dg.AssetCheckEvaluation:
        newest = self._instance.fetch_materializations(key, limit=1).records
        return dg.AssetCheckEvaluation(
            asset_key=key,
            check_name=check,
            passed=passed,
            severity=severity,
            description=description,
            metadata=metadata,
            target_materialization_data=AssetCheckEvaluationTargetMaterializationData(
                storage_id=newest[0].storage_id, run_id=newest[0].event_log_entry.run_id, timestamp=newest[0].timestamp
            )
            if newest
            else None,
        )
