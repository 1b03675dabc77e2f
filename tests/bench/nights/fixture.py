"""The fixture: what is simulated, and what has to hold. The file's comments give units and sources."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt

MINUTE = 60.0
HOUR = 60 * MINUTE


def _ordered(between: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= between[0] <= between[1]:
        raise ValueError(f"expected two figures, none below 0 and the smaller one first, not {list(between)}")
    return between


Share = Annotated[float, Field(ge=0, le=1)]
Between = Annotated[tuple[float, float], AfterValidator(_ordered)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SlowNights(_Part):
    share: Share
    factor: Between


class Outages(_Part):
    share: Share
    minutes: Between


class Throttles(_Part):
    share: Share
    capacity: Between


class Scenario(_Part):
    name: str
    sigma: PositiveFloat
    credited: bool
    price_at_most: float | None = None
    above_all_knowing_at_most: float | None = None


class Fixture(_Part):
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    nights: PositiveInt
    jobs: PositiveInt
    chunks: PositiveInt
    requests_per_chunk: PositiveInt
    deadlines_hours: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    spread_minutes: NonNegativeFloat
    median_hours: PositiveFloat
    never_share: Share
    rescued_before: bool
    queued_share: Annotated[float, Field(ge=0, lt=1)]
    cancel_minutes: Between
    limit_per_minute: PositiveFloat
    failed_share: Between
    answer_seconds: NonNegativeFloat
    run_seconds: NonNegativeFloat
    slow_nights: SlowNights
    outages: Outages
    throttles: Throttles
    scenarios: Annotated[tuple[Scenario, ...], Field(min_length=1)]


def read(path: Path) -> Fixture:
    """Raises pydantic's ValidationError, which names the field, for a fixture that cannot be simulated."""
    return Fixture.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
