"""What the processes of a schedule do: runs, the sensor that looks after parked ones, and the run that stops jobs.

They are the product's own code over HTTP through the real SDKs. What stands in for Dagster is the stage: it launches
runs and knows which have ended; here is only what the product does about that, without Dagster's own objects.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from offpeak.assets.order import Order, PartitionPlan
from offpeak.assets.purchase import begin
from offpeak.assets.work import Work
from offpeak.clock import Clock
from offpeak.errors import JobFailed, OffpeakError, SubmissionRejected
from offpeak.ledger import cleaning, dead_letters, jobs, parked_runs, pruning, sightings, submissions
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import FailurePolicy
from offpeak.ledger.states import JobState, ParkedState
from offpeak.money import ModelRates
from offpeak.providers.base import Provider
from offpeak.requests import Chat

MODELS = {"openai": "openai/gpt-5-mini", "anthropic": "anthropic/claude-haiku-5-5"}
LOG = logging.getLogger("offpeak.simulation")
STOPPING_PATIENCE = timedelta(seconds=20)
LAST_RUNS = 4
"""Of one asset, at most: one may have to clear up what failed before."""


class Verdict(BaseModel):
    urgent: bool


@dataclass(frozen=True)
class Actor:
    """One process. `pause` is a moment at which it may be killed; `tell` says something to the stage."""

    ledger: Ledger
    provider: Provider
    rates: ModelRates
    clock: Clock
    structured: bool
    policies: Mapping[str, FailurePolicy]
    pause: Callable[[str], None]
    tell: Callable[[dict[str, Any]], None]
    wait: Callable[[], dict[str, Any]]
    """Returns what the stage says next, whenever that is."""

    @property
    def output(self) -> type[BaseModel] | None:
        return Verdict if self.structured else None

    def _place(self) -> dict[str, Any]:
        return {
            "ledger": self.ledger, "provider": self.provider, "rates": self.rates, "clock": self.clock, "log": LOG
        }  # fmt: skip

    def begin(self, run_id: str, asset: str, rows: Mapping[str, str]) -> int:
        """Plan these rows; the job's number."""
        plan = PartitionPlan(
            partition_key="",
            as_of=self.clock.now(),
            requests=(Chat(key=key, prompt=text) for key, text in rows.items()),
        )
        order = Order(
            asset=asset,
            model=MODELS[self.provider.name],
            output=self.output,
            code_version=None,
            valid_for=timedelta(hours=37),
            deadline=timedelta(hours=24),
            partitions=iter([plan]),
            run_id=run_id,
            approved=True,
            policy=self.policies[asset],
        )
        return begin(order, **self._place())

    def work(self, job_id: int, asset: str) -> Work:
        model, policy = MODELS[self.provider.name], self.policies[asset]
        return Work(job_id, asset=asset, model=model, output=self.output, policy=policy, **self._place())

    def in_place(self, run_id: str, asset: str, rows: Mapping[str, str]) -> None:
        """A run that waits for its batches."""
        work = self.work(self.begin(run_id, asset, rows), asset)
        work.carry_out()
        work.close()

    def parked(self, run_id: str, asset: str, rows: Mapping[str, str]) -> None:
        """A run that plans and submits, and leaves another one behind that waits."""
        self._hand_over(run_id, asset, self.begin(run_id, asset, rows))

    def released(self, run_id: str, asset: str, rows: Mapping[str, str]) -> None:
        """A parked run that was let go: it collects its job, or plans where that is not its any more."""
        job_id = parked_runs.job_of(self.ledger, run_id=run_id, asset=asset)
        self._hand_over(run_id, asset, self.begin(run_id, asset, rows) if job_id is None else job_id)

    def _hand_over(self, run_id: str, asset: str, job_id: int) -> None:
        work = self.work(job_id, asset)
        if work.hand_over():
            work.close()
            return
        held = f"{run_id}+"
        number = parked_runs.intend(self.ledger, run_id=held, origin_run_id=run_id, location="simulation")
        self.pause("held run intended")
        self.tell({"held": held, "asset": asset})
        self.pause("held run queued")
        parked_runs.hold(
            self.ledger, number, origin_run_id=run_id, jobs={job_id: asset}, joining=job_id, progress="",
            release_at=work.again_at(),
        )  # fmt: skip

    def sensor(self) -> None:
        """The daemon: looks whenever it is told to, and outlives a look that failed."""
        while True:
            seen = self.wait()
            try:
                self.look_after(seen["ended"], seen["held"])
            except OffpeakError as error:
                self.tell({"failed": type(error).__name__})

    def look_after(self, ended: Mapping[str, str], waiting: list[str]) -> None:
        """One tick of the sensor. `ended`: runs that are over, and how; `waiting`: those that are held."""
        for run_id, job_ids in jobs.abandoned(self.ledger).items():
            if ended.get(run_id) == "terminated" and run_id not in parked_runs.known(self.ledger, [run_id]):
                parked_runs.stop_unparked(self.ledger, job_ids, run_id=run_id, location="simulation")
        here = []
        for each in parked_runs.open_ones(self.ledger):
            if each.state is ParkedState.STOPPING:
                continue
            if ended.get(each.run_id) == "terminated" and each.jobs:
                parked_runs.enter(self.ledger, each.id, ParkedState.STOPPING, why="its run was terminated")
            elif each.run_id in ended:
                parked_runs.enter(self.ledger, each.id, ParkedState.ENDED, why="its run ended")
            elif each.state is ParkedState.INTENDED and each.origin_run_id in ended:
                self.tell({"deleted": each.run_id})
                parked_runs.enter(self.ledger, each.id, ParkedState.ENDED, why="its process died")
            elif each.run_id in waiting:
                here.append(each)
        chunks = sightings.of_jobs(self.ledger, [job_id for each in here for job_id in each.jobs])
        out = [chunk for each in chunks.values() for chunk in each if chunk.at_provider and not chunk.landed]
        since = sightings.since(out)
        if since is not None:
            wanted = {chunk.batch_id for chunk in out}
            shown = {batch.id: batch for batch in self.provider.batches(since=since) if batch.id in wanted}
            sightings.see(self.ledger, out, shown)
            chunks = sightings.of_jobs(self.ledger, list(chunks))
        now = self.clock.now()
        for each in here:
            mine = [chunk for job_id in each.jobs for chunk in chunks[job_id]]
            if (why := each.why_now(mine, now)) is not None:
                self.tell({"release": each.run_id})
                parked_runs.enter(self.ledger, each.id, ParkedState.RELEASED, why=why)
        self._tell_stopping()

    def _tell_stopping(self) -> None:
        found = parked_runs.open_ones(self.ledger)
        self.tell({"stopping": sum(each.state is ParkedState.STOPPING for each in found)})

    def stop(self) -> None:
        """One round of the run that stops jobs."""
        for each in parked_runs.open_ones(self.ledger):
            if each.state is not ParkedState.STOPPING:
                continue
            left = 0
            for job_id, asset in each.jobs.items():
                if not self.work(job_id, asset).wind_down(patience=STOPPING_PATIENCE):
                    left += 1
                    continue
                shared = jobs.awaited_by_others(self.ledger, job_id)
                chunks = submissions.of_job(self.ledger, job_id)
                jobs.close(self.ledger, job_id, JobState.CANCELLED, why=f"run {each.run_id} was terminated")
                tokens = [chunk.token for chunk in chunks if chunk.chunk_id not in shared]
                self.tell({"stopped": job_id, "prefixes": [self.ledger.identity + token for token in tokens]})
            if not left:
                parked_runs.enter(self.ledger, each.id, ParkedState.STOPPED, why="its jobs are cancelled")
        self._tell_stopping()

    def keep_house(self, kept: float) -> None:
        """Delete what nothing needs any more, as the project's daily run does."""
        cleaning.sweep(self.ledger, self.provider, log=LOG)
        self.pause("swept")
        pruning.prune(self.ledger, keep=timedelta(seconds=kept))

    def requeue(self, asset: str) -> None:
        """Somebody sends an asset's dead letters round again."""
        dead_letters.requeue(self.ledger, dead_letters.Chosen(asset=asset), who="somebody")

    def finish(self, rows: Mapping[str, Mapping[str, str]]) -> None:
        """The last run of each asset, when nothing goes wrong any more."""
        for asset, texts in rows.items():
            for _ in range(LAST_RUNS):
                try:
                    self.in_place("last", asset, texts)
                    break
                except SubmissionRejected as error:  # it collected a batch that had failed before
                    self.tell({"failed": type(error).__name__})
                except JobFailed as error:  # not one of its rows has an answer
                    self.tell({"failed": type(error).__name__})
                    break
