"""What a model costs on a given day, or an error that says how to add it; never a guess.

Three sources, first one wins, for each tier apart: the project's `price_sheet.toml`, the list prices of genai-prices,
and the gaps that Offpeak fills itself. A model whose batch rate nobody states is an error, because the standard price
in its place would be a wrong bill that looks right. Prices follow the model reference, whatever address serves it.
"""

import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Literal, Self

from offpeak.errors import ConfigurationError
from offpeak.money.list_prices import LIST_PRICES, Listed
from offpeak.money.rates import ModelRates, Tariff
from offpeak.money.sheet import TERMS, Entry, SheetFile, Terms, read_sheet, read_sheet_file

SHEET_NAME = "price_sheet.toml"
SHIPPED = "offpeak/money/price_sheet.toml"
OLD = timedelta(days=60)
"""Data older than this is worth a warning: both providers changed prices about once a quarter during 2026."""

Mode = Literal["batch", "realtime"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSheet:
    """Every price Offpeak knows. Build it with `load`."""

    own: tuple[Entry, ...] = ()
    """The project's entries, which come before list prices."""
    shipped: tuple[Entry, ...] = ()
    """Offpeak's entries, which fill what list prices lack."""
    stated: tuple[Terms, ...] = ()
    """Terms of the project, before those that Offpeak ships."""
    path: Path | None = None
    """Where the project's entries were read; None where there is no such file."""

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Read the sheet at `path`; without one, the project's own `price_sheet.toml` if it has one.

        The project is the nearest folder, from the working directory upwards, whose pyproject.toml has a `[tool.dg]`
        table. Raises ConfigurationError for a named file that is missing, and for any sheet that is malformed.
        """
        path = path if path is not None else find_price_sheet(Path.cwd())
        own = read_sheet_file(path) if path is not None else SheetFile()
        shipped = read_sheet(files("offpeak.money").joinpath(SHEET_NAME).read_text(encoding="utf-8"), name=SHIPPED)
        return cls(own=own.price, shipped=shipped.price, stated=(*own.terms, *shipped.terms), path=path)

    @property
    def version(self) -> str:
        """The version of the list prices: that of the genai-prices package."""
        return LIST_PRICES.version

    def data_date(self, at: datetime) -> date:
        """The newest price change that the list prices had seen: they were taken on this day or later."""
        return LIST_PRICES.data_date(at)

    def age(self, at: datetime) -> timedelta:
        """How old the list prices are at most."""
        return at.astimezone(UTC).date() - self.data_date(at)

    def models(self) -> list[str]:
        """The models that a sheet, the project's or the shipped one, names."""
        return sorted({entry.model for entry in (*self.own, *self.shipped)})

    def terms(self, model_ref: str) -> Terms | None:
        """What the sheets say of "provider/model" besides its price, the first one that says it; None for nothing.

        The project's word goes before the shipped one, and a model's own before that of "provider/*".
        """
        ref = model_ref.lower().strip()
        names = (ref, f"{ref.partition('/')[0]}/*")
        said = [each for name in names for each in self.stated if each.model == name]
        found = {
            field: next((value for each in said if (value := getattr(each, field)) is not None), None)
            for field in TERMS
        }
        return (
            Terms(model=ref, source="; ".join(dict.fromkeys(each.source for each in said)), **found) if said else None
        )

    def rates(self, model_ref: str, *, at: datetime) -> ModelRates:
        """What "provider/model" costs at the moment `at`.

        Raises ConfigurationError for a reference without provider, an unknown provider or model (with close matches),
        and a model without a batch rate on that day; each says how to add it. ValueError for a naive datetime.
        """
        if at.tzinfo is None:
            raise ValueError(f"{at!r} has no time zone; Offpeak only handles timezone-aware datetimes")
        ref = model_ref.lower().strip()
        provider, _, model = ref.partition("/")
        if not provider or not model:
            raise ConfigurationError(
                f"the model {model_ref!r} does not name its provider, so it cannot be priced: write "
                f"provider/model, such as {self._suggestion(ref, at) or 'openai/gpt-6-luna'}"
            )
        listed = LIST_PRICES.find(provider, model, at=at)
        day = at.astimezone(UTC).date()
        realtime = self._tariff("realtime", ref, listed, day)
        batch = self._tariff("batch", ref, listed, day)
        if batch is None and realtime is None:
            raise ConfigurationError(self._unknown(ref, provider, at))
        if batch is None:
            raise ConfigurationError(_no_batch_rate(ref, listed, day))
        if realtime is None:
            raise ConfigurationError(
                f"{ref} has a batch price ({batch.source}) but no realtime price, so what it saves cannot be told: "
                f"add a realtime table to its entry in {SHEET_NAME}"
            )
        if listed is None or batch is not listed.batch:
            _check_complete(ref, batch, realtime)
        terms = self.terms(ref)
        return ModelRates(
            model_ref=ref,
            batch=batch,
            realtime=realtime,
            flex=listed.flex if listed else None,
            cache_minimum_tokens=None if terms is None else terms.cache_minimum_tokens,
        )

    def _tariff(self, mode: Mode, ref: str, listed: Listed | None, day: date) -> Tariff | None:
        names = (ref, listed.canonical) if listed else (ref,)
        return (
            _entry_tariff(mode, self.own, names, day, source=str(self.path or SHEET_NAME))
            or (getattr(listed, mode) if listed else None)
            or _entry_tariff(mode, self.shipped, names, day, source=SHIPPED)
        )

    def _unknown(self, ref: str, provider: str, at: datetime) -> str:
        day = at.astimezone(UTC).date()
        later = [entry.since for entry in (*self.own, *self.shipped) if entry.model == ref and entry.since > day]
        if later:
            return (
                f"{ref} has no price on {day}: its first entry in a price sheet begins on {min(later)}. Nothing can be "
                f"bought at an unknown price; add an entry with an earlier `since` to {SHEET_NAME}"
            )
        if LIST_PRICES.knows(provider) or any(entry.model.startswith(f"{provider}/") for entry in self.own):
            what = f"no price is known for the model {ref}"
        else:
            what = f"no price is known for {ref}: {provider!r} is not a provider that {LIST_PRICES.source} knows"
        close = self._suggestion(ref, at)
        return (
            f"{what}, so nothing can be bought from it."
            + (f" Did you mean {close}?" if close else "")
            + f" If the name is right, add its price to {SHEET_NAME}:\n{_example(ref, day, both=True)}"
        )

    def _suggestion(self, ref: str, at: datetime) -> str:
        provider = ref.partition("/")[0]
        known = self.models()
        for name in (provider,) if LIST_PRICES.knows(provider) else ("openai", "anthropic"):
            known += [f"{name}/{model}" for model in LIST_PRICES.models(name, at=at)]
        if "/" not in ref:
            bare = {model.partition("/")[2]: model for model in known}
            return " or ".join(bare[name] for name in get_close_matches(ref, bare, n=3))
        return " or ".join(get_close_matches(ref, sorted(set(known)), n=3))


def find_price_sheet(start: Path) -> Path | None:
    """The `price_sheet.toml` of the project that holds `start`; None outside a project, or where it has none."""
    for folder in (start, *start.parents):
        project = folder / "pyproject.toml"
        if project.is_file():
            try:
                tool = tomllib.loads(project.read_text(encoding="utf-8")).get("tool", {})
            except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
                raise ConfigurationError(
                    f"{project} could not be read while looking for {SHEET_NAME}: {error}"
                ) from None
            if "dg" in tool:
                sheet = folder / SHEET_NAME
                return sheet if sheet.is_file() else None
    return None


def _entry_tariff(
    mode: Mode, entries: tuple[Entry, ...], names: tuple[str, ...], day: date, *, source: str
) -> Tariff | None:
    """The newest entry that applies; one for this very name goes before one for the model it is a snapshot of."""
    for name in names:
        found = [e for e in entries if e.model == name and e.since <= day and getattr(e, mode) is not None]
        if found:
            entry = max(found, key=lambda e: e.since)
            prices = entry.batch if mode == "batch" else entry.realtime
            return prices.tariff(source=source, cited=entry.source, since=entry.since) if prices else None
    return None


def _check_complete(ref: str, batch: Tariff, realtime: Tariff) -> None:
    missing = sorted(realtime.named - batch.named)
    if missing:
        raise ConfigurationError(
            f"the batch price of {ref} in {batch.source} leaves out {', '.join(missing)}, which its realtime price "
            "names: it would be charged at a guess. Add it to the entry's batch table"
        )
    steps = {tokens for tokens, _ in realtime.long_context} - {tokens for tokens, _ in batch.long_context}
    if steps:
        raise ConfigurationError(
            f"the batch price of {ref} in {batch.source} has no long_context step above {min(steps)} input tokens, "
            "where its realtime price changes. Add one, with the same prices if the long context costs the same"
        )


def _no_batch_rate(ref: str, listed: Listed | None, day: date) -> str:
    begins = f" ({LIST_PRICES.source} knows one from {listed.batch_from} on)" if listed and listed.batch_from else ""
    example = _example(ref, day, both=False)
    return (
        f"no batch rate is known for {ref} on {day}{begins}, and the standard price in its place would be a wrong "
        f"bill. If the provider sells it on the batch tier, add its rate to {SHEET_NAME}:\n{example}"
    )


def _example(ref: str, day: date, *, both: bool) -> str:
    table = "{ input = 0.00, output = 0.00 }"
    realtime = f"realtime = {table}\n" if both else ""
    return (
        f'[[price]]\nmodel = "{ref}"\nsince = {day}\nsource = "where you read it"\n'
        f"batch = {table}  # dollars per million tokens\n{realtime}"
    ).rstrip()
