"""Deliver what the outbox holds: claim, send, record. It never raises, and takes a bounded time.

A notice reports on a job that is over, or on one that others carry on: whatever befalls its delivery is written down,
and concerns nobody else.
"""

import logging
from collections.abc import Collection

from offpeak.assets.notices import severity
from offpeak.errors import OffpeakError
from offpeak.ledger import notices
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.notices import Claimed
from offpeak.ledger.states import NoticeState
from offpeak.notifier import Message, Notifier

PER_ROUND = 5
"""Notices at most that are sent at a time: some services want seconds between two. What is left waits for the next tick
of the sensor."""


def deliver(ledger: Ledger, notifier: Notifier, log: logging.Logger, *, assets: Collection[str]) -> int:
    """Send the notices of these assets that are due; returns how many have arrived everywhere.

    Raises nothing. Takes as long as the notifier's `timeout_seconds` allows, whatever the services do.
    """
    if not notifier.reachable(notifier.destinations):
        return 0
    try:
        claimed = notices.claim(ledger, assets=assets, most=PER_ROUND)
        return _deliver(ledger, notifier, log, claimed) if claimed else 0
    except OffpeakError as error:
        log.warning(f"Notices could not be delivered now, and are tried again: {error}")
    except Exception as error:  # noqa: BLE001 - nothing here may cost a run what it has bought
        log.warning(f"Notices could not be delivered now, and are tried again: {type(error).__name__}")
    return 0


def _deliver(ledger: Ledger, notifier: Notifier, log: logging.Logger, claimed: list[Claimed]) -> int:
    parts = [(each, name) for each in claimed for name in each.notice.destinations]
    messages = [
        Message(destination=name, title=each.notice.title, body=each.notice.body, severity=severity(each.notice.kind))
        for each, name in parts
    ]
    failed: dict[int, dict[str, str]] = {}
    for (each, name), why in zip(parts, notifier.send(messages), strict=True):
        if why is not None:
            failed.setdefault(each.id, {})[name] = why
    arrived = 0
    for each in claimed:
        state = notices.settle(ledger, each, failed.get(each.id, {}))
        why = "; ".join(f"{name}: {reason}" for name, reason in failed.get(each.id, {}).items())
        match state:
            case NoticeState.DELIVERED:
                arrived += 1
            case NoticeState.PENDING:
                log.warning(f"The notice {each.notice.title!r} is sent again later. {why}.")
            case NoticeState.GIVEN_UP:
                log.error(f"The notice {each.notice.title!r} is given up after {each.attempt} attempts. {why}.")
            case None:
                pass  # it took longer than the claim, and somebody else delivers it
    return arrived
