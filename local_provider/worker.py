"""The one background thread that moves batches along, so that the HTTP loop never waits for an answer.

A slice of lines is answered without holding anything; then, in one transaction, the batch is read again, the slice is
added to it and to the tally. What HTTP changed meanwhile (a cancel, a fault, a reset) is therefore never overwritten.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol

from local_provider.answers import Answerer
from local_provider.batches import Batch, Outcome, Phase, ProviderName
from local_provider.clock import Clock
from local_provider.faults import Faults
from local_provider.lifecycle import Answer, Finalize, Finish, Validate, next_step
from local_provider.line_files import LineFile, order_of
from local_provider.replies import LineResult
from local_provider.settings import Settings
from local_provider.store import Store
from local_provider.tally import Lane, Purchase, Tally
from local_provider.validation import validate

SLICE_SECONDS = 0.1
IDLE_SECONDS = 0.02
LOOKING_SHARE = 0.05
"""Of a core, at most, is spent on finding that no batch is due: a thousand open ones are looked at less often."""

log = logging.getLogger(__name__)


class BatchFormat(Protocol):
    """What is different at each provider about reading and answering a batch."""

    def answer(self, raw: bytes, batch: Batch, answerer: Answerer, /, *, spoil: str | None) -> LineResult:
        """Answer one line; `spoil` is the way in which the answer is to be of no use."""

    def broken(self, raw: bytes, code: str) -> LineResult:
        """One line that failed at the provider's end."""

    def left(self, raw: bytes, outcome: Outcome) -> bytes:
        """The result line of a request that was never reached."""

    def finish(self, batch: Batch, store: Store) -> None:
        """Publish the result files of a batch that has just ended."""


