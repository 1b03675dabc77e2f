"""`offpeak prices`: what models cost on the batch tier and at realtime price, who says so, and how old that is."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from offpeak.money import ModelRates, PriceSheet
    from offpeak.money.rates import Tariff, TokenRates

CURRENT = (
    "anthropic/claude-haiku-5-5",
    "anthropic/claude-haiku-4-5",
    "anthropic/claude-sonnet-5-5",
    "anthropic/claude-sonnet-5",
    "anthropic/claude-opus-5-5",
    "anthropic/claude-fable-5-2",
    "openai/gpt-6-luna",
    "openai/gpt-6.1-terra",
    "openai/gpt-6.1-sol",
    "openai/gpt-6-astra",
    "openai/gpt-5.6-luna",
    "openai/gpt-5.4-mini",
    "openai/gpt-4o-mini",
)
"""What is shown beside the models of the price sheets when no model is asked for."""

COLUMNS = ("input", "cache_read", "cache_write", "cache_write_1h", "output")
TERMS = {
    "window_hours": "a batch within {:,} h",
    "requests_per_minute": "{:,} requests a minute",
    "tokens_per_minute": "{:,} tokens a minute",
    "cache_minimum_tokens": "prefixes are cached from {:,} tokens on",
}
HEADINGS = ("in", "cache\nread", "cache\nwrite", "long\nwrite", "out")


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("prices")(prices)


def prices(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="provider/model; without any, the current ones.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """What models cost: batch and realtime, dollars per million tokens, with the source and its age."""
    from offpeak.clock import SystemClock
    from offpeak.money import PriceSheet

    sheet = PriceSheet.load()
    now = SystemClock().now()
    wanted = list(dict.fromkeys(models or [*sheet.models(), *CURRENT]))
    rates = [sheet.rates(model, at=now) for model in wanted]
    if as_json:
        _print_json(sheet, rates, now)
    else:
        _print_table(sheet, rates, now)


def _print_json(sheet: "PriceSheet", rates: "list[ModelRates]", now: datetime) -> None:
    import orjson

    document = {
        "unit": "US dollars per million tokens",
        "list_prices": {
            "genai_prices": sheet.version,
            "data_date": sheet.data_date(now),
            "age_days": sheet.age(now).days,
        },
        "price_sheet": str(sheet.path) if sheet.path else None,
        "prices": [
            {
                "model": found.model_ref,
                "batch": _as_json(found.batch),
                "realtime": _as_json(found.realtime),
                "terms": _terms(sheet, found.model_ref),
            }
            for found in rates
        ],
    }
    typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


def _terms(sheet: "PriceSheet", model_ref: str) -> dict[str, object] | None:
    terms = sheet.terms(model_ref)
    return None if terms is None else terms.model_dump(exclude={"model"}, exclude_none=True)


def _as_json(tariff: "Tariff") -> dict[str, object]:
    return {
        **_amounts(tariff, tariff.base),
        "long_context": [
            {"above_input_tokens": tokens, **_amounts(tariff, rates)} for tokens, rates in tariff.long_context
        ],
        "source": tariff.source,
        "cited": tariff.cited or None,
        "since": tariff.since,
    }


def _amounts(tariff: "Tariff", rates: "TokenRates") -> dict[str, str | None]:
    """Prices as decimal text: a float would lose what makes them exact."""
    from offpeak.money.rates import per_million

    return {
        name: f"{per_million(getattr(rates, name)).normalize():f}" if name in tariff.named else None for name in COLUMNS
    }


def _print_table(sheet: "PriceSheet", rates: "list[ModelRates]", now: datetime) -> None:
    from rich.console import Console
    from rich.table import Table

    from offpeak.money.prices import OLD

    table = Table(title="US dollars per million tokens", title_justify="left", box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    table.add_column("from", overflow="fold")
    for found in rates:
        table.add_row(found.model_ref)
        for tier, tariff in (("batch", found.batch), ("realtime", found.realtime)):
            table.add_row(f"  {tier}", *_cells(tariff, tariff.base), _origin(sheet, tariff))
            for tokens, higher in tariff.long_context:
                table.add_row(f"    above {tokens:,} in", *_cells(tariff, higher), "")
    console = Console()
    console.print(table)
    for found in rates:
        if terms := sheet.terms(found.model_ref):
            said = [words.format(value) for name, words in TERMS.items() if (value := getattr(terms, name))]
            console.print(f"{found.model_ref}: {', '.join(said)}", soft_wrap=True, highlight=False)
    age, seen = sheet.age(now), sheet.data_date(now)
    console.print(
        f"\nlist: genai-prices {sheet.version}, its newest price change {seen} ({age.days} days ago)", soft_wrap=True
    )
    console.print(f"own: {sheet.path or 'this project has no price_sheet.toml'}", soft_wrap=True)
    console.print("shipped: what the list lacks and Offpeak fills in", soft_wrap=True)
    if age > OLD:
        console.print(
            f"[yellow]The list prices are older than {OLD.days} days: upgrade genai-prices, or check them by hand.[/]"
        )


def _cells(tariff: "Tariff", rates: "TokenRates") -> list[str]:
    return [amount or "-" for amount in _amounts(tariff, rates).values()]


def _origin(sheet: "PriceSheet", tariff: "Tariff") -> str:
    from offpeak.money.prices import SHIPPED

    if tariff.source == SHIPPED:
        return f"shipped {tariff.since}"
    return f"own {tariff.since}" if sheet.path and tariff.source == str(sheet.path) else "list"
