"""When an asset's prefixes are worth caching: by today's prices, and by how often its own past found a cache filled."""

from dataclasses import replace

from offpeak.ledger import usage
from offpeak.ledger.ledger import Ledger
from offpeak.money import ModelRates
from offpeak.money.caching import Hits, learned, terms
from offpeak.providers.base import CacheTerms, Kind, Provider


def cache_terms(ledger: Ledger, provider: Provider, rates: ModelRates, *, asset: str, model: str) -> CacheTerms:
    """The terms at `model`, which is named without its provider; what was bought from another one tells nothing."""
    told, least = provider.caches_what_it_is_told, rates.cache_minimum_tokens or 0
    assumed = terms(rates.batch, Hits(), when_told=told)
    if not assumed.charged or assumed.fewest is None:
        return _from(least, assumed)
    used = usage.past(ledger, asset=asset, model=model, kind=Kind.CHAT, elsewhere=False)
    touched = [each for each in used if each.cached_tokens or each.cache_write_tokens]
    hits = learned(
        read=sum(each.cached_tokens for each in touched),
        written=sum(each.cache_write_tokens for each in touched),
        touched=len(touched),
    )
    return _from(least, terms(rates.batch, hits, when_told=told))


def _from(least: int, found: CacheTerms) -> CacheTerms:
    """The same for prefixes of so many tokens at least."""
    if not least or found.fewest is None:
        return found
    return replace(found, least_tokens=least, why=f"{found.why}, and the cache takes them from {least:,} tokens on")
