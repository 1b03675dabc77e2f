"""Ready-made automation conditions: waking when data changes, and getting fresh rows first instead of being refused.

They are made of Dagster's own parts. Dagster's automation sensor has to be on for them to do anything.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from offpeak.assets.fresh import FRESH_CHECK
from offpeak.errors import DefinitionError
from offpeak.freshness.cadence import Cron

Condition = dg.AutomationCondition[Any]


def refresh_when_stale(asset: str) -> Condition:
    """For the batch asset called `asset` itself: ask for it as soon as its check `fresh` fails or warns.

    So it is renewed past its contract's `warn_after`, where it has one. Nothing is asked while a run is on its way, nor
    after one failed: that needs a person, or the next schedule.
    """
    condition = dg.AutomationCondition
    asked = (
        condition.in_latest_time_window()
        & condition.any_checks_match(condition.check_failed()).allow(_fresh(asset))
        & ~condition.in_progress()
        & ~condition.execution_failed()
    )
    return _named(asked, f"refresh_when_stale({asset})")


def when_data_changes() -> Condition:
    """For any asset below the application's tables: run when what it reads has another data version, or its code has.

    Without a change there is no run. Changes that come while a run is on its way, or an input's, wait until that has
    ended; then there is one run for all of them. What was never materialised is not begun, since that would buy
    everything at a moment that nobody chose; after a failed run the next change, person or schedule has to come. Of
    time partitions only the latest one is woken.
    """
    condition = dg.AutomationCondition
    renewed: Any = condition.data_version_changed() & ~condition.executed_with_root_target()
    changed: Any = condition.any_deps_match(renewed | condition.will_be_requested()) | condition.code_version_changed()
    # not `since_last_handled`, which would forget what changed between a plan and its landing, maybe a day later
    handled = condition.newly_requested() | condition.initial_evaluation()
    wanted = (
        condition.in_latest_time_window()
        & changed.with_label("changed").since(handled.with_label("handled"))
        & ~condition.missing()
        & ~condition.in_progress()
        & ~condition.any_deps_in_progress()
    )
    return _named(wanted, "when_data_changes")


def fresh_first(cron_schedule: str, *assets: str, timezone: str = "UTC") -> Condition:
    """For a consumer: run once for each tick of `cron_schedule`, as soon as all these batch assets are fresh.

    Where they are when it ticks, that is at once. Where one is not, its own condition or schedule renews it first: give
    it `refresh_when_stale`. Raises DefinitionError for a cron expression that is none, or without an asset.
    """
    if not assets:
        raise DefinitionError(f"fresh_first({cron_schedule!r}) names no batch asset. Name those that have to be fresh.")
    try:
        now = datetime.now(UTC)
        Cron(cron_schedule=cron_schedule, timezone=timezone, name="").ticks(now, now + timedelta(days=1))
    except Exception as error:
        raise DefinitionError(
            f'fresh_first({cron_schedule!r}, timezone={timezone!r}): {error}. Write one such as "0 9 * * 1-5" and a '
            'time zone such as "Europe/Berlin".'
        ) from error
    condition = dg.AutomationCondition
    ticked: Any = condition.cron_tick_passed(cron_schedule, timezone)
    ready: Any = condition.in_latest_time_window() & ticked.since_last_handled() & ~condition.in_progress()
    for asset in assets:
        passed = condition.all_checks_match(condition.check_passed()).allow(_fresh(asset))
        ready = ready & condition.asset_matches(asset, passed & ~condition.missing())
    return _named(ready, f"fresh_first({cron_schedule!r}, {', '.join(assets)})")


def _named(condition: Any, label: str) -> Condition:
    named: Condition = condition.with_label(label)
    return named


def _fresh(asset: str) -> dg.AssetSelection:
    return dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey.from_user_string(asset), FRESH_CHECK))
