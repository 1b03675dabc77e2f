"""Moments of a launch for the people who plan it: in its zone, to the minute."""

from datetime import datetime
from zoneinfo import ZoneInfo

from offpeak.launches.launch import Launch


def local(at: datetime, launch: Launch) -> str:
    """Without the zone's name, where that stands beside it."""
    return f"{at.astimezone(ZoneInfo(launch.zone)):%Y-%m-%d %H:%M}"


def there(at: datetime, launch: Launch) -> str:
    """With the zone's name."""
    return f"{local(at, launch)} {launch.zone}"
