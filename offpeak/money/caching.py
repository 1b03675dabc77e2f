"""When caching a prefix costs less than reading it as plain input.

Of n requests that share a prefix the first has to write it. Of the others a share H finds it in the cache: in a batch
they run at any time and on any machine, so that it is never all of them. The rest write it again. Per token of the
prefix, caching is worth it where

    s x (input - read) > (1 - s) x (write - input),  with s = (n - 1) / n x H
"""

from dataclasses import dataclass
from fractions import Fraction
from math import floor

from offpeak.money.rates import Tariff
from offpeak.providers.base import CacheTerms

ASSUMED_SHARE = Fraction(64, 100)
"""H of an asset that has no past: the middle of the 30% to 98% that Anthropic's guide to batches names."""

ENOUGH_TOUCHED = 20
"""Past requests that read from or wrote to a cache; fewer do not tell their share of hits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """How often a cache is found filled."""

    share: Fraction = ASSUMED_SHARE
    """Of the tokens that were read from a cache or written to it, those that were read."""
    requests: int = 0
    """Past requests that say so; 0: it is assumed."""

    def __str__(self) -> str:
        source = f"as in {self.requests:,} past requests" if self.requests else "as long as the past tells nothing"
        return f"{float(self.share):.0%} of cached text being read, {source}"


def learned(*, read: int, written: int, touched: int) -> Hits:
    """What `touched` past requests say that together read and wrote so many tokens of a cache."""
    if touched < ENOUGH_TOUCHED or not read + written:
        return Hits()
    return Hits(share=Fraction(read, read + written), requests=touched)


def fewest(*, plain: int, read: int, write: int, share: Fraction) -> int | None:
    """The fewest requests that have to share a prefix; None where caching is worth it for no number of them.

    `plain`, `read` and `write` are what a token costs as input, read from the cache and written to it.
    """
    if read >= plain:
        return None
    if write <= plain:
        return 2
    least = Fraction(write - plain, write - read)  # s has to be more than this
    return None if share <= least else max(floor(share / (share - least)) + 1, 2)


def terms(tariff: Tariff, hits: Hits, *, when_told: bool) -> CacheTerms:
    """When caching is worth it at a model with that tariff.

    `when_told` says that the provider caches only what it is told to, for the longer of its times to live
    (`Provider.caches_what_it_is_told`).
    """
    rates, name = tariff.base, "cache_write_1h" if when_told else "cache_write"
    plain, read, write = rates.input, rates.cache_read, getattr(rates, name)
    charged = when_told or (name in tariff.named and write > plain)
    if "cache_read" not in tariff.named or (when_told and name not in tariff.named):
        return CacheTerms(charged=charged, why="no price of this model's cache is known")
    if read >= plain:
        return CacheTerms(charged=charged, why="reading from the cache costs as much as input")
    if not charged:
        return CacheTerms(
            fewest=2, why=f"a read costs {_times(read, plain)} as much as input, and a write nothing extra"
        )
    found = fewest(plain=plain, read=read, write=write, share=hits.share)
    prices = f"a write costs {_times(write, plain)} as much as input, a read {_times(read, plain)}"
    if found is None:
        least = float(Fraction(write - plain, write - read))
        return CacheTerms(charged=True, why=f"{prices}; with {hits}, that never pays, it takes more than {least:.0%}")
    return CacheTerms(
        charged=True, fewest=found, why=f"{prices}; with {hits}, that pays from {found} requests of one prefix on"
    )


def _times(price: int, plain: int) -> str:
    return f"{price / plain:.4g} times"
