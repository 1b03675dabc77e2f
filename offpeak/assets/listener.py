"""Telling Dagster of a changed source asset as soon as its source tells of it.

A listener holds no state of its own. When it begins, and whenever it has lost a source and found it again, it asks each
table what has changed since the version that Dagster observed last; so nothing is missed that happened meanwhile, and
nothing is told twice. In between it asks a source nothing until that tells of a change.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import dagster as dg
from tenacity import RetryCallState, Retrying, wait_random_exponential
from tenacity.nap import sleep_using_event

from offpeak.assets.heartbeat import BEAT, Heartbeat
from offpeak.assets.observing import Observed, in_one_line, observable
from offpeak.clock import Clock
from offpeak.errors import ConfigurationError, CouldNotRead, NotFound, OffpeakError
from offpeak.sources.database import SourceDatabase
from offpeak.sources.folder import SourceFolder
from offpeak.sources.listening import TURN, Changes, Pending, changes_of, tells_of
from offpeak.sources.tables import SourceTables, table_of

QUIET = timedelta(seconds=2)
LONGEST = timedelta(seconds=60)
AGAIN = timedelta(seconds=10)
"""A source that is out of reach is tried again at intervals that grow to this."""


class Event(StrEnum):
    LISTENING = "listening"
    CHANGED = "changed"
    LEFT_OUT = "left_out"
    AWAY = "away"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One line of what a listener has to say."""

    at: datetime
    event: Event
    source: str
    """Its address, without a password."""
    assets: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """What every source's listener needs."""

    instance: dg.DagsterInstance
    clock: Clock
    say: Callable[[Told], None]
    stop: threading.Event
    quiet: timedelta = QUIET
    longest: timedelta = LONGEST


@contextmanager
def listened_sources(defs: dg.Definitions, instance: dg.DagsterInstance) -> Iterator[list[list[Observed]]]:
    """The project's source assets that can be listened to, those of one address together.

    Raises NotFound where there are none, and ConfigurationError where nothing says where their tables are.
    """
    resources = defs.resources or {}
    names = observable(defs.resolve_asset_graph().assets_defs, resources)
    found: dict[object, list[Observed]] = {}
    with dg.build_resources({name: resources[name] for name in names.values()}, instance=instance) as built:
        for key, name in sorted(names.items()):
            manager = getattr(built, name)
            if isinstance(manager, SourceTables):
                found.setdefault(_address(manager.source()), []).append(Observed(key, manager))
        if not found:
            raise NotFound(
                "The project has no source asset that can be listened to: an observable source asset whose IO manager "
                "is offpeak.SourceTables. Nothing was started."
            )
        yield list(found.values())


def _address(source: SourceDatabase | SourceFolder) -> object:
    return source.url if isinstance(source, SourceDatabase) else source.path


def listen(sources: Iterable[Sequence[Observed]], listening: Listening) -> None:
    """Listen until `stop` is set, to each source in a thread of its own: one that hangs does not hold up the others.

    Where no source tells of changes it waits all the same: the sensor does the work, and whoever started this program
    beside others need not know what kind of source there is.
    """
    listeners = [SourceListener(each, listening) for each in sources]
    threads = [threading.Thread(target=each.run, name=each.name, daemon=True) for each in listeners]
    for thread in threads:
        thread.start()
    try:
        while not listening.stop.wait(0.5):
            for each, thread in zip(listeners, threads, strict=True):
                if not thread.is_alive() and not each.given_up:
                    raise OffpeakError(f"The listener to {each.name} broke down; what was printed above says why.")
    finally:
        listening.stop.set()
        for thread in threads:
            thread.join(timeout=1)  # one that waits for an answer of its source ends with the process
        with suppress(Exception):  # a heartbeat that cannot be taken back is old soon
            for each in listeners:
                each.end()


