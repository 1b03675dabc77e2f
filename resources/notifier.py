"""Who is told of what becomes of this deployment's assets. What is not set is not sent.

OFFPEAK_NOTIFY_SUPPORT     where the people who look after customers are told, as an apprise URL
OFFPEAK_NOTIFY_OPERATIONS  where those who look after this project are told
OFFPEAK_UI_URL             where the Dagster UI is, for links to runs
"""

import dagster as dg

from offpeak import Notifier


def notifier() -> Notifier:
    """The resource `notifier`."""
    return Notifier(
        destinations={
            "support": dg.EnvVar("OFFPEAK_NOTIFY_SUPPORT"),
            "operations": dg.EnvVar("OFFPEAK_NOTIFY_OPERATIONS"),
        },
        base_url=dg.EnvVar("OFFPEAK_UI_URL"),
    )
