"""The sensor that tells what the passing of time has changed: rows past their promise, deadlines endangered or missed.

It starts no run. It reads the ledger and Dagster's events, and reports an evaluation of a check where its state is
another than the one last told. The rows of an asset are counted when one of its jobs has moved, not on every tick.

What was told stands in the cursor, which Dagster keeps only with the events of the same tick. So a tick that fails is
made up for by the next one, and a deadline that passed while there were no ticks is told of afterwards.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from offpeak.assets import on_time
from offpeak.assets.declaration import declaration_of
from offpeak.assets.fresh import FRESH_CHECK, expected_of, figures, freshness_of, severity
from offpeak.assets.notices import Teller, merged
from offpeak.assets.notices_sensor import tellers_of
from offpeak.assets.on_time import ON_TIME_CHECK, Watch
from offpeak.assets.outlook import Outlook
from offpeak.clock import Clock, SystemClock
from offpeak.freshness.chain import Chain
from offpeak.freshness.sla import Sla
from offpeak.freshness.standing import Standing
from offpeak.ledger import notices as outbox
from offpeak.ledger import slas
from offpeak.ledger.jobs import movements
from offpeak.ledger.notices import Notice
from offpeak.ledger.states import SlaState
from offpeak.notifier import NOTIFIER_KEY
from offpeak.results.io_manager import RESULTS_KEY, OffpeakResults
from offpeak.results.store import ResultStore

FRESHNESS_SENSOR = "offpeak_freshness"

_MADE_UP_FOR = timedelta(days=8)
"""How far back deadlines are looked for that passed while there were no ticks."""

_DEADLINES = 100
"""Of one asset at most in one tick; the newest are told of."""


def freshness_sensor(watch: Watch, *, notices: bool = False, minimum_interval_seconds: int = 60) -> dg.SensorDefinition:
    """The sensor that `with_offpeak` adds. `notices`: some asset says who is to be told by other ways, too."""

    @dg.sensor(
        name=FRESHNESS_SENSOR,
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={RESULTS_KEY, NOTIFIER_KEY} if notices else {RESULTS_KEY},
        description="Tells when rows pass their promise, and when a deadline is endangered or missed; starts no run.",
    )
    def tell(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        results: OffpeakResults = getattr(context.resources, RESULTS_KEY)
        assert context.repository_def is not None  # noqa: S101 - a sensor belongs to one
        made = context.repository_def.assets_defs_by_key.values()
        tick = Tick(
            watch,
            results,
            context.instance,
            context.repository_def.asset_graph,
            SystemClock(),
            before=Cursor.read(context.cursor),
            tellers=tellers_of(made, getattr(context.resources, NOTIFIER_KEY)) if notices else {},
        )
        events = list(tick.run())
        outbox.raise_new(results.ledger, merged(tick.notices))
        return dg.SensorResult(
            asset_events=events,
            cursor=json.dumps(asdict(tick.cursor), sort_keys=True),
            skip_reason=dg.SkipReason("; ".join(tick.said) or "Nothing has changed."),
        )

    return tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was last told of one asset's rows."""

    goes_by: str
    """A digest of what decides it, the passing of time apart."""
    until: str | None
    """When time alone changes it."""
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """What is kept between two ticks."""

    looked: str | None = None
    """The last tick. What was due before the first one is nobody's miss."""
    assets: dict[str, Told] = field(default_factory=dict)
    deadlines: dict[str, dict[str, str]] = field(default_factory=dict)
    """By asset and deadline, the state that was told."""

    @classmethod
    def read(cls, text: str | None) -> "Cursor":
        """As it was written; a new one where somebody else wrote it, such as another version."""
        try:
            kept = json.loads(text or "{}")
            assets = {str(name): Told(**told) for name, told in kept.pop("assets", {}).items()}
            moments = [kept.get("looked"), *(each.until for each in assets.values())]
            deadlines = {str(name): dict(told) for name, told in kept.pop("deadlines", {}).items()}
            moments += [moment for told in deadlines.values() for moment in told]
            assert all(datetime.fromisoformat(each).tzinfo for each in moments if each is not None)  # noqa: S101
            return cls(assets=assets, deadlines=deadlines, **kept)
        except (ValueError, TypeError, AttributeError, AssertionError):
            return cls()