class SourceListener:
    """Listens to one address."""

    def __init__(self, sources: Sequence[Observed], listening: Listening) -> None:
        manager = sources[0].manager
        assert isinstance(manager, SourceTables)  # noqa: S101 - listened_sources has no others
        self._source = manager.source()
        self.name = str(self._source)
        self._tables: dict[str, list[Observed]] = {}
        for each in sources:
            self._tables.setdefault(table_of(each.key), []).append(each)
        self._all = [each.key for each in sources]
        self._listening = listening
        self._heartbeat = Heartbeat(listening.instance, listening.clock)
        self._looked_after: set[dg.AssetKey] = set()
        self._pending = Pending(quiet=listening.quiet, longest=listening.longest)
        self._said_last: dict[object, str] = {}
        self.given_up = False
        """Whether the source turned out to be one that tells of no changes."""

    def run(self) -> None:
        """Until `stop` is set, or it gives up."""
        stop = self._listening.stop
        attempts = Retrying(
            wait=wait_random_exponential(multiplier=0.5, max=AGAIN.total_seconds()),
            sleep=sleep_using_event(stop),
            retry=lambda state: not stop.is_set() and self._is_to_be_tried_again(state),
        )
        while not stop.is_set():
            try:
                with closing(attempts(self._begin)) as changes:
                    self._follow(changes)
            except ConfigurationError as error:
                self._say(Event.LEFT_OUT, self._all, f"{in_one_line(error)}.")
                self.given_up = True
                return
            except Exception as error:  # noqa: BLE001 - of whatever kind: the source, or Dagster's storage, is away
                self._away(error)
                stop.wait(TURN.total_seconds())

    def end(self) -> None:
        """Leave the assets to the sensor."""
        self._heartbeat.end(self._all)

    def _is_to_be_tried_again(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome is not None else None
        if error is None or isinstance(error, ConfigurationError):
            return False
        self._away(error)
        return True

    def _away(self, error: BaseException) -> None:
        if self._listening.stop.is_set():
            return
        self._looked_after.clear()
        self._say(Event.AWAY, self._all, f"{in_one_line(error)}. It is tried again.", about="away")

    def _begin(self) -> Changes:
        """Listen, and tell of what has changed while nobody did."""
        if (other := self._heartbeat.another(self._all)) is not None:
            raise CouldNotRead(f"{self._source} is listened to by {other}, so this one stands by")
        changes = changes_of(self._source, self._tables, stop=self._listening.stop)
        next(changes)
        # before the first look, so that the sensor does not tell of the same change
        self._looked_after = set(self._all)
        self._heartbeat.beat(self._all)
        for table in self._tables:
            self._look(table)
        if self._looked_after:
            names = ", ".join(sorted(key.to_user_string() for key in self._looked_after))
            self._say(Event.LISTENING, self._looked_after, f"listening to {self._source} for {names}")
        self._said_last.pop("away", None)
        return changes

    def _follow(self, changes: Changes) -> None:
        next_beat = time.monotonic()
        for tables in changes:
            now = time.monotonic()
            for table in tables:
                self._pending.changed(table, now)
            for table in self._pending.due(now):
                self._look(table)
            if now >= next_beat:
                next_beat = now + BEAT.total_seconds()
                if (other := self._heartbeat.another(self._all)) is not None:
                    raise CouldNotRead(f"{self._source} is listened to by {other}, so this one stands by")
                self._heartbeat.beat(self._looked_after)

    def _look(self, table: str) -> None:
        """Tell Dagster of the table's new version, if it has one."""
        for asset in self._tables[table]:
            name = asset.key.to_user_string()
            try:
                if not tells_of(self._source, table):
                    raise ConfigurationError(
                        f"{self._source} does not notify of its changes, or may miss some. Run `offpeak sources watch "
                        f"{table}`; until then the sensor offpeak_sources looks at it"
                    )
                version = asset.new_version(self._listening.instance)
            except (ConfigurationError, CouldNotRead) as error:
                self._leave_out(asset.key, f"{name} is left out: {in_one_line(error)}.")
                if isinstance(error, CouldNotRead):
                    self._pending.changed(table, time.monotonic() + AGAIN.total_seconds())
                continue
            if asset.key not in self._looked_after:
                self._looked_after.add(asset.key)
                self._heartbeat.beat([asset.key])
                self._say(Event.LISTENING, [asset.key], f"listening to {self._source} for {name}")
            self._said_last.pop(asset.key, None)
            if version is not None:
                self._listening.instance.report_runless_asset_event(asset.observation(version))
                self._say(Event.CHANGED, [asset.key], f"{name} has changed: data version {version}")

    def _leave_out(self, key: dg.AssetKey, text: str) -> None:
        """Leave an asset to the sensor."""
        self._looked_after.discard(key)
        self._heartbeat.end([key])
        self._say(Event.LEFT_OUT, [key], text, about=key)

    def _say(self, event: Event, keys: Iterable[dg.AssetKey], text: str, *, about: object = None) -> None:
        """What was said last `about` something is not said again."""
        if about is not None and self._said_last.get(about) == text:
            return
        assets = tuple(sorted(key.to_user_string() for key in keys))
        at = self._listening.clock.now()
        self._listening.say(Told(at=at, event=event, source=str(self._source), assets=assets, text=text))
        if about is not None:
            self._said_last[about] = text
