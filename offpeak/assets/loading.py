"""The value of an asset, as its own IO manager loads it, for somebody who holds an instance of Dagster already.

`dg.AssetValueLoader` does the same. But the contexts that it builds do not get the instance it was given, so that
Dagster makes two more for each value, every table of theirs included: 0.2 s of CPU for one partition of one input.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, cast

import dagster as dg
from dagster._core.definitions.job_definition import default_job_io_manager_with_fs_io_manager_schema
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.definitions.resource_definition import Resources
from dagster._core.definitions.utils import DEFAULT_IO_MANAGER_KEY
from dagster._core.execution.build_resources import get_mapped_resource_config
from dagster._core.execution.context_creation_job import initialize_console_manager
from dagster._core.execution.resources_init import get_transitive_required_resource_keys
from dagster._core.types.dagster_type import resolve_dagster_type


class AssetLoader:
    """Loads values of these assets; resources live until it is closed, one of a key for all assets."""

    def __init__(self, assets: Mapping[dg.AssetKey, dg.AssetsDefinition], instance: dg.DagsterInstance) -> None:
        self._assets = assets
        self._instance = instance
        self._values: dict[str, object] = {}
        self._resources: dict[str, Resources] = {}
        self._stack = ExitStack()

    def close(self) -> None:
        self._stack.close()

    def load(
        self, key: dg.AssetKey, *, python_type: Any, partition_key: str | None, metadata: Mapping[str, Any]
    ) -> Any:
        """The asset, or a partition of it; `metadata` is what the IO manager finds as the metadata of the input."""
        asset = self._assets[key]
        definitions = {DEFAULT_IO_MANAGER_KEY: default_job_io_manager_with_fs_io_manager_schema, **asset.resource_defs}
        name = asset.get_io_manager_key_for_asset_key(key)
        resources = self._built(name, definitions)
        subset = None
        if partition_key is not None and asset.partitions_def is not None:
            with partition_loading_context(dynamic_partitions_store=self._instance):
                subset = asset.partitions_def.empty_subset().with_partition_key_range(
                    asset.partitions_def, dg.PartitionKeyRange(partition_key, partition_key)
                )
        context = dg.InputContext(
            definition_metadata=metadata,
            upstream_output=dg.build_output_context(
                name=asset.get_output_name_for_asset_key(key) if asset.is_executable else None,
                definition_metadata=asset.specs_by_key[key].metadata,
                asset_key=key,
                op_def=asset.get_op_def_for_asset_key(key),
                resources=resources,
            ),
            dagster_type=resolve_dagster_type(python_type),
            log_manager=initialize_console_manager(None),
            resource_config=get_mapped_resource_config({name: definitions[name]}, {})[name].config,
            resources=resources,
            asset_key=key,
            partition_key=partition_key,
            asset_partitions_subset=subset,
            asset_partitions_def=asset.partitions_def,
            instance=self._instance,
        )
        return cast("dg.IOManager", self._values[name]).load_input(context)

    def _built(self, name: str, definitions: Mapping[str, dg.ResourceDefinition]) -> Resources:
        """The IO manager of this key and what it requires."""
        if name not in self._resources:
            required = get_transitive_required_resource_keys(definitions[name].required_resource_keys, definitions)
            wanted = {key: self._values.get(key, definitions[key]) for key in {*required, name}}
            built = self._stack.enter_context(dg.build_resources(wanted, instance=self._instance))
            self._values.update({key: getattr(built, key) for key in wanted})
            self._resources[name] = built
        return self._resources[name]