class Worker(threading.Thread):
    """Moves every open batch along until stopped."""

    def __init__(
        self, store: Store, tally: Tally, settings: Settings, answerer: Answerer, faults: Faults, clock: Clock,
        formats: dict[ProviderName, BatchFormat],
    ) -> None:  # fmt: skip
        super().__init__(name="batches", daemon=True)
        self._store, self._tally, self._settings, self._answerer = store, tally, settings, answerer
        self._faults, self._clock, self._formats = faults, clock, formats
        self._work: dict[str, _Work] = {}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._asked = self._settled = 0
        self._settling = threading.Condition()

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def settle(self, timeout: float) -> bool:
        """Wait until nothing is due any more; False when that takes longer than `timeout` seconds."""
        with self._settling:
            self._asked += 1
            mine = self._asked
            self._wake.set()
            return self._settling.wait_for(lambda: self._settled >= mine, timeout)

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            began, asked = time.thread_time(), self._asked
            open_ids = self._store.open_batch_ids()
            moved = False
            for batch_id in open_ids:
                if self._stopping.is_set():
                    return
                try:
                    moved |= self._advance(batch_id)
                except Exception:
                    if self._store.batch(batch_id) is None:
                        continue  # swept away by a reset while it was being worked on
                    log.exception("Batch %s cannot be moved on; it stays as it is for a second.", batch_id)
                    self._stopping.wait(1)
            self._forget(open_ids)
            if not moved:
                with self._settling:
                    self._settled = asked
                    self._settling.notify_all()
                looking = time.thread_time() - began
                passing = open_ids and not self._clock.held
                self._wake.wait(max(IDLE_SECONDS, looking / LOOKING_SHARE) if passing else 1.0)

    def _advance(self, batch_id: str) -> bool:
        batch = self._store.batch(batch_id)
        if batch is None:
            return False
        match next_step(batch, self._clock.now()):
            case None:
                return False
            case Validate():
                self._validate(batch)
            case Answer(position):
                self._answer(batch, position)
            case Finalize():
                self._struck(batch, "slow_finalizing")
                if batch.cancel_requested_at is not None:
                    self._struck(batch, "beats_cancel")
                self._change(batch_id, phase=Phase.FINALIZING, finalizing_at=self._clock.now())
            case Finish(outcome):
                self._finish(batch, outcome)
        return True

    def _validate(self, batch: Batch) -> None:
        checked = validate(batch, self._settings, self._enqueued_tokens)
        if checked.errors:
            self._struck(batch, "fail_validation")
            self._change(
                batch.id, phase=Phase.DONE, outcome=Outcome.FAILED, validation_errors=checked.errors,
                ended_at=self._clock.now(),
            )  # fmt: skip
            return
        self._opened(batch)  # from here on the input file may be deleted
        with self._store.transaction():
            self._tally.count(batch.provider, "requests_accepted", checked.count)
            self._change(
                batch.id, phase=Phase.ANSWERING, total=checked.count, model=checked.model or batch.model,
                sample_custom_id=checked.first_custom_id, started_at=self._clock.now(),
                enqueued_tokens=checked.prompt_tokens,
            )  # fmt: skip

    def _enqueued_tokens(self, model: str) -> int:
        """Of a model's open batches; one that is not validated yet has none."""
        open_batches = (self._store.batch(batch_id) for batch_id in self._store.open_batch_ids())
        return sum(batch.enqueued_tokens for batch in open_batches if batch is not None and batch.model == model)

    def _answer(self, batch: Batch, until: int) -> None:
        work = self._opened(batch)
        batch_format = self._formats[batch.provider]
        deadline = time.monotonic() + SLICE_SECONDS
        results: list[LineResult] = []
        for turn in range(batch.position, until):
            results.append(self._answer_line(batch_format, work.lines[work.order[turn]], batch, turn))
            if time.monotonic() > deadline or self._stopping.is_set():
                break
        self._add(batch, work, results)

    def _answer_line(self, batch_format: BatchFormat, raw: bytes, batch: Batch, turn: int) -> LineResult:
        if _hit(batch, "skip_lines", turn):
            return LineResult(line=b"", ok=False, custom_id="", skipped=True, struck="skip_lines")
        if _hit(batch, "error_lines", turn):
            return replace(batch_format.broken(raw, batch.faults["error_lines"]["code"]), struck="error_lines")
        spoil = batch.faults["unusable_lines"]["how"] if _hit(batch, "unusable_lines", turn, phase=0.5) else None
        return batch_format.answer(raw, batch, self._answerer, spoil=spoil)

    def _struck(self, batch: Batch, fault: str) -> None:
        if fault in batch.faults:
            self._faults.strike(fault, batch.faults[fault])

    def _add(self, batch: Batch, work: "_Work", results: list[LineResult]) -> None:
        output = b"".join(r.line for r in results if r.ok or work.errors is None)
        errors = b"".join(r.line for r in results if not r.ok) if work.errors is not None else b""
        replies = [(r, r.reply) for r in results if r.reply is not None and r.reply.billed]
        with self._store.transaction():
            fresh = self._store.batch(batch.id)
            if fresh is None:
                return
            _write(work.output, fresh.output_bytes, output)
            if work.errors is not None:
                _write(work.errors, fresh.error_bytes, errors)
            fresh.output_bytes += len(output)
            fresh.error_bytes += len(errors)
            fresh.position += len(results)
            fresh.succeeded += sum(r.ok for r in results)
            fresh.errored += sum(not (r.ok or r.skipped) for r in results)
            for fault in {r.struck for r in results if r.struck}.difference(fresh.struck):
                fresh.struck.append(fault)
                self._struck(batch, fault)
            fresh.input_tokens += sum(reply.input_tokens for _, reply in replies)
            fresh.cached_tokens += sum(reply.cached.read for _, reply in replies)
            fresh.output_tokens += sum(reply.output_tokens for _, reply in replies)
            self._store.save_batch(fresh)
            bought = [Purchase.of(reply, r.digest, r.custom_id) for r, reply in replies]
            self._tally.record(batch.provider, bought, lane=Lane.BATCH)

    def _finish(self, batch: Batch, outcome: Outcome) -> None:
        work = self._opened(batch)
        if outcome is Outcome.EXPIRED:
            self._struck(batch, "expire")
        left = self._formats[batch.provider].left
        unfinished = [left(work.lines[number], outcome) for number in work.order[batch.position :]]
        with self._store.transaction():
            fresh = self._store.batch(batch.id)
            if fresh is None:
                return
            rest = b"".join(unfinished)
            if work.errors is not None:
                _write(work.errors, fresh.error_bytes, rest)
                fresh.error_bytes += len(rest)
            else:
                _write(work.output, fresh.output_bytes, rest)
                fresh.output_bytes += len(rest)
            fresh.unfinished = len(unfinished)
            fresh.phase, fresh.outcome, fresh.ended_at = Phase.DONE, outcome, self._clock.now()
            self._formats[batch.provider].finish(fresh, self._store)
            self._store.save_batch(fresh)

    def _change(self, batch_id: str, **changes: object) -> None:
        with self._store.transaction():
            batch = self._store.batch(batch_id)
            if batch is None:
                return
            for name, value in changes.items():
                setattr(batch, name, value)
            self._store.save_batch(batch)

    def _opened(self, batch: Batch) -> "_Work":
        if batch.id not in self._work:
            lines = LineFile(Path(batch.input_path))
            separate = batch.provider is ProviderName.OPENAI
            self._work[batch.id] = _Work(
                lines=lines,
                order=order_of(len(lines), batch.results_order, str(batch.nth_create or batch.id)),
                output=_open(self._store.results_path(batch)),
                errors=_open(self._store.results_path(batch, errors=True)) if separate else None,
            )
        return self._work[batch.id]

    def _forget(self, open_ids: list[str]) -> None:
        """Close what belongs to batches that ended, or were swept away by a reset."""
        for batch_id in set(self._work) - set(open_ids):
            self._work.pop(batch_id).close()


def _hit(batch: Batch, fault: str, turn: int, *, phase: float = 0.0) -> bool:
    """Whether this line belongs to the share of lines that a fault strikes; `phase` moves which ones those are."""
    if fault not in batch.faults:
        return False
    share = batch.faults[fault]["share"]
    return int((turn + 1) * share + phase) > int(turn * share + phase)


@dataclass(slots=True)
class _Work:
    lines: LineFile
    order: Sequence[int]
    output: BinaryIO
    errors: BinaryIO | None

    def close(self) -> None:
        self.lines.close()
        self.output.close()
        if self.errors is not None:
            self.errors.close()


def _open(path: Path) -> BinaryIO:
    path.touch()
    return path.open("r+b")


def _write(file: BinaryIO, position: int, data: bytes) -> None:
    file.seek(position)
    file.write(data)
    file.truncate()
    file.flush()
