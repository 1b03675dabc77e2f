"""How a job runs, judged by when its calls come: on a schedule, at an interval, in a loop, or as people ask.

The surest sign is asked first, and the first that holds decides:

1. A steady interval around the clock is POLLING. It comes before schedules, because what polls every half hour also
   starts at the same two minutes of every hour.
2. Runs at the same minute of the hour, day or week are a SCHEDULE, whatever goes on within them: it says that nobody
   sits there and waits. A steady interval that keeps hours is one, too.
3. Fewer calls than `FEWEST_CALLS` say nothing more: UNCLEAR.
4. Several long runs at no regular times, begun within the working day, are PLEASE_WAIT. This comes before the loops,
   because it is what the same loop becomes when somebody starts it time and again.
5. Runs of very many calls are a LOOP, and those of fewer calls one after the other are SERIAL. Calls of the last three
   come evenly, because a program waits for an answer before it goes on; people do not wait for each other.
6. What comes unevenly, by day and over days, is PEOPLE.
7. Anything else is UNCLEAR, with what speaks against the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from statistics import median

from offpeak.audit.usage.activity import Activity, Run
from offpeak.audit.usage.intervals import steady_interval
from offpeak.audit.usage.schedules import schedule
from offpeak.clock import in_words


class Pattern(StrEnum):
    """How a job runs."""

    SCHEDULE = "schedule"
    """Started by a clock: its runs begin at the same minute of the hour, the day or the week."""
    POLLING = "polling"
    """A few calls at a steady interval, nights and weekends too: a program that looks whether there is anything."""
    LOOP = "loop"
    """Very many calls in a burst, at once or faster than anybody reads: a backfill, a labelling, an evaluation."""
    SERIAL = "serial"
    """One call after the other for a long time: a loop with a progress bar."""
    PLEASE_WAIT = "please_wait"
    """Long runs at irregular times of the working day: somebody started each and waits for it, or comes back."""
    PEOPLE = "people"
    """Irregular, by day, never many at once: each call has somebody who waits for it. It belongs where it is."""
    UNCLEAR = "unclear"
    """Too few calls to say, or calls that fit none of the others."""


FEWEST_CALLS = 50
"""A few dozen calls fit every pattern but a schedule, which is known by its times."""

FEW_EACH_TIME = 20
"""Calls that a program makes each time it looks. With more there is work to do each time: a schedule."""

AROUND_THE_CLOCK = 20
"""Hours of the day in which a poller is seen. Four may be missing: a maintenance window, a backup."""

SHORTEST_OWN_INTERVAL = 5
"""Minutes. Shorter steady pauses that keep hours may as well be slow calls one after the other."""

WORKING_DAY = range(6, 20)
"""Hours in which somebody starts a thing and waits for it; early birds and late shifts included."""

NIGHT = range(6)
"""Hours in which people sleep, in the zone that was asked for."""

MOST_AT_NIGHT = 0.1
"""Of people's calls. Spread evenly, a quarter of all calls would be at night."""

EVEN = 0.7
"""How uneven a program's calls are at most, where independent calls have 1 (see `Activity.unevenness`). Without
durations it is the square of how far those scatter around their mean: two thirds of it, which is common, are 0.45."""

STEADY = 0.2
"""How uneven calls at an interval are at most where its pauses are too short to be seen."""

HALF_THE_TIME = 0.5
"""Mean calls in flight from which on slow calls are taken for a program's: people think about an answer for longer than
it took to come."""

LONG_WAIT = timedelta(minutes=15)
"""A run that somebody waits for with a "please wait": shorter ones are watched to the end."""

WAIT_CALLS = 20
"""Of such a run; with fewer, it may be one long conversation."""

SEVERAL = 3
"""Runs that make a habit."""

MOST = 0.75
"""Of the calls, those that the runs which make a pattern have to hold: the rest were tries."""

FEW_IN_FLIGHT = 5
"""Calls at once in a "please wait": more is a program that was made fast, and is judged as a loop."""

MANY_CALLS = 500
"""Calls of a burst. At ten seconds each, somebody who asked them one by one would sit there for an hour and a half."""

VERY_MANY_CALLS = 5_000
"""Calls of a burst that is a loop also where they come one after the other."""

FASTER_THAN_PEOPLE = 15
"""Calls a minute: one every four seconds, in which nobody can ask and read an answer. Of a program, fewer will do."""

PEOPLES_PACE = 10
"""Calls a minute that people make in less than an office day: more is a program that somebody started."""

LONGEST_BURST = timedelta(hours=24)
"""What goes on for longer is no burst, but a service."""

