"""Dagster Components that Offpeak offers to `dg`."""

from offpeak.components.batch_asset import BatchAssetComponent

__all__ = ["BatchAssetComponent"]
