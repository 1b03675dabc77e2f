"""What a launch asks of each model's realtime endpoints at its peak: what no pre-computed result answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from offpeak.launches.launch import Launch

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Of one model at the peak, a minute."""

    requests_per_minute: float
    tokens_per_minute: float
    """Input and output together."""


def peak_per_minute(launch: Launch) -> float:
    """Requests a minute at the peak, whatever answers them: everybody there asks as often as a session does."""
    return launch.peak_users * launch.session.requests / (launch.session.length / _MINUTE)


def demand(launch: Launch, *, precomputed: float) -> Mapping[str, Demand]:
    """By "provider/model", where `precomputed` is the share of requests that a pre-computed result answers.

    A session's tokens are spread evenly over its requests.
    """
    realtime = peak_per_minute(launch) * (1 - precomputed)
    return {
        model: Demand(
            requests_per_minute=realtime * share,
            tokens_per_minute=realtime * share * launch.session.tokens_per_request,
        )
        for model, share in launch.models.items()
    }