ONE_AFTER_THE_OTHER = (0.8, 1.2)
"""Mean calls in flight of a loop that waits for each answer: a little of its time goes to other things, and clocks of
callers and gateways differ a little."""

LONG_STRETCH = timedelta(minutes=10)
"""A serial run: long enough for a progress bar to be worth writing."""

OFFICE_HOURS = timedelta(hours=4)
"""A run by day that goes on for longer may be a busy office, whose first call comes at the same minute every morning:
its calls have to come as evenly as a program's to be a schedule."""

SHORTEST_OFFICE = timedelta(hours=1)
"""Of a burst. A longer one may be many people at once, unless its calls come as evenly as a program's."""

PEOPLES_DAYS = 3
"""Days on which people come back, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A pattern, how often where there is a rhythm, and the figures that say so."""

    pattern: Pattern
    why: str
    cadence: str = ""


def judge(found: Activity, zone: tzinfo) -> Judgement:
    """How a job runs. Times are told on the clock of `zone`."""
    return (
        _at_an_interval(found, zone)
        or _on_schedule(found, zone)
        or _too_few(found)
        or _with_somebody_waiting(found, zone)
        or _in_bursts(found)
        or _one_by_one(found)
        or _as_people_ask(found, zone)
        or _unclear(found)
    )


def _at_an_interval(found: Activity, zone: tzinfo) -> Judgement | None:
    interval = steady_interval(found.beats)
    if interval is None:
        return _without_a_pause(found)
    if interval.calls > FEW_EACH_TIME:
        return None
    hours = sum(1 for calls in found.hours if calls)
    fits = (
        f"{interval.share:.0%} of the pauses between {interval.beats:,} times fit an interval of {interval.words[6:]}"
    )
    if hours >= AROUND_THE_CLOCK and len(found.dates) > 1:
        weekends = ", weekends too" if any(day.weekday() >= 5 for day in found.dates) else ""
        why = f"{fits}, in {hours} of the 24 hours{weekends}, the median of calls each time being {interval.calls:g}."
        return Judgement(pattern=Pattern.POLLING, cadence=interval.words, why=why)
    if interval.minutes >= SHORTEST_OWN_INTERVAL and len(found.dates) >= SEVERAL:
        why = f"{fits}, on {len(found.dates)} days, in {hours} of the 24 hours ({zone})."
        return Judgement(pattern=Pattern.SCHEDULE, cadence=interval.words, why=why)
    return None


def _without_a_pause(found: Activity) -> Judgement | None:
    """What looks more often than every half minute leaves no pause that could be seen."""
    longest = max(found.runs, key=lambda run: run.length)
    is_steady = found.unevenness is not None and found.unevenness <= STEADY
    is_idle = found.concurrency is None or found.concurrency <= HALF_THE_TIME
    if longest.length <= LONGEST_BURST or not is_steady or not is_idle or longest.per_minute > FEW_EACH_TIME:
        return None
    seconds = round(60 / longest.per_minute)
    why = f"For {in_words(longest.length)} a call came about every {seconds} seconds, evenly and around the clock."
    return Judgement(pattern=Pattern.POLLING, cadence=f"every {seconds} seconds", why=why)


def _on_schedule(found: Activity, zone: tzinfo) -> Judgement | None:
    times = schedule(found.runs, zone)
    if times is None or (_may_be_an_office(found, zone) and not _is_a_program(found)):
        return None
    typical = in_words(timedelta(seconds=median(run.length.total_seconds() for run in found.runs)))
    why = f"{times.runs} of {times.of} runs start {times.cadence}, on {times.days} days; the median takes {typical}."
    return Judgement(pattern=Pattern.SCHEDULE, cadence=times.cadence, why=why)


def _too_few(found: Activity) -> Judgement | None:
    if found.calls >= FEWEST_CALLS:
        return None
    why = f"{found.calls} calls in {_runs(found.runs)} are too few to say how it runs."
    return Judgement(pattern=Pattern.UNCLEAR, why=why)


def _with_somebody_waiting(found: Activity, zone: tzinfo) -> Judgement | None:
    long = [run for run in found.runs if run.length >= LONG_WAIT and run.calls >= WAIT_CALLS]
    by_day = [run for run in long if _hour(run, zone) in WORKING_DAY]
    few_at_once = found.concurrency is None or found.concurrency <= FEW_IN_FLIGHT
    if len(long) < SEVERAL or len(by_day) < MOST * len(long) or not few_at_once:
        return None
    if not _hold_most(long, found) or not _is_a_program(found):
        return None
    why = (
        f"{_runs(long)} of about {round(median(run.calls for run in long)):,} calls and {_typical(long)} each start "
        f"at no regular time of the working day ({zone}){_in_flight(found)}."
    )
    return Judgement(pattern=Pattern.PLEASE_WAIT, why=why)


