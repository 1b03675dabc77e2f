"""Source assets whose tables change, on Postgres, SQLite and in a folder; and what Dagster observed of them."""

from typing import Any

import dagster as dg
import psycopg
import sqlalchemy as sa
from dagster._core.definitions.data_version import extract_data_version_from_entry

from offpeak.errors import ConfigurationError, CouldNotRead
from offpeak.sources.database import SourceDatabase
from offpeak.sources.tables import SourceTables, table_of


class VersionedTables(SourceTables):
    def data_version(self, asset_key: dg.AssetKey, *, since: str | None = None) -> str:
        source, table = self.source(), table_of(asset_key)
        if not isinstance(source, SourceDatabase):
            return self.version(table)
        try:
            with sa.create_engine(source.url).connect() as c:
                if source.url.get_backend_name() == "sqlite":
                    cols = [x[1] for x in c.exec_driver_sql(f"PRAGMA table_info({table})")]
                    if "updated_at" not in cols:
                        raise ConfigurationError(f"{table} has no updated_at; add one")
                    return str(tuple(c.exec_driver_sql(f"SELECT count(*), max(updated_at) FROM {table}").one()))
                if not c.exec_driver_sql("SELECT to_regclass('change_log')").scalar():
                    raise ConfigurationError(f"nothing watches {table}; run offpeak sources watch {table}")
                found = c.exec_driver_sql(f"SELECT max(id) FROM change_log WHERE name = '{table}'").scalar()
                return f"log-{found}"
        except sa.exc.OperationalError as error:
            raise CouldNotRead(f"{table} cannot be read from {source}: {error.orig}") from None


def watch(url: str, table: str) -> None:
    with psycopg.connect(url, autocommit=True) as c:
        c.execute("CREATE TABLE IF NOT EXISTS change_log (id bigserial primary key, name text)")
        c.execute(
            """CREATE OR REPLACE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO change_log(name) VALUES (TG_TABLE_NAME); PERFORM pg_notify('offpeak_changes', TG_TABLE_NAME);
            RETURN NULL; END $$"""
        )
        c.execute(f"CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION tell()")
        c.execute("SELECT pg_notify('offpeak_changes', %s)", [table])


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
        assets=[source_asset(table) for table in tables], resources={"source_tables": VersionedTables(**address)}
    )


def observed(instance: dg.DagsterInstance, asset: str) -> list[str]:
    """The data versions that Dagster observed, the first one first."""
    records = instance.fetch_observations(dg.AssetKey(asset), limit=10_000, ascending=True).records
    found = [extract_data_version_from_entry(each.event_log_entry) for each in records]
    return [each.value for each in found if each is not None]
