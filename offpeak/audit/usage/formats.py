"""Which format a file is in, told by its first records, and what a mapping of columns changes about it."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from offpeak.audit.usage import helicone, langfuse, litellm, opentelemetry, plain
from offpeak.audit.usage.call import Reader, Record
from offpeak.audit.usage.records import Kind, Numbered, head, kind_of, records
from offpeak.audit.usage.values import Times
from offpeak.errors import ConfigurationError, did_you_mean

SHOWN = 12
"""Fields of a file that an error names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What a file is, and how it is read."""

    name: str
    kind: Kind
    read: Reader
    columns: Collection[str] = ()
    """Those that are read of a Parquet file; every one where none is named."""

    def records(self, path: Path) -> Iterator[Numbered]:
        found = records(path, self.kind, self.columns)
        return _spans(found) if self.name == opentelemetry.NAME else found


def recognise(path: Path, columns: Mapping[str, str], times: Times) -> Format:
    """Tell a file's format. Raises ConfigurationError where it is none that is known, or lacks a column."""
    kind = kind_of(path)
    first = head(path, kind)
    if not first:
        raise ConfigurationError(
            f"{path} holds no record that could be read: there is no JSON object in it, and no row under a header. "
            "Export the log anew."
        )
    fields = set(chain.from_iterable(first))
    _check(path, columns, fields, first)
    for name, recognises, reader, reads in _KNOWN:
        if recognises(fields, first):
            read = plain.over(reader(times), times, columns) if columns else reader(times)
            wanted = {*reads, *(theirs.partition(".")[0] for theirs in columns.values()), *columns.values()}
            return Format(name=name, kind=kind, read=read, columns=wanted if reads else ())
    return _plain(path, kind, fields, columns, times)


def _plain(path: Path, kind: Kind, fields: set[str], columns: Mapping[str, str], times: Times) -> Format:
    found = plain.columns_of(fields, columns)
    missing = [ours for ours in plain.REQUIRED if ours not in found]
    if missing:
        known = ", ".join(sorted(fields)[:SHOWN]) + (", ..." if len(fields) > SHOWN else "")
        raise ConfigurationError(
            f"{path} is in no format that is known here ({', '.join(name for name, *_ in _KNOWN)}), and as a plain "
            f"log it lacks {' and '.join(missing)}: nothing was counted. It has the fields {known}. Say which of them "
            f"those are, as in {missing[0]}={sorted(fields)[0]}."
        )
    wanted = {theirs.partition(".")[0] for theirs in found.values()} | set(found.values())
    return Format(name=plain.NAME, kind=kind, read=plain.reader(times, found), columns=wanted)


def _check(path: Path, columns: Mapping[str, str], fields: set[str], first: Sequence[Record]) -> None:
    """Refuse a mapping of what there is not."""
    for ours, theirs in columns.items():
        if ours not in plain.ALIASES:
            raise ConfigurationError(
                f"The mapping {ours}={theirs} names nothing that a call has, so that the log was not read. "
                + did_you_mean(ours, plain.ALIASES, nothing="")
                + f" A call has: {', '.join(plain.ALIASES)}."
            )
        get = plain.getter(theirs)
        if theirs not in fields and all(get(record) is None for record in first):
            raise ConfigurationError(
                f"The mapping {ours}={theirs} names a column that {path} does not have, so that the log was not read. "
                + did_you_mean(theirs, fields, nothing="Name one that it has.")
            )


def _spans(found: Iterator[Numbered]) -> Iterator[Numbered]:
    """Spans, each with its attributes as an object and one by one where OTLP sends them in batches."""
    for number, record in found:
        if isinstance(record, str):
            yield number, record
        elif opentelemetry.is_batch(record):
            for span in opentelemetry.flattened(record):
                yield number, span
        else:
            yield number, record


def _by_fields(recognises: Callable[[Collection[str]], bool]) -> Callable[[set[str], Sequence[Record]], bool]:
    return lambda fields, _: recognises(fields)


_Known = tuple[str, Callable[[set[str], Sequence[Record]], bool], Callable[[Times], Reader], Collection[str]]
_KNOWN: tuple[_Known, ...] = (
    (
        opentelemetry.NAME,
        lambda fields, first: (
            bool({"attributes", "resourceSpans", "resource_spans"} & fields)
            and any(map(opentelemetry.recognises, first))
        ),
        opentelemetry.reader,
        opentelemetry.READS,
    ),
    (litellm.NAME, _by_fields(litellm.recognises), litellm.reader, litellm.READS),
    (langfuse.NAME, _by_fields(langfuse.recognises), langfuse.reader, langfuse.READS),
    (helicone.NAME, _by_fields(helicone.recognises), helicone.reader, helicone.READS),
)