def _in_bursts(found: Activity) -> Judgement | None:
    is_program = _is_a_program(found)
    many = [run for run in found.runs if run.calls >= MANY_CALLS]
    bursts = [run for run in many if is_program or run.per_minute >= FASTER_THAN_PEOPLE]
    if not bursts or not _hold_most(bursts, found) or found.longest > LONGEST_BURST:
        return None
    largest = max(bursts, key=lambda run: run.calls)
    serial = found.concurrency is not None and found.concurrency <= ONE_AFTER_THE_OTHER[1]
    if serial and largest.calls < VERY_MANY_CALLS:
        return None
    if largest.length > SHORTEST_OFFICE and not is_program:
        return None
    why = (
        f"{_share(bursts, found):.0%} of the calls are in {_runs(bursts)}; the largest made {largest.calls:,} in "
        f"{in_words(largest.length)}, {largest.per_minute:.0f} a minute{_in_flight(found)}."
    )
    return Judgement(pattern=Pattern.LOOP, why=why)


def _one_by_one(found: Activity) -> Judgement | None:
    least, most = ONE_AFTER_THE_OTHER
    stretches = [run for run in found.runs if run.length >= LONG_STRETCH]
    if found.concurrency is None or not least <= found.concurrency <= most or found.longest > LONGEST_BURST:
        return None
    if not stretches or not _hold_most(stretches, found) or not _is_a_program(found):
        return None
    why = (
        f"In {_runs(stretches)} of up to {in_words(found.longest)} each call begins when the one before is answered"
        f"{_in_flight(found)}."
    )
    return Judgement(pattern=Pattern.SERIAL, why=why)


def _as_people_ask(found: Activity, zone: tzinfo) -> Judgement | None:
    at_night = sum(found.hours[hour] for hour in NIGHT) / found.calls
    bursts = [run for run in found.runs if run.per_minute > PEOPLES_PACE and run.length < OFFICE_HOURS]
    is_even = found.unevenness is not None and found.unevenness <= EVEN
    if at_night > MOST_AT_NIGHT or len(found.dates) < PEOPLES_DAYS or _hold_most(bursts, found) or is_even:
        return None
    hours = [hour for hour, calls in enumerate(found.hours) if calls > found.calls / 100]
    why = (
        f"{found.calls:,} calls in {_runs(found.runs)} on {len(found.dates)} days begin at no regular time, "
        f"{1 - at_night:.0%} of them outside the night, mostly {min(hours):02}:00 to {max(hours) + 1:02}:00 ({zone})."
    )
    return Judgement(pattern=Pattern.PEOPLE, why=why)


def _unclear(found: Activity) -> Judgement:
    why = (
        f"{found.calls:,} calls in {_runs(found.runs)} on {len(found.dates)} days, the longest of "
        f"{in_words(found.longest)}, come at no regular time and in no stretch "
        f"that tells a program from people{_in_flight(found)}."
    )
    return Judgement(pattern=Pattern.UNCLEAR, why=why)


def _may_be_an_office(found: Activity, zone: tzinfo) -> bool:
    long = [run for run in found.runs if run.length > OFFICE_HOURS and _hour(run, zone) in WORKING_DAY]
    return bool(long) and _hold_most(long, found)


def _is_a_program(found: Activity) -> bool:
    """Whether calls come as a program makes them in a run of some length: evenly, or, where they are too few to say, so
    that some call is in flight for half of the time."""
    if found.unevenness is None:
        return found.concurrency is not None and found.concurrency >= HALF_THE_TIME
    return found.unevenness <= EVEN


def _hour(run: Run, zone: tzinfo) -> int:
    return datetime.fromtimestamp(run.start / 1_000, UTC).astimezone(zone).hour


def _share(runs: Sequence[Run], found: Activity) -> float:
    return sum(run.calls for run in runs) / found.calls


def _hold_most(runs: Sequence[Run], found: Activity) -> bool:
    return _share(runs, found) >= MOST


def _runs(runs: Sequence[Run]) -> str:
    return f"{len(runs):,} run{'' if len(runs) == 1 else 's'}"


def _typical(runs: Sequence[Run]) -> str:
    return in_words(timedelta(seconds=median(run.length.total_seconds() for run in runs)))


def _in_flight(found: Activity) -> str:
    return "" if found.concurrency is None else f", with {found.concurrency:.1f} calls in flight"
