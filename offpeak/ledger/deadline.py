"""What an asset wants done when its deadline comes and batches are still on their way: `on_deadline=`."""

from enum import StrEnum

from offpeak.errors import DefinitionError


class OnDeadline(StrEnum):
    """What is done about a deadline that a batch may not make."""

    RESCUE = "rescue"
    """At the last safe moment what is still open is cancelled, and the rest bought at realtime price."""
    SERVE_LAST_GOOD = "serve_last_good"
    """At the deadline the asset is materialised with what has landed; the other rows keep the answers from before."""
    FAIL = "fail"
    """At the deadline the run fails; what is on its way is kept for the next one."""


class OnUnresolved(StrEnum):
    """What is done where nobody can know in time whether something was bought."""

    WAIT = "wait"
    """Nothing is bought twice; the deadline may be missed, and that is told."""
    PAY_TWICE = "pay_twice"
    """It is bought again, within a budget and on record."""


def declared_on_deadline(asset: str, given: object) -> OnDeadline:
    """`on_deadline=` as it is meant. Raises DefinitionError, naming the asset and the field."""
    if given not in set(OnDeadline):
        raise DefinitionError(
            f"{asset}: on_deadline={given!r} is none of {_quoted(OnDeadline)}. "
            '"rescue" (the default) buys what is late at realtime price, in time; "serve_last_good" materialises what '
            'has landed by then; "fail" fails the run.'
        )
    return OnDeadline(str(given))


def declared_on_unresolved(asset: str, given: object) -> OnUnresolved:
    """`on_unresolved=` as it is meant. Raises DefinitionError, naming the asset and the field."""
    if given not in set(OnUnresolved):
        raise DefinitionError(
            f"{asset}: on_unresolved={given!r} is none of {_quoted(OnUnresolved)}. "
            '"wait" (the default) never buys twice and may be late; "pay_twice" may, within its budget.'
        )
    return OnUnresolved(str(given))


def _quoted(names: type[StrEnum]) -> str:
    *rest, last = (f'"{each.value}"' for each in names)
    return f"{', '.join(rest)} and {last}" if rest else last