class Tick:
    """One evaluation."""

    def __init__(
        self,
        watch: Watch,
        results: OffpeakResults,
        instance: dg.DagsterInstance,
        graph: Any,
        clock: Clock,
        *,
        before: Cursor,
        tellers: Mapping[str, Teller],
    ) -> None:
        self._chain, self._ledger, self._store = watch.loaded(), results.ledger, ResultStore(results.ledger)
        self._instance, self._graph, self._now = instance, graph, clock.now()
        self._before, self.cursor = before, Cursor(looked=self._now.isoformat())
        self._tellers = tellers
        self.said: list[str] = []
        self.notices: list[Notice] = []
        """What people are to be told, whether or not they were before."""

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
            yield from self._on_time(sla, outlook)

    def _on_time(self, sla: Sla, outlook: Outlook) -> Iterator[dg.AssetCheckEvaluation]:
        """What has become of one asset's deadlines since the last tick, the oldest first."""
        key = dg.AssetKey.from_user_string(sla.asset)
        partitions_def = self._graph.get(key).partitions_def
        over = [
            on_time.past(sla, due_at, instance=self._instance, partitions_def=partitions_def)
            for due_at in self._over(sla)
        ]
        ahead = on_time.upcoming(sla, outlook, instance=self._instance, partitions_def=partitions_def)
        before = self._before.deadlines.get(sla.asset, {})
        kept = self.cursor.deadlines.setdefault(sla.asset, {})
        for found in (*over, *([] if ahead is None else [ahead])):
            due_at = found.due_at.isoformat()
            told = before.get(due_at)
            if found is ahead and told is not None:
                kept[due_at] = told
            slas.enter(self._ledger, sla.asset, found.due_at, found.state, why=found.why)
            for name in _above(self._chain, sla.asset) & self._tellers.keys():
                self.notices += self._tellers[name].sla(sla.asset, found)
            if found.state is SlaState.DUE or told in {found.state, SlaState.MET, SlaState.MISSED}:
                continue
            if found is ahead:
                kept[due_at] = found.state.value
            self.said.append(found.why)
            yield self._evaluation(
                key,
                ON_TIME_CHECK,
                passed=on_time.passed(found),
                severity=on_time.severity(found),
                description=found.why,
                metadata=on_time.figures(found),
            )

    def _over(self, sla: Sla) -> list[datetime]:
        """The deadlines that have passed since the last tick."""
        looked = self._now if self._before.looked is None else datetime.fromisoformat(self._before.looked)
        after = max(looked, self._now - _MADE_UP_FOR) + timedelta(microseconds=1)
        return sla.deadline.ticks(after, self._now + timedelta(microseconds=1))[-_DEADLINES:]

    def _fresh(self, name: str, moved: str) -> Iterator[dg.AssetCheckEvaluation]:
        """The state of one batch asset, where it is another than the one last told."""
        before = self._before.assets.get(name)
        asset = self._graph.get(dg.AssetKey.from_user_string(name)).assets_def
        declaration = declaration_of(asset)
        if declaration is None:
            return
        key = dg.AssetKey.from_user_string(name)
        spec = asset.specs_by_key[key]
        expected = expected_of(spec, declaration, self._store, now=self._now, instance=self._instance)
        goes_by = f"{moved} {expected} {declaration.contract}"
        goes_by = hashlib.blake2b(goes_by.encode(), digest_size=8).hexdigest()
        if (
            before is not None
            and before.goes_by == goes_by
            and (before.until is None or self._now <= datetime.fromisoformat(before.until))
        ):
            self.cursor.assets[name] = before
            return
        found = freshness_of(spec, declaration, self._store, now=self._now, expected=expected)
        changes_at = found.changes_at(declaration.contract)
        told = f"{found.standing.value} {found.partition_key}"
        until = changes_at.isoformat() if changes_at is not None else None
        self.cursor.assets[name] = Told(goes_by=goes_by, until=until, told=told)
        if before is not None and told == before.told:
            return
        never = found.standing is Standing.MISSING and found.as_of is None and not expected.late
        if never or (before is None and found.standing is Standing.FRESH):
            return  # nothing of it has landed yet, or the run that made it has just said so
        self.said.append(f"{name}: {found.description}")
        if name in self._tellers:
            self.notices += self._tellers[name].stale(found)
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


def _above(chain: Chain, name: str) -> set[str]:
    """Everything that an asset is made of, near and far."""
    reached, waiting = set[str](), [name]
    while waiting:
        inputs = set(chain.nodes[waiting.pop()].inputs) & chain.nodes.keys() - reached
        reached |= inputs
        waiting += inputs
    return reached
