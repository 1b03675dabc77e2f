"""The cases that the audit knows: how work looks that runs in the wrong lane."""

from enum import StrEnum


class Case(StrEnum):
    """One way in which work is bought that nobody watches."""

    SCHEDULE = "schedule"
    """A clock or a queue starts it, and it buys in the realtime lane: nobody sees it run."""
    LOOP = "loop"
    """One call for each of many rows: nobody watches a single one."""
    SERIAL = "serial"
    """The same one after the other, and the program stands still meanwhile; often behind a progress bar."""
    POLLING = "polling"
    """It asks at short intervals, day and night, whether anything has changed or not."""
    PLEASE_WAIT = "please_wait"
    """A person is made to wait for what takes minutes or hours."""

    @property
    def heading(self) -> str:
        return _TITLES[self]

    @property
    def remedy(self) -> str:
        """What to do, in a sentence or two."""
        return _REMEDIES[self]


_TITLES = {
    Case.SCHEDULE: "Scheduled work in the realtime lane",
    Case.LOOP: "A loop of calls",
    Case.SERIAL: "One call after the other",
    Case.POLLING: "Polling day and night",
    Case.PLEASE_WAIT: "Please wait",
}

_REMEDIES = {
    Case.SCHEDULE: "Make it a batch asset with the hour as its deadline, submitted early enough: "
    "`offpeak audit scaffold` writes it.",
    Case.LOOP: "Yield the requests from a batch asset instead of calling one by one: they are bought together, each "
    "once, at about half the price.",
    Case.SERIAL: "Yield the requests from a batch asset: they run side by side, nobody holds a process open, and what "
    "breaks off goes on where it was.",
    Case.POLLING: "Let a change wake it: a sensor on the table or folder, and one request for each row that is new.",
    Case.PLEASE_WAIT: "Take the request, answer at once that it is queued, buy it in the background or on the batch "
    "tier, and tell the person when it has landed.",
}
