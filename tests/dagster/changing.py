"""Source assets whose tables change, on Postgres, SQLite and in a folder; and what Dagster observed of them."""

import time
from typing import Any, LiteralString

import dagster as dg
import psycopg
from dagster._core.definitions.data_version import extract_data_version_from_entry

from offpeak.sources.database import SourceDatabase
from offpeak.sources.tables import SourceTables


class Application:
    """A program with the tables `documents` and `tickets` in a database of its own on Postgres."""

    def __init__(self, server: str, *, watched: bool = True) -> None:
        name = f"application_{time.monotonic_ns()}"
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        self.address = f"{server}/{name}"
        self.source_url = self.address.replace("postgresql:", "postgresql+psycopg:")
        self.source = SourceDatabase(self.source_url, hint="")
        for table in ("documents", "tickets"):
            self.run(f"CREATE TABLE {table} (id text PRIMARY KEY, body text)")
            if watched:
                self.source.watch(table)

    def run(self, *statements: LiteralString) -> None:
        """One transaction."""
        with psycopg.connect(self.address) as connection:
            for statement in statements:
                connection.execute(statement)

    def definitions(self) -> dg.Definitions:
        return definitions("documents", "tickets", url=self.source_url)


def source_asset(name: str) -> dg.AssetsDefinition:
    """An observable source asset like those of the project. Observing it says nothing."""

    @dg.multi_observable_source_asset(
        specs=[dg.AssetSpec(name).with_io_manager_key("source_tables")], name=f"observe_{name}"
    )
    def observe() -> Any:
        yield dg.ObserveResult(asset_key=dg.AssetKey(name))

    return observe


def definitions(*tables: str, **address: str) -> dg.Definitions:
    """Each table as a source asset, read from the address."""
    return dg.Definitions(
        assets=[source_asset(table) for table in tables], resources={"source_tables": SourceTables(**address)}
    )


def observed(instance: dg.DagsterInstance, asset: str) -> list[str]:
    """The data versions that Dagster observed, the first one first."""
    records = instance.fetch_observations(dg.AssetKey(asset), limit=10_000, ascending=True).records
    found = [extract_data_version_from_entry(each.event_log_entry) for each in records]
    return [each.value for each in found if each is not None]
