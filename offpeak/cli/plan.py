"""`offpeak plan`: what materialising an asset now would buy, and for how much; it buys nothing.

The order is made as a run would make it, from the inputs as they are at this moment: only tokens and their price are
estimated.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offpeak.cli.formats import AsJson, console, counting, dollars_text, pairs, plain, print_json, when

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import Console

    from offpeak.assets.order import Quote
    from offpeak.money.budget import Allowance

RANGE = "..."
"""Between the first and the last partition of a range, as Dagster's own commands write it."""


TAG = "offpeak/sample"

KEYS_SHOWN = 20
"""Of a sample's rows."""


@dataclass(frozen=True, slots=True)
class Told:
    """A quote, and what it was made for."""

    quote: "Quote"
    partitions: Sequence[str]
    realm: str


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("plan", epilog="Example: offpeak plan ticket_labels")(plan)


def plan(
    asset: Annotated[str, typer.Argument(metavar="ASSET", help="The batch asset's key, as Dagster prints it.")],
    partition: Annotated[
        str | None, typer.Option(help="Plan this partition; without it, the newest of a partitioned asset.")
    ] = None,
    partition_range: Annotated[
        str | None, typer.Option(metavar=f"A{RANGE}B", help="Plan every partition from A to B as one job.")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Say which rows a sample of so many would buy first, and for how much."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What materialising an asset now would buy, at what price and when it would land. Buys nothing."""
    if partition is not None and partition_range is not None:
        raise typer.BadParameter("Give either --partition or --partition-range.")
    with counting(f"Planning {asset}", unit="rows") as count:
        told = _tell(asset, partition, partition_range, sample, count)
    if as_json:
        print_json(_as_json(told))
    else:
        _print(told)


def _tell(
    asset: str, partition: str | None, partition_range: str | None, sample: int | None, count: Callable[[int], None]
) -> Told:
    import dagster as dg

    from offpeak.assets.orders import prepared_order
    from offpeak.assets.purchase import quote
    from offpeak.cli.project import find_project, load_definitions, prepare_dagster_home
    from offpeak.clock import SystemClock
    from offpeak.ledger.sampling import SAMPLE_TAG

    project = find_project()
    defs = load_definitions(project)
    os.environ.setdefault("DAGSTER_HOME", str(prepare_dagster_home(project)))
    clock = SystemClock()
    with dg.DagsterInstance.get() as instance:
        found = _batch_asset(defs, asset)
        partitions = _partitions(found, asset, partition, partition_range, instance)
        tags = {} if sample is None else {SAMPLE_TAG: str(sample)}
        with prepared_order(
            defs, found.key, partition_keys=partitions, instance=instance, clock=clock, run_tags=tags
        ) as prepared:
            told = quote(
                prepared.order,
                ledger=prepared.ledger,
                provider=prepared.provider,
                rates=prepared.rates,
                clock=clock,
                told=count,
            )
            return Told(told, partitions, prepared.provider.realm)


def _batch_asset(defs: "dg.Definitions", name: str) -> "dg.AssetsDefinition":
    """Raises NotFound, with the nearest names, for an asset that buys nothing."""
    from offpeak.assets.declaration import declaration_of
    from offpeak.assets.resources import API_KEY
    from offpeak.errors import ConfigurationError, NotFound, did_you_mean

    if API_KEY not in (defs.resources or {}):
        raise ConfigurationError(
            f"The project's definitions have no resource {API_KEY!r}, so nothing can be planned. Wrap them: "
            "defs = offpeak.with_offpeak(dg.Definitions(...))."
        )
    graph = defs.resolve_asset_graph()
    batch = {
        spec.key.to_user_string(): asset
        for asset in graph.assets_defs
        if declaration_of(asset) is not None
        for spec in asset.specs
    }
    if name in batch:
        return batch[name]
    others = {key.to_user_string() for key in graph.get_all_asset_keys()}
    problem = f"{name} is not a batch asset: it buys nothing" if name in others else f"There is no batch asset {name!r}"
    raise NotFound(f"{problem}. {did_you_mean(name, batch, nothing='The project has no batch assets.')}")


def _partitions(
    asset: "dg.AssetsDefinition",
    name: str,
    partition: str | None,
    partition_range: str | None,
    instance: "dg.DagsterInstance",
) -> Sequence[str]:
    """The partitions to plan; none for an asset without. Raises NotFound, and ConfigurationError for no range."""
    import dagster as dg

    from offpeak.errors import ConfigurationError, NotFound, did_you_mean

    definition = asset.partitions_def
    if definition is None:
        if partition is not None or partition_range is not None:
            raise ConfigurationError(f"{name} has no partitions: leave --partition and --partition-range out.")
        return []
    keys = definition.get_partition_keys(dynamic_partitions_store=instance)
    if not keys:
        raise NotFound(f"{name} has no partition yet, so there is nothing to plan.")
    first, separator, last = (partition_range or "").partition(RANGE)
    if partition_range is not None and not (first and separator and last):
        raise ConfigurationError(f"--partition-range {partition_range!r} is no range: write FIRST{RANGE}LAST.")
    ends = [first, last] if partition_range else [partition or keys[-1]]
    known = set(keys)
    for end in ends:
        if end not in known:
            raise NotFound(f"{name} has no partition {end!r}. {did_you_mean(end, keys, nothing='')}")
    if not partition_range:
        return ends
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        chosen = definition.get_partition_keys_in_range(dg.PartitionKeyRange(first, last))
    if not chosen:
        raise ConfigurationError(f"--partition-range {partition_range}: {first} comes after {last}. Swap them.")
    return list(chosen)


def _as_json(told: Told) -> dict[str, Any]:
    document: dict[str, Any] = plain(told.quote)
    saving = told.quote.estimated_realtime_cost - told.quote.estimated_cost
    return {
        "asset": document.pop("asset"),
        "partitions": list(told.partitions),
        "realm": told.realm,
        **{f"{name}_usd" if name.endswith("_cost") else name: value for name, value in document.items()},
        "estimated_saving_usd": plain(saving),
        "held": told.quote.surge is not None or (told.quote.over_budget is not None and not told.quote.refused),
    }


def _print(told: Told) -> None:
    out, quote = console(), told.quote
    first, *others = told.partitions or [""]
    shown = f"{first} to {others[-1]} ({len(told.partitions):,} partitions)" if others else first or None
    out.print(
        pairs(
            ("asset", quote.asset),
            ("partition", shown),
            ("model", f"{quote.model}, at {told.realm}"),
            ("rows", f"{quote.rows:,} that changed; the others stay" if quote.changed_only else f"{quote.rows:,}"),
            ("  new", f"{quote.new:,} to buy" + (f"; {quote.volume:,} are usual" if quote.volume else "")),
            ("  reused", f"{quote.reused:,} bought before"),
            ("  on their way", f"{quote.joined:,} asked already, here or by another row of this plan"),
            ("  dead letters", f"{quote.dead:,} failed for good, not tried again" if quote.dead else None),
            ("removed", f"{quote.removed:,} rows are not planned any more" if quote.removed else None),
            ("cost", _cost(quote)),
            ("tokens", _tokens(quote)),
            ("prefix caching", _prefixes(quote) if quote.prefix_requests else None),
            *(("budget", _budget(each)) for each in quote.budgets),
            ("lane", f"{quote.lane}: {quote.lane_reason}"),
            ("lands by", f"{when(quote.lands_by)}: {quote.lands_by_why}"),
            (f"  in {quote.other_lane}", _otherwise(quote) if quote.new else None),
        )
    )
    _print_sample(out, quote)
    if on_this_machine(told.realm):
        out.print("\nThe provider runs on this machine: the cost is simulated, unless it passes requests on.")
    if quote.surge is not None:
        out.print(f"\nIt would be held. {quote.surge}", soft_wrap=True)
        out.print(
            "Materialising stops there and names a job; `offpeak jobs approve` lets it through, and so does a raised "
            "code_version.",
            soft_wrap=True,
        )
    if quote.over_budget is not None:
        out.print(f"\nIt would be {'refused' if quote.refused else 'held'}. {quote.over_budget}", soft_wrap=True)
        out.print(
            "Materialising fails there; a run with the tag offpeak/approve goes on all the same."
            if quote.refused
            else "Materialising stops there and names a job; `offpeak jobs approve` lets it through, whatever the "
            "budget.",
            soft_wrap=True,
        )
    out.print("Nothing was bought.")


def _tokens(quote: "Quote") -> str:
    told = f"about {quote.estimated_input_tokens:,} in, {quote.estimated_output_tokens:,} out"
    return f"{told}; estimated from {quote.estimated_from}" if quote.new else told


def _prefixes(quote: "Quote") -> str:
    """How many of them the provider is asked to cache, and why."""
    many = f"{quote.prefix_requests_cached:,}" if quote.prefix_requests_cached else "none"
    return f"asked for with {many} of {quote.prefix_requests:,} requests: {quote.prefix_caching}"


def _budget(each: "Allowance") -> str:
    """What is left of one budget, before the plan."""
    return f"{dollars_text(each.left)} left of {dollars_text(each.amount)} for {each.name}"


def _cost(quote: "Quote") -> str:
    """The price of the lane, and what the other one would be."""
    from offpeak.ledger.lane import Lane

    cost, batch, realtime = quote.estimated_cost, quote.estimated_batch_cost, quote.estimated_realtime_cost
    told = f"about {dollars_text(cost)} at"
    match quote.lane:
        case Lane.BATCH:
            return f"{told} list price ({dollars_text(realtime)} realtime, saves {dollars_text(realtime - cost)})"
        case Lane.BACKGROUND:
            saves = dollars_text(max(cost - batch, Decimal(0)))
            return f"{told} realtime list price ({dollars_text(batch)} on the batch tier, which would save {saves})"


def _otherwise(quote: "Quote") -> str:
    return f"would land by {when(quote.other_lands_by)}: {quote.other_lands_by_why}"


def _print_sample(out: "Console", quote: "Quote") -> None:
    """What would be bought first."""
    if not quote.sample_keys:
        return
    shown = ", ".join(quote.sample_keys[:KEYS_SHOWN])
    more = len(quote.sample_keys) - KEYS_SHOWN
    out.print(
        f"\nSample: {len(quote.sample_keys):,} rows would be bought first, for about "
        f"{dollars_text(quote.estimated_sample_cost)} at realtime price and within minutes, and the others held until "
        f"it is approved: {shown}" + (f" and {more:,} more." if more > 0 else "."),
        soft_wrap=True,
    )
    out.print(f'A run samples that the asset declares with sample=, or that has the tag {TAG}: "20".', soft_wrap=True)


def on_this_machine(realm: str) -> bool:
    """Whether a realm ("openai:127.0.0.1:8099") is a provider on a loopback address."""
    from ipaddress import ip_address
    from urllib.parse import urlsplit

    host = urlsplit(f"//{realm.partition(':')[2]}").hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
