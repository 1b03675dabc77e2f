"""The prompt cache of both providers: beginnings of prompts that were read lately need not be read in full again.

It is best effort, as theirs is: `cache_hit_share` says how much of what could be found is found. Which requests miss
follows from the request alone, so that the same one always does.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

from local_provider.clock import Clock
from local_provider.replies import digest_of
from local_provider.settings import Settings
from local_provider.tokens import NOT_CACHED, Cached

MOST = 10_000
"""Beginnings that are kept; of more, those that were not used for longest go."""
LONG_SECONDS = 3_600
"""What is kept for so long costs more to write: an hour at Anthropic, twelve at OpenAI."""


class Place(NamedTuple):
    """An end of a prompt's beginning."""

    key: bytes
    tokens: int
    """From the prompt's start."""
    life: int | None
    """The seconds for which the beginning is to be kept after each use; None: it is only looked for."""


class _Kept(NamedTuple):
    until: float
    life: int


class PromptCache:
    """Beginnings of prompts, by what identifies them. Thread-safe."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()

    def use(self, places: Sequence[Place], request: Any) -> Cached:
        """Read the longest beginning that is there, and keep the longer ones. `places` ascend."""
        if not places:
            return NOT_CACHED
        missed = self._misses(request)
        now = self._clock.now()
        with self._lock:
            hit = -1 if missed else self._longest(places, now)
            # From the longest to the shortest: what more prompts begin with goes last.
            for number in range(len(places) - 1, -1, -1):
                self._keep(places[number], now, read=number <= hit)
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)
        return _used(places, hit)

    def _misses(self, request: Any) -> bool:
        share = self.settings.cache_hit_share
        return share < 1 and int.from_bytes(digest_of(request)[8:], "big") / 2**64 >= share

    def _longest(self, places: Sequence[Place], now: float) -> int:
        """The number of the last place that is there; -1 for none."""
        for number in range(len(places) - 1, -1, -1):
            kept = self._kept.get(places[number].key)
            if kept is not None and kept.until > now:
                return number
        return -1

    def _keep(self, place: Place, now: float, *, read: bool) -> None:
        """Keep a beginning; one that was `read` lives on for as long as it was kept for, if it is still there."""
        life = place.life
        if read:
            kept = self._kept.get(place.key)
            life = kept.life if kept is not None and kept.until > now else None
        if life is not None:
            self._kept[place.key] = _Kept(now + life, life)
            self._kept.move_to_end(place.key)


def _used(places: Sequence[Place], hit: int) -> Cached:
    """The tokens up to the place that was hit, and from there to the last one that is kept."""
    read = upto = places[hit].tokens if hit >= 0 else 0
    long = 0
    for place in places[hit + 1 :]:
        if place.life is not None:
            long += place.tokens - upto if place.life >= LONG_SECONDS else 0
            upto = place.tokens
    return Cached(read, upto - read, long)
