"""How old the batch rows are that an ordinary asset was made of, by what Dagster wrote down when it was made.

Each materialization names the event of each input that was the last one then. Following these pointers through ordinary
assets ends at materializations of batch assets, which say how old their oldest row was. Of a partitioned input Dagster
names the partition that was materialised last, whichever was read: where the asset that read it has the same partition,
that one counts, and else the one that is named.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

EVENTS_FOLLOWED = 200
"""Materializations at most that one input is followed through, nearest first."""

_POINTER = "dagster/input_event_pointer/"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    """One materialization."""

    asset: dg.AssetKey
    partition: str | None
    as_of: datetime | None
    """Of its oldest row, where it is a batch asset's."""
    inputs: Mapping[dg.AssetKey, int]
    """Where each input's event stands in Dagster's log."""


class Lineage:
    """Follows materializations back to the batch rows they were made of; what was read once is kept."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._read: dict[tuple[dg.AssetKey, int, str | None], _Event | None] = {}

    def as_of(self, record: dg.EventLogRecord) -> datetime | None:
        """The age of the oldest batch rows that this materialization was made of; None where it was made of none."""
        found: list[datetime] = []
        waiting, seen = deque([_event(record)]), set[tuple[dg.AssetKey, int, str | None]]()
        while waiting:
            event = waiting.popleft()
            if event.as_of is not None:
                found.append(event.as_of)
                continue
            for asset, storage_id in event.inputs.items():
                place = (asset, storage_id, event.partition)
                # an asset that reads its own past is as old as what it read besides
                if asset != event.asset and place not in seen and len(seen) < EVENTS_FOLLOWED:
                    seen.add(place)
                    if (earlier := self._earlier(*place)) is not None:
                        waiting.append(earlier)
        return min(found, default=None)

    def _earlier(self, asset: dg.AssetKey, storage_id: int, partition: str | None) -> _Event | None:
        place = (asset, storage_id, partition)
        if place not in self._read:
            named = self._fetch(dg.AssetRecordsFilter(asset_key=asset, storage_ids=[storage_id]))
            if named is not None and partition is not None and named.partition not in (None, partition):
                own = dg.AssetRecordsFilter(
                    asset_key=asset, asset_partitions=[partition], before_storage_id=storage_id + 1
                )
                named = self._fetch(own) or named
            self._read[place] = named
        return self._read[place]

    def _fetch(self, chosen: dg.AssetRecordsFilter) -> _Event | None:
        """The newest of them; None where the input was only observed, or its events are deleted."""
        records = self._instance.fetch_materializations(chosen, limit=1).records
        return _event(records[0]) if records else None


def _event(record: dg.EventLogRecord) -> _Event:
    materialization = record.asset_materialization
    if materialization is None:
        raise ValueError(f"event {record.storage_id} is no materialization")
    as_of = materialization.metadata.get("as_of") if "offpeak_job" in materialization.metadata else None
    return _Event(
        asset=materialization.asset_key,
        partition=materialization.partition,
        as_of=datetime.fromtimestamp(as_of.value, UTC) if isinstance(as_of, dg.TimestampMetadataValue) else None,
        inputs={
            dg.AssetKey.from_user_string(name.removeprefix(_POINTER)): int(storage_id)
            for name, storage_id in (materialization.tags or {}).items()
            if name.startswith(_POINTER) and storage_id.isdigit()
        },
    )
