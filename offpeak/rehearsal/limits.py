"""What the providers really allow for the models of a launch, and the same at a smaller scale."""

from collections.abc import Mapping
from dataclasses import dataclass

from offpeak.errors import ConfigurationError
from offpeak.launches.launch import Session
from offpeak.launches.limits import Limits, terms_to_write
from offpeak.providers.realtime import Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLimits:
    """Of one model at its realtime endpoints, a minute; None where nothing is known. At least one is."""

    requests_per_minute: int | None
    tokens_per_minute: int | None

    def scaled(self, scale: float) -> "ModelLimits":
        """The same for `scale` times the traffic; at least one a minute."""
        requests, tokens = self.requests_per_minute, self.tokens_per_minute
        return ModelLimits(
            requests_per_minute=None if requests is None else max(1, round(requests * scale)),
            tokens_per_minute=None if tokens is None else max(1, round(tokens * scale)),
        )

    def as_json(self) -> dict[str, int]:
        """The figures that are known."""
        both = {"requests_per_minute": self.requests_per_minute, "tokens_per_minute": self.tokens_per_minute}
        return {name: figure for name, figure in both.items() if figure is not None}


def model_limits(known: Mapping[str, Limits]) -> dict[str, ModelLimits]:
    """The limits of each model. Raises ConfigurationError that names those of which nobody knows anything."""
    unknown = [model for model, limits in known.items() if not limits]
    if unknown:
        raise ConfigurationError(
            f"Nobody has said yet what {' and '.join(unknown)} {'allow' if len(unknown) > 1 else 'allows'} in a "
            "minute, so the limits cannot be rehearsed. Nothing was played. The answers of realtime endpoints say it; "
            f"until then, write it into price_sheet.toml, for each model:\n{terms_to_write(unknown[0])}"
        )
    return {
        model: ModelLimits(
            requests_per_minute=limits[Measure.REQUESTS].per_minute if Measure.REQUESTS in limits else None,
            tokens_per_minute=limits[Measure.TOKENS].per_minute if Measure.TOKENS in limits else None,
        )
        for model, limits in known.items()
    }


def scaled_limits(limits: Mapping[str, ModelLimits], scale: float, session: Session) -> dict[str, ModelLimits]:
    """All of them at a scale. Raises ConfigurationError where a single request would not fit any more."""
    one = session.tokens_per_request
    found = {model: each.scaled(scale) for model, each in limits.items()}
    for model, each in found.items():
        if each.tokens_per_minute is not None and each.tokens_per_minute < one:
            raise ConfigurationError(
                f"At the scale {scale:.3g}, {model} allows {each.tokens_per_minute:,} tokens a minute, and a single "
                f"request has {one:,.0f}. Nothing was played. Give a larger --scale."
            )
    return found
