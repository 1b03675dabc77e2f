"""A launch's peak, played twice in a row: with pre-computed results, and without any.

Both plays have the same arrivals that ask for the same rows, and a stand-in of their own that begins with full limits.
Traffic and limits are scaled alike: what is throttled at a tenth of both is throttled at the whole.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from offpeak.clock import Clock
from offpeak.launches.demand import peak_per_minute
from offpeak.launches.launch import Launch
from offpeak.launches.traffic import Traffic
from offpeak.ledger.database import Database
from offpeak.money.rates import ModelRates
from offpeak.rehearsal.arrivals import Arrival, arrivals
from offpeak.rehearsal.calls import Models, Size
from offpeak.rehearsal.limits import ModelLimits, scaled_limits
from offpeak.rehearsal.outcome import Figures
from offpeak.rehearsal.play import MOST_IN_FLIGHT, Look, play
from offpeak.rehearsal.stand_in import command_line, stand_in
from offpeak.results.row import served_row

MOST_PER_SECOND = 15.0
"""Requests a second that are played where nobody says a scale: what two cores play and answer with ease."""

SEED = 0
"""Of arrivals and what they ask for: a rehearsal that is repeated has the same ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a rehearsal needs beside the launch."""

    database: Database
    """The ledger's, which holds the pre-computed rows in the partition of the launch's name."""
    traffic: Traffic
    rates: Mapping[str, ModelRates]
    """By "provider/model"."""
    limits: Mapping[str, ModelLimits]
    """The real ones, not scaled."""
    command: str | None
    """Of the stand-in."""
    folder: Path
    """The project's, in which the command runs."""
    logs: Path
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """Two plays."""

    launch: str
    peak_per_second: float
    """Requests at the launch's peak, not scaled."""
    scale: float
    seconds: float
    """Of one play."""
    limits: Mapping[str, ModelLimits]
    """Scaled, as the stand-in had them."""
    with_results: Figures
    without: Figures


Telling = Callable[[str], AbstractContextManager[Callable[[int], None]]]
"""Says of a play that it is on, and gives who hears how many requests have come so far."""


def peak_per_second(launch: Launch) -> float:
    """Requests a second at the peak, those included that a pre-computed result answers."""
    return peak_per_minute(launch) / 60


def scale_of(launch: Launch, given: float | None = None) -> float:
    """What is given, else the largest scale, up to 1, at which no more than 15 requests come in a second."""
    return given if given is not None else min(1.0, MOST_PER_SECOND / peak_per_second(launch))


def rehearse(launch: Launch, stage: Stage, *, seconds: float, scale: float, telling: Telling) -> Rehearsal:
    """Play it. Raises ConfigurationError where there is no stand-in or it ends, or the scale is too small."""
    limits = scaled_limits(stage.limits, scale, launch.session)
    command_line(stage.command, port=0, limits=limits)  # what is wrong with it is said before anything is played
    peak = peak_per_second(launch)

    def played(doing: str, look: Look | None) -> Figures:
        coming = arrivals(stage.traffic, rate=peak * scale, seconds=seconds, models=launch.models, seed=SEED)
        with (
            stand_in(stage.command, limits, folder=stage.folder, logs=stage.logs) as url,
            telling(f"Playing {launch.name} {doing} pre-computed results") as told,
        ):
            models = Models(url, size=Size.of(launch.session), rates=stage.rates, most_in_flight=MOST_IN_FLIGHT)

            async def through() -> Figures:
                async with models:
                    return Figures.of(await play(coming, look=look, ask=models.ask, told=told))

            return asyncio.run(through())

    def look(arrival: Arrival) -> bool:
        row = arrival.row
        return served_row(stage.database, row.asset, launch.name, row.key, at=stage.clock.now()) is not None

    return Rehearsal(
        launch=launch.name,
        peak_per_second=peak,
        scale=scale,
        seconds=seconds,
        limits=limits,
        with_results=played("with", look),
        without=played("without", None),
    )
