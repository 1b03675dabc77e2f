"""`offpeak explain`: one row's whole history, from what it asks to what it serves."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from offpeak.cli.formats import AsJson, columns, console, pairs, pico_text, plain, print_json, when, words
from offpeak.cli.ledgers import DatabaseUrl, open_ledger

if TYPE_CHECKING:
    from offpeak.ledger.explaining import Answer, Attempt, Explanation

LONGEST = 2_000
"""Characters of one text that are shown to a person; JSON has all of them."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("explain", epilog="Example: offpeak explain ticket_labels T-0001")(explain)


def explain(
    asset: Annotated[str, typer.Argument(metavar="ASSET", help="The asset's key, as Dagster prints it.")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="The row's key.")],
    partition: Annotated[
        str | None, typer.Option(help="The partition that holds the row; needed where several do.")
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """One row's whole history: what it asks, every batch or call that carried it, what came back, what it serves."""
    from offpeak.ledger.explaining import explain as history_of

    with open_ledger(database_url) as ledger:
        found = history_of(ledger, asset, key, partition_key=partition)
    if as_json:
        print_json(_as_json(found))
    else:
        _print(found)


def _as_json(found: "Explanation") -> dict[str, Any]:
    document: dict[str, Any] = plain(found)
    for attempt in document["attempts"]:
        # the chunk stands whole under "chunks"
        attempt["chunk_id"], attempt["attempt"] = attempt["chunk"]["id"], attempt["chunk"]["attempt"]
        del attempt["chunk"]
    return document


def _print(found: "Explanation") -> None:
    out = console()
    place = f" in partition {found.partition_key}" if found.partition_key else ""
    out.print(f"Row {found.key} of {found.asset}{place}: {found.state.value}", soft_wrap=True)
    out.print(
        pairs(
            ("serves", _serves(found)),
            ("as of", None if found.as_of is None else f"{when(found.as_of)}, when its inputs were read"),
            ("effective until", None if found.effective_until is None else when(found.effective_until)),
            ("planned by", None if found.planned_by_job is None else f"job {found.planned_by_job}"),
            ("scope", found.scope),
            ("task", found.task),
            ("shared with", sharers_text(found)),
        )
    )
    _say(out, "It asks")
    out.print(
        pairs(
            ("fingerprint", found.fingerprint),
            ("request", f"{found.request_id}, {found.kind}"),
            ("model", found.model),
            ("realm", found.realm),
        )
    )
    out.print(body_text(found), soft_wrap=True)
    _print_attempts(out, found)
    if found.dead_letter is not None:
        dead = found.dead_letter
        kind = "A dead letter" if dead.fate.value == "dead" else f"A dead letter, {dead.fate.value},"
        _say(out, f"{kind} since {when(dead.at)}: {dead.reason}. {dead.message or ''}".rstrip())
    if found.answer is not None:
        _say(out, "Its answer")
        out.print(_answer(found.answer))
    if found.previous is not None:
        what = "The answer that stands in for its own" if _degraded(found) else "Its answer before the request changed"
        _say(out, f"{what}, as of {when(found.previous.as_of)}")
        out.print(_answer(found.previous.answer))
    events = columns("\nEvents", "at", "what", "state", "why", fold=("why",))
    for event in found.events:
        events.add_row(when(event.at), f"{event.subject} {event.subject_id}", words(event.state), event.why or "")
    out.print(events)


def _say(out: Any, line: str) -> None:
    out.print(f"\n{line}", soft_wrap=True)


def _degraded(found: "Explanation") -> bool:
    """Whether a full queue had another model asked in its place."""
    from offpeak.ledger.policy import DEGRADED

    return found.dead_letter is not None and found.dead_letter.reason == DEGRADED


def _serves(found: "Explanation") -> str:
    if found.answer is not None:
        return "its answer"
    if _degraded(found) and found.previous is not None:
        model = found.previous.answer.model
        return f"an answer of {model} in place of {found.model}, whose queue was full; the next run asks again"
    if found.previous is not None:
        return "its previous answer, until the new one lands"
    return "nothing: consumers count it as missing"


def sharers_text(found: "Explanation") -> str | None:
    """The other rows that ask the same, as a sentence; None without any."""
    if not found.sharers:
        return None
    names = [
        f"{each.key} of {each.asset}" + (f" ({each.partition_key})" if each.partition_key else "")
        for each in found.shared_with
    ]
    more = found.sharers - len(names)
    return f"{', '.join(names)}{f' and {more:,} more' if more else ''}: one purchase serves them all"


def body_text(found: "Explanation") -> str:
    """What was asked, as JSON with its line breaks, or why it cannot be shown."""
    import json

    if found.body is None:
        return f"The request cannot be shown: {found.body_missing}."
    # the texts of a request are what is looked for, so they keep their line breaks
    return _short(json.dumps(found.body, indent=2, ensure_ascii=False).replace("\\n", "\n"))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters; --json has all)"


def _print_attempts(out: Any, found: "Explanation") -> None:
    if not found.attempts:
        _say(out, f"It is not sent yet; it stands in chunk {', '.join(str(chunk.id) for chunk in found.chunks)}.")
    for attempt in found.attempts:
        submission, chunk = attempt.submission, attempt.chunk
        _say(out, f"Attempt {chunk.attempt}: {_outcome(attempt)}")
        what = "request" if submission.called else "line"
        place = f"{what} {attempt.ordinal + 1:,} of {chunk.requests:,} in chunk {chunk.id} ({words(chunk.state.value)})"
        state = words(submission.state.value)
        outcome = f", batch {words(submission.outcome)}" if submission.outcome else ""
        failure = attempt.failure
        out.print(
            pairs(
                ("batch", None if submission.called else submission.batch_id or "no batch id is known"),
                ("custom_id", attempt.custom_id),
                ("called", "by itself, at the realtime endpoint" if submission.called else None),
                ("submission", f"{submission.id}, {state}{outcome}"),
                ("place", place),
                ("billed to", None if chunk.billed_job_id is None else f"job {chunk.billed_job_id}"),
                ("submitted", None if submission.submitted_at is None else when(submission.submitted_at)),
                ("ended", None if submission.ended_at is None else when(submission.ended_at)),
                ("error", submission.error),
                ("message", None if failure is None else failure.message),
                ("came back", None if failure is None or failure.raw is None else _short(failure.raw)),
                ("cost", None if failure is None else _price(failure)),
            )
        )


def _outcome(attempt: "Attempt") -> str:
    if attempt.answered:
        return "answered"
    if attempt.failure is not None:
        return f"failed, {attempt.failure.reason}"
    return words(attempt.submission.state.value)


def _answer(answer: "Answer") -> Any:
    vector = f"a vector of {answer.dimensions:,} numbers" if answer.dimensions is not None else "nothing"
    return pairs(
        ("output", _short(answer.output) if answer.output is not None else vector),
        ("produced", when(answer.produced_at)),
        ("by", f"{answer.model}, {f'batch {answer.batch_id}' if answer.batch_id else 'called by itself'}"),
        ("tokens", f"{answer.input_tokens:,} in ({_cache(answer)}), {answer.output_tokens:,} out"),
        ("cost", _price(answer)),
    )


def _cache(answer: "Answer") -> str:
    written = f", {answer.cache_write_tokens:,} written to it" if answer.cache_write_tokens else ""
    return f"{answer.cached_tokens:,} from the cache{written}"


def _price(bought: Any) -> str:
    return f"{pico_text(bought.cost_pico)} at list price; {pico_text(bought.realtime_pico)} at realtime price"
