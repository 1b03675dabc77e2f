"""Whether a launch fits, in words, tables and a picture."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from math import ceil, floor
from typing import TYPE_CHECKING

from offpeak.clock import in_words, moment
from offpeak.launches.capacity import Capacity, Reached, capacity
from offpeak.launches.demand import demand, peak_per_minute
from offpeak.launches.launch import Launch
from offpeak.launches.limits import Limits, Source, terms_to_write
from offpeak.launches.sensitivity import Guess, Sensitivity, sensitivities
from offpeak.reports.launches.moments import there
from offpeak.reports.pictures import picture
from offpeak.reports.tables import Table, code

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GONE = "It is not in the list of launches any more."

NO_LAUNCH = "No launch is ahead. The resource `batch_api` names the list of launches with `launches=`."


def without(found: Capacity, limits: Mapping[str, Limits]) -> Capacity:
    """The same launch with nothing pre-computed."""
    return capacity(found.launch, limits, now=found.now, precomputed=0)


def summary(ahead: Sequence[Capacity]) -> str:
    """A line for each launch: what to do for it. A table would be cut off where Dagster shows it."""
    return "\n".join(map(_line, ahead)) or NO_LAUNCH


def _line(found: Capacity) -> str:
    starts = there(found.launch.starts, found.launch)
    return f"- {code(found.launch.name)}, which starts at {starts}: {judgement(found)}"


def judgement(found: Capacity) -> str:
    """Whether it fits, and what has to be raised by when where it does not. Code stands between backticks."""
    if found.over:
        return f"It has been over since {there(found.launch.ends, found.launch)}."
    parts = [_unknown(found.unknown)] if found.unknown else []
    parts += [_raise(each) for each in found.to_raise]
    if parts:
        parts.append(_by(found))
    else:
        parts.append("It fits: nothing of it asks a model." if found.binding is None else _fits(found.binding))
    return " ".join([*parts, *([_unlimited(found)] if found.unlimited else [])])


def _fits(binding: Reached) -> str:
    return (
        f"It fits. The tightest limit is that of {code(binding.model)}: {count(binding.needed)} of "
        f"{count(binding.usable)} usable {binding.measure} a minute are needed at the peak, {binding.headroom:.0%} of "
        "them are left."
    )


def _unknown(models: Sequence[str]) -> str:
    names = " and ".join(code(each) for each in models)
    return (
        f"Nobody has said yet what {names} {'allow' if len(models) > 1 else 'allows'} in a minute: write it into "
        "`price_sheet.toml`, as `[[terms]]`."
    )


def _raise(each: Reached) -> str:
    return (
        f"Raise {code(each.model)} from {each.limit.per_minute:,} to {each.enough:,} {each.measure} a minute: "
        f"{count(each.needed)} are needed at the peak, and {count(each.usable)} are usable."
    )


def _by(found: Capacity) -> str:
    left = found.raise_by - found.now
    when = there(found.raise_by, found.launch)
    what = "Ask for it" if found.to_raise else "What is too low for the launch has to be asked for"
    if left > timedelta(0):
        return f"{what} by {when}, in {in_words(left)}."
    if not found.to_raise:
        return f"What is too low for the launch had to be asked for by {when}."
    return f"It had to be asked for by {when}: ask now, or pre-compute more."


def section(found: Capacity, limits: Mapping[str, Limits]) -> str:
    """All about one launch."""
    bare = without(found, limits)
    guesses = sensitivities(found.launch, limits)
    return "\n\n".join(
        (
            f"**{judgement(found)}**",
            *([_to_write(found.unknown)] if found.unknown else []),
            *([_limits(found, bare).markdown] if found.reached else []),
            _precomputed(found, bare),
            *([_guesses(found.launch, guesses).markdown, _curves(found.launch, guesses)] if guesses else []),
            f"Reckoned at {moment(found.now)}. {found.launch.spare:.0%} of each limit are to be left free.",
        )
    )


def _to_write(unknown: Sequence[str]) -> str:
    entries = "\n\n".join(map(terms_to_write, unknown))
    return f"With the figures of your account:\n\n```toml\n{entries}\n```"


def _limits(found: Capacity, bare: Capacity) -> Table:
    alone = {(each.model, each.measure): each for each in bare.reached}
    return Table(
        head=("model", "a minute", "limit", "says who", "usable", "needed", "headroom", "raise to",
              "needed without pre-computed rows", "raise to then"),
        rows=[
            (
                each.model,
                each.measure,
                f"{each.limit.per_minute:,}",
                _says_who(each),
                count(each.usable),
                count(each.needed),
                f"{each.headroom:.0%}",
                _to(each),
                count(alone[each.model, each.measure].needed),
                _to(alone[each.model, each.measure]),
            )
            for each in found.reached
        ],
    )  # fmt: skip


def _to(each: Reached) -> str:
    return "–" if each.raise_to is None else f"{each.raise_to:,}"


def _says_who(each: Reached) -> str:
    if each.limit.source is Source.SEEN and each.limit.seen_at is not None:
        return f"the provider, {moment(each.limit.seen_at)}"
    return "price sheet"


def _unlimited(found: Capacity) -> str:
    names = ", ".join(f"{measure} a minute of {code(model)}" for model, measure in found.unlimited)
    return f"Nobody states a limit of {names}: it is taken for none."


def _precomputed(found: Capacity, bare: Capacity) -> str:
    if not found.precomputed:
        return "Nothing is pre-computed: every request at the peak asks a model."
    peak = peak_per_minute(found.launch)
    tokens, asked = (_tokens(found.launch, share) for share in (0, found.precomputed))
    raised, left = len(bare.to_raise), len(found.to_raise)
    saved = f" {_limits_in_words(raised)} would have to be raised without it, and {left or 'none'} with it."
    return (
        f"Pre-computed results answer {found.precomputed:.0%} of the requests. That shrinks the peak from "
        f"{count(peak)} to {count(peak * (1 - found.precomputed))} requests a minute, and from {count(tokens)} to "
        f"{count(asked)} tokens.{saved if raised else ''}"
    )


def _tokens(launch: Launch, precomputed: float) -> float:
    return sum(each.tokens_per_minute for each in demand(launch, precomputed=precomputed).values())


def _limits_in_words(number: int) -> str:
    return "1 limit" if number == 1 else f"{number} limits"


def _guesses(launch: Launch, found: Sequence[Sensitivity]) -> Table:
    return Table(
        head=("if only this guess is off", "guessed", "it fits"),
        rows=[(each.guess, _value(launch, each.guess, 0), _fits_where(launch, each)) for each in found],
        names=False,
    )


def _fits_where(launch: Launch, found: Sensitivity) -> str:
    if found.turns_at is None:
        fits = next(headroom for off, headroom in found.curve if off == 0) >= 0
        return "whatever it is" if fits else "not by this alone"
    # Rounded to the side on which it fits.
    if found.guess in {Guess.LENGTH, Guess.PRECOMPUTED}:
        return f"from {_value(launch, found.guess, found.turns_at, ceil)} ({found.turns_at:+.0%})"
    return f"up to {_value(launch, found.guess, found.turns_at, floor)} ({found.turns_at:+.0%})"


def _value(launch: Launch, guess: Guess, off: float, rounding: Callable[[float], int] = round) -> str:
    """What a guess is where it is off by `off`, with as many digits as it is usually said with."""
    factor, session = 1 + off, launch.session

    def said(figure: float, digits: int) -> str:
        # What floating-point figures lack of a whole number is no reason to round to the next one.
        whole = rounding(round(figure * factor * 10**digits, 6))
        return f"{whole / 10**digits:,.{digits}f}".removesuffix(".0")

    match guess:
        case Guess.PEAK_USERS:
            return said(launch.peak_users, 0)
        case Guess.REQUESTS:
            return said(session.requests, 1)
        case Guess.TOKENS:
            return said(session.input_tokens + session.output_tokens, 0)
        case Guess.LENGTH:
            return f"{said(session.length / timedelta(minutes=1), 1)} min"
        case Guess.PRECOMPUTED:
            return f"{said(launch.precomputed_share * 100, 0)}%"


def _curves(launch: Launch, found: Sequence[Sensitivity]) -> str:
    def draw() -> "Figure":
        from offpeak.reports.launches.sensitivity_plot import sensitivity_figure

        return sensitivity_figure(
            found, title=f"What is left of the tightest limit of {launch.name}", spare=launch.spare
        )

    words = (
        f"Lines: the headroom of the tightest limit of {launch.name}, where one guess is off by half to twice itself"
    )
    return picture(draw, words).markdown


def count(figure: float) -> str:
    """A number for people: whole from a hundred on, else with a digit after the point where it has one."""
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:,.1f}".removesuffix(".0")
