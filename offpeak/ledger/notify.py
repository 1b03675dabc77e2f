"""What people can be told of a batch asset, and whom its author wants to be told of what: `notify=`."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from offpeak.errors import DefinitionError, did_you_mean


class NoticeKind(StrEnum):
    """What somebody is told of."""

    LANDED = "landed"
    """Rows have landed: for whoever asked and walked away."""
    PARTIAL_FAILURE = "partial_failure"
    """Rows have landed, and some have no usable answer of their own."""
    FAILED = "failed"
    """A job ended without the answers that its asset needs: it failed, expired, or was refused by the provider."""
    STUCK = "stuck"
    """A job makes no progress, or nobody is left to collect it."""
    HELD = "held"
    """Nothing more is bought until a person decides: the surge guard holds a job, or a sample waits for approval."""
    DEADLINE_ENDANGERED = "deadline_endangered"
    """A deadline that is still to come will probably be missed."""
    DEADLINE_MISSED = "deadline_missed"
    CONTRACT_BREACH = "contract_breach"
    """Rows are older than their contract promises."""
    RESCUE = "rescue"
    """Batches would not have made the deadline: what they leave is bought at realtime price, or perhaps paid twice."""
    QUEUE_FULL = "queue_full"
    """A full queue made its asset do without rows, or with those of a cheaper model."""
    BUDGET = "budget"
    """A plan would cost more than a budget has left: its job is held, or its run was refused."""


NEEDS_A_PERSON = frozenset(NoticeKind) - {NoticeKind.LANDED}
"""What is told where nothing else is chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Whom to tell of what. Give it as `notify=`, or several of them in a list.

    `to` names destinations of the resource `notifier`: one, or several. `on` are the kinds that they are told of, by
    default all but `landed`.
    """

    to: str | Sequence[str]
    on: Collection[NoticeKind | str] = NEEDS_A_PERSON


@dataclass(frozen=True, slots=True)
class Routes:
    """`notify=` as it was checked: which destinations are told of each kind."""

    to: tuple[tuple[NoticeKind, tuple[str, ...]], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.to)

    def of(self, kind: NoticeKind) -> tuple[str, ...]:
        return dict(self.to).get(kind, ())

    @property
    def destinations(self) -> set[str]:
        return {name for _, names in self.to for name in names}


NOBODY = Routes()
"""What an asset has that says nothing of notices."""


def declared_routes(asset: str, given: object) -> Routes:
    """`notify=` as routes: None, the name of a destination, a Notify, or a list of these.

    Raises DefinitionError, naming the asset and the field.
    """
    several: Iterable[object] = given if isinstance(given, list | tuple) else [] if given is None else [given]
    found: dict[NoticeKind, list[str]] = {}
    for each in several:
        notify = Notify(to=each) if isinstance(each, str) else each
        if not isinstance(notify, Notify):
            raise DefinitionError(
                f'{asset}: notify={each!r} tells nobody. Name a destination of the resource "notifier" '
                '(notify="support"), or give a Notify: notify=Notify(to="support", on={"landed"}).'
            )
        names, kinds = _names(asset, notify), _kinds(asset, notify)
        for kind in kinds:
            found.setdefault(kind, []).extend(name for name in names if name not in found.get(kind, ()))
    if given is not None and not found:
        raise DefinitionError(f"{asset}: notify={given!r} is empty, so nobody is told. Leave it out, or name somebody.")
    return Routes(tuple((kind, tuple(found[kind])) for kind in NoticeKind if kind in found))


def _names(asset: str, notify: Notify) -> list[str]:
    names = [notify.to] if isinstance(notify.to, str) else list(notify.to)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise DefinitionError(
            f'{asset}: notify: to={notify.to!r} names no destination. Name one of the resource "notifier", or several '
            'in a list: Notify(to=["support"]).'
        )
    return names


def _kinds(asset: str, notify: Notify) -> list[NoticeKind]:
    given = [notify.on] if isinstance(notify.on, str) else list(notify.on)
    if not given:
        raise DefinitionError(
            f"{asset}: notify: on={notify.on!r} is empty, so nobody is told of anything. Leave it out to be told of "
            f"what needs a person, or choose of {', '.join(NoticeKind)}."
        )
    known = set(NoticeKind)
    for kind in given:
        if kind not in known:
            hint = did_you_mean(str(kind), map(str, NoticeKind), nothing="")
            raise DefinitionError(f"{asset}: notify: on={kind!r} is nothing that can be told. {hint}")
    return [NoticeKind(kind) for kind in given]
