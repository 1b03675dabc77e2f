"""A batch asset reads its own inputs, while planning: a run that only collects loads none.

Each partition that is planned gets its own inputs, through the partition mappings and the IO managers that Dagster has
for them, and its own `as_of`: the oldest of the moment before reading, the `as_of` of batch inputs, the last
materialization of materialised ones, and the `as_of` of the batch rows that those were made of. Batch inputs pass the
gate first.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, get_origin

import dagster as dg
import pandas as pd
from dagster._core.definitions.data_version import extract_data_version_from_entry

from offpeak.assets.declaration import Declaration, DeclaredInput
from offpeak.assets.lineage import Lineage
from offpeak.assets.loading import AssetLoader
from offpeak.clock import Clock
from offpeak.errors import DefinitionError, PlanError
from offpeak.freshness.declared import Reading, tolerated, undeclared
from offpeak.results.admission import admit
from offpeak.results.io_manager import leaving_out
from offpeak.results.producer import Producer, producer_in
from offpeak.results.store import ResultStore
from offpeak.sources.changed import ChangedRows, changes_since

_LOG = logging.getLogger(__name__)


class InputReader:
    """Reads the inputs of one batch asset. `upstream` finds the definition of each asset it depends on."""

    def __init__(
        self,
        *,
        asset: dg.AssetsDefinition,
        declaration: Declaration,
        upstream: Callable[[dg.AssetKey], dg.AssetsDefinition],
        instance: dg.DagsterInstance,
        store: ResultStore,
        clock: Clock,
        log: logging.Logger = _LOG,
    ) -> None:
        self._key = asset.key
        self._asset = asset
        self._declaration = declaration
        self._instance = instance
        self._store = store
        self._clock = clock
        self._log = log
        self._not_before: dict[dg.AssetKey, datetime | None] = {}
        self._upstream = {dep.asset_key: upstream(dep.asset_key) for spec in asset.specs for dep in spec.deps}
        self._tolerances = tolerated(asset)
        self._lineage = Lineage(instance)
        self._loader = AssetLoader(self._upstream, instance)

    def __enter__(self) -> "InputReader":
        return self

    def __exit__(self, *error: object) -> None:
        self._loader.close()

    def age(self, partition_key: str | None) -> datetime:
        """The `as_of` of a plan that is made now, from what `read` gives then.

        Raises StaleInput when a batch input is older than tolerated.
        """
        return min(self._ages(partition_key))

    def read(self, partition_key: str | None, *, since: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The inputs, by parameter; `since` has the position from which on changed rows are wanted of one."""
        wanted = since or {}
        return {
            each.parameter: self._load(
                self.key_of(each), each.annotation, partition_key, since=wanted.get(each.parameter)
            )
            for each in self._declaration.inputs
        }

    def key_of(self, declared: DeclaredInput) -> dg.AssetKey:
        """The asset that an input is."""
        return self._asset.node_keys_by_input_name[declared.op_input]

    def versions(self, partition_key: str | None, *, leaving_out: dg.AssetKey) -> dict[str, str | None]:
        """What changes with each of the other inputs, by asset key; None for one that nothing tells it of."""
        return {
            key.to_user_string(): self._version(key, self._partitions(key, partition_key))
            for key in self._upstream
            if key not in (self._key, leaving_out)
        }

    def _version(self, key: dg.AssetKey, partitions: Sequence[str] | None) -> str | None:
        versions = []
        for wanted in partitions if partitions is not None else (None,):
            records = self._latest(key, wanted)
            if not records:
                return None
            version = extract_data_version_from_entry(records[0].event_log_entry)
            versions.append(str(records[0].storage_id) if version is None else version.value)
        return ",".join(versions)

    def _latest(self, key: dg.AssetKey, partition: str | None) -> Sequence[dg.EventLogRecord]:
        wanted = None if partition is None else [partition]
        return self._instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, asset_partitions=wanted), limit=1
        ).records

    def _ages(self, partition_key: str | None) -> Iterator[datetime]:
        yield self._clock.now()
        for key, asset in self._upstream.items():
            if key == self._key:
                continue
            keys = self._partitions(key, partition_key)
            producer = producer_in(asset.specs_by_key[key].metadata)
            if producer is not None:
                yield from self._gate(key, producer, keys)
            else:
                yield from self._materialized(key, keys)

    def _gate(self, key: dg.AssetKey, producer: Producer, partitions: Sequence[str] | None) -> Iterator[datetime]:
        consumer, name = self._key.to_user_string(), key.to_user_string()
        tolerance = self._tolerances.get(key)
        if tolerance is None:
            raise DefinitionError(undeclared(self._asset, Reading(consumer=self._key, asset=key, tolerance=None)))
        admitted = admit(
            self._store,
            consumer=consumer,
            asset=name,
            partitions=partitions,
            tolerance=tolerance,
            promise=producer.valid_for,
            producer=self._upstream[key].specs_by_key[key].metadata,
            warn=self._log.warning,
            now=self._clock.now(),
        )
        self._not_before[key] = admitted.not_before
        if admitted.as_of is not None:
            yield admitted.as_of

    def _materialized(self, key: dg.AssetKey, partitions: Sequence[str] | None) -> Iterator[datetime]:
        for wanted in partitions if partitions is not None else (None,):
            for record in self._latest(key, wanted):
                yield datetime.fromtimestamp(record.timestamp, UTC)
                if (as_of := self._lineage.as_of(record)) is not None:
                    yield as_of

    def _load(self, key: dg.AssetKey, annotation: Any, partition_key: str | None, *, since: str | None = None) -> Any:
        partitions = self._partitions(key, partition_key)
        if partitions is None:
            return self._load_one(key, annotation, None, since=since)
        if annotation is ChangedRows:
            raise PlanError(
                f"{self._key.to_user_string()} reads changed rows of {key.to_user_string()}, which has partitions. "
                "Nothing was submitted. Changes are known of whole tables: annotate the parameter as pandas.DataFrame "
                "or as Iterator."
            )
        parts = (self._load_one(key, annotation, each) for each in partitions)
        return _together(parts, annotation, count=len(partitions), key=key, consumer=self._key)

    def _load_one(self, key: dg.AssetKey, annotation: Any, partition: str | None, *, since: str | None = None) -> Any:
        try:
            return self._loader.load(
                key,
                python_type=_as_dagster_type(annotation),
                partition_key=partition,
                metadata=leaving_out(self._not_before.get(key)) | changes_since(since),
            )
        except FileNotFoundError as error:  # what Dagster's own IO managers say of an asset that never materialised
            name = key.to_user_string() + (f" partition {partition}" if partition is not None else "")
            raise PlanError(
                f"{self._key.to_user_string()}: its input {name} has nothing to read: it was never materialised in "
                f"this Dagster instance ({error}). Nothing was submitted. Materialise {name} first."
            ) from error

    def _partitions(self, key: dg.AssetKey, partition_key: str | None) -> Sequence[str] | None:
        """The upstream partitions that `partition_key` of this asset reads; None for an unpartitioned upstream."""
        upstream_def = self._upstream[key].specs_by_key[key].partitions_def
        if upstream_def is None:
            return None
        own_def = self._asset.partitions_def if partition_key is not None else None
        mapped = self._asset.infer_partition_mapping(
            self._key, key, upstream_def
        ).get_upstream_mapped_partitions_result_for_partitions(
            own_def.subset_with_partition_keys([partition_key]) if own_def and partition_key is not None else None,
            own_def,
            upstream_def,
            current_time=self._clock.now(),
            dynamic_partitions_store=self._instance,
        )
        absent = mapped.required_but_nonexistent_partition_keys
        if absent:
            raise PlanError(
                f"{self._key.to_user_string()}: partition {partition_key!r} reads {key.to_user_string()} partition "
                f"{', '.join(absent)}, which does not exist. Nothing was submitted. Change the partition mapping, "
                "or begin later."
            )
        return list(mapped.partitions_subset.get_partition_keys())


def _as_dagster_type(annotation: Any) -> Any:
    if annotation is None or isinstance(annotation, type):
        return annotation
    # Dagster takes no generic such as Iterator[Row] as a type; an IO manager reads it from typing_type all the same
    return dg.DagsterType(name="Rows", type_check_fn=lambda _context, _value: True, typing_type=annotation)


def _together(parts: Iterable[Any], annotation: Any, *, count: int, key: dg.AssetKey, consumer: dg.AssetKey) -> Any:
    """Several partitions as one value: frames one below the other, streams one after the other."""
    origin = get_origin(annotation) or annotation
    if origin in (Iterator, Iterable):
        return chain.from_iterable(parts)
    loaded = list(parts)
    if count == 1:
        return loaded[0]
    if loaded and all(isinstance(each, pd.DataFrame) for each in loaded):
        return pd.concat(loaded, ignore_index=True)
    kinds = ", ".join(sorted({type(each).__name__ for each in loaded})) or "nothing"
    raise PlanError(
        f"{consumer.to_user_string()} reads {count} partitions of {key.to_user_string()}, which load as {kinds}; "
        "Offpeak only joins data frames and row streams. Nothing was submitted. Load frames, or narrow the partition "
        "mapping."
    )
