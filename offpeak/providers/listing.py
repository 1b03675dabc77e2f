"""Reading the lists of a provider to their end: what is missed there could be bought twice.

No order is relied on beyond custom, and no filter is: neither provider can filter its batches by anything of ours.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from offpeak.clock import EPOCH
from offpeak.providers.base import BatchView


def pages(page_after: Callable[[str | None], dict[str, Any]], *, size: int) -> Iterator[list[dict[str, Any]]]:
    """The objects of a cursor-paged list, page by page, each object once.

    `page_after` fetches the page after an id, or the first one. Ends on `has_more: false`, where nothing is said on a
    page shorter than `size`, and on a page without anything new: some gateways ignore the cursor.
    """
    seen: set[object] = set()
    last: str | None = None
    while True:
        page = page_after(last)
        items = [item for item in page.get("data") or () if isinstance(item, dict)]
        fresh = [item for item in items if item.get("id") not in seen]
        if not fresh:
            return
        yield fresh
        more = page.get("has_more")
        if not (len(items) >= size if more is None else more):
            return
        seen.update(item.get("id") for item in fresh)
        last = str(page.get("last_id") or items[-1].get("id"))


def created_since(
    found: Iterable[list[dict[str, Any]]], view: Callable[[dict[str, Any]], BatchView], since: datetime
) -> Iterator[BatchView]:
    """The batches created at or after `since`.

    Stops after a whole page of older ones: lists are newest first by custom, not by contract. Providers tell whole
    seconds, so `since` is rounded down to one; a batch without a readable time is always among them.
    """
    since = since.replace(microsecond=0)
    for page in found:
        views = [view(item) for item in page]
        recent = [batch for batch in views if batch.created_at >= since or batch.created_at == EPOCH]
        yield from recent
        if not recent:
            return
