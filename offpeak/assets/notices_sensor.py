"""The sensor that looks at open jobs for what somebody should be told, and delivers what is pending. It starts no run.

What it finds is named, so that each is told once, however many ticks see it; nothing is kept between two ticks.
"""

from collections.abc import Iterable

import dagster as dg

from offpeak.assets.declaration import declaration_of
from offpeak.assets.notices import Teller
from offpeak.assets.notices_delivery import deliver
from offpeak.clock import Clock, SystemClock
from offpeak.ledger import notices, watching
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.notices import Notice
from offpeak.notifier import NOTIFIER_KEY, Notifier
from offpeak.results.io_manager import RESULTS_KEY, OffpeakResults

NOTICES_SENSOR = "offpeak_notices"


def notices_sensor(*, minimum_interval_seconds: int = 30) -> dg.SensorDefinition:
    """The sensor that `with_offpeak` adds where an asset says whom to tell."""

    @dg.sensor(
        name=NOTICES_SENSOR,
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={RESULTS_KEY, NOTIFIER_KEY},
        description="Tells people what their assets' notify= asks for, and tries again what did not arrive; starts no "
        "run.",
    )
    def tell(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        results: OffpeakResults = getattr(context.resources, RESULTS_KEY)
        notifier: Notifier = getattr(context.resources, NOTIFIER_KEY)
        assert context.repository_def is not None  # noqa: S101 - a sensor belongs to one
        tellers = tellers_of(context.repository_def.assets_defs_by_key.values(), notifier)
        if not notifier.reachable(notifier.destinations):
            return dg.SkipReason("No destination has an address, so nobody is told.")
        found = notices.raise_new(results.ledger, look(results.ledger, tellers, SystemClock()))
        arrived = deliver(results.ledger, notifier, context.log, assets=list(tellers))
        return dg.SkipReason(f"{len(found):,} new, {arrived:,} delivered.")

    return tell


def tellers_of(definitions: Iterable[dg.AssetsDefinition], notifier: Notifier) -> dict[str, Teller]:
    """Those assets that say whom to tell."""
    found = {}
    for asset in definitions:
        declaration = declaration_of(asset)
        if declaration is not None and declaration.notify:
            name = asset.key.to_user_string()
            found[name] = Teller(name, declaration.notify, notifier)
    return found


def look(ledger: Ledger, tellers: dict[str, Teller], clock: Clock) -> list[Notice]:
    """What is to be told of the open jobs of these assets now, whether or not it was told before."""
    now = clock.now()
    return [
        notice
        for found in (watching.watched(ledger, now=now) if tellers else ())
        if (teller := tellers.get(found.job.asset)) is not None
        for notice in teller.open_job(found, now=now)
    ]
