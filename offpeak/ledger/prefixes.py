"""Prefixes of a plan: requests that share one stand together, and enough of them have the provider cache it.

Requests are looked at a block at a time. One prefix is shared within a scope only: what another tenant began with is
nothing to go by.
"""

from collections.abc import Sequence

from offpeak.providers.base import CacheTerms, CacheUse
from offpeak.requests import Chat, Request

Fresh = tuple[Request, bytes]
"""A new request and its fingerprint."""

_Prefix = tuple[str | None, str]
"""Scope and text."""

_REMEMBERED = 1_024

FEWEST_BYTES = 2
"""Of text, a token: fewer are rare in any language (`queueing.BYTES_PER_TOKEN` are usual). What may be long enough for
the cache is not taken for too short."""


class Prefixes:
    """Those of one plan. It remembers the newest that it had cached, so that memory does not grow with rows."""

    def __init__(self) -> None:
        self.requests = 0
        """New requests that have a prefix."""
        self.cached = 0
        """Those of them whose prefix is cached."""
        self._cached: set[_Prefix] = set()

    def arranged(self, fresh: Sequence[Fresh], terms: CacheTerms) -> tuple[Sequence[Fresh], Sequence[CacheUse] | None]:
        """The block in the order in which it is bought, and what becomes of each prefix; None where there is none.

        Equal prefixes follow one another, in the order in which each was first seen.
        """
        groups: dict[_Prefix | None, list[Fresh]] = {}
        for each in fresh:
            groups.setdefault(_prefix_of(each[0]), []).append(each)
        if groups.keys() <= {None}:
            return fresh, None
        uses: list[CacheUse] = []
        for prefix, sharing in groups.items():
            use = CacheUse.NONE if prefix is None else self._use(prefix, len(sharing), terms)
            uses += [use] * len(sharing)
        return [each for sharing in groups.values() for each in sharing], uses

    def _use(self, prefix: _Prefix, requests: int, terms: CacheTerms) -> CacheUse:
        """What becomes of a prefix that so many requests of a block share; one cached before is cached on."""
        self.requests += requests
        if len(prefix[1].encode()) < FEWEST_BYTES * terms.least_tokens:
            return CacheUse.NONE
        if terms.fewest is None or (requests < terms.fewest and prefix not in self._cached):
            return CacheUse.NONE
        if len(self._cached) >= _REMEMBERED:
            self._cached.clear()
        self._cached.add(prefix)
        self.cached += requests
        return terms.use


def _prefix_of(request: Request) -> _Prefix | None:
    if isinstance(request, Chat) and request.prefix is not None:
        return request.scope, request.prefix
    return None
