"""Where assets, resources and schedules meet: what Dagster loads."""

import dagster as dg

import ai_assets
from offpeak import with_offpeak
from resources.batch_api import batch_api
from resources.notifier import notifier
from resources.results import results
from resources.sources import SourceTables
from schedules.batch_lifecycle import batch_lifecycle
from schedules.before_nine import before_nine
from schedules.data_changes import data_changes
from schedules.follow_ups import follow_ups
from schedules.hourly import hourly
from schedules.housekeeping import housekeeping
from schedules.launch_plans import launch_plans
from schedules.launch_precompute import launch_checks, launch_precompute, launch_watch
from schedules.nightly import nightly, nightly_translations
from schedules.quarterly_review import quarterly_review
from schedules.weekly import weekly
from schedules.weekly_drift import weekly_drift
from schedules.weekly_evals import weekly_evals
from schedules.weekly_spend import weekly_spend

defs = with_offpeak(
    dg.Definitions(
        assets=dg.load_assets_from_package_module(ai_assets),
        asset_checks=launch_checks,
        schedules=[
            nightly,
            nightly_translations,
            before_nine,
            hourly,
            follow_ups,
            housekeeping,
            launch_precompute,
            launch_watch,
            weekly,
            weekly_drift,
            weekly_evals,
            weekly_spend,
            quarterly_review,
            launch_plans,
        ],
        sensors=[batch_lifecycle, data_changes],
        resources={
            "batch_api": batch_api(),
            "offpeak_results": results(),
            "notifier": notifier(),
            "source_tables": SourceTables(),
        },
        # one process for a whole run: a step of its own costs seconds, and these steps mostly wait
        executor=dg.in_process_executor,
    )
)
