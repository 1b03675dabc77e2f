"""The run that keeps the ledger small: files that nothing needs any more go, on this disk and at the providers.

Nothing it deletes can be asked for again, so it may run at any time, beside anything, and be killed anywhere.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import dagster as dg

from offpeak.assets.resources import API_KEY, BatchApi
from offpeak.errors import ConfigurationError, OffpeakError
from offpeak.ledger import cleaning, erasing, pruning
from offpeak.ledger.ledger import Ledger
from offpeak.providers.base import Provider
from offpeak.results.io_manager import RESULTS_KEY, OffpeakResults

HOUSEKEEPING_JOB = "offpeak_housekeeping"


@dg.op(
    required_resource_keys={API_KEY, RESULTS_KEY},
    description="Deletes files that nothing needs any more, on this disk and at the providers.",
)
def keep_house(context: dg.OpExecutionContext) -> None:
    """What cannot be deleted now is told in the run's log, and tried again by the next run."""
    results: OffpeakResults = getattr(context.resources, RESULTS_KEY)
    api: BatchApi = getattr(context.resources, API_KEY)
    if results.keep_files_days < 0:
        raise ConfigurationError(
            f"keep_files_days={results.keep_files_days:g} of the resource {RESULTS_KEY!r} is less than no time. "
            "Nothing was deleted. Use 0 to keep no file longer than its batch is on its way."
        )
    ledger = results.ledger
    ledger.require_home()
    with accounts(context, api, cleaning.realms(ledger)) as providers:
        for provider in providers:
            _clean(context, ledger, provider)
        _erase(context, ledger, providers)
    pruned = pruning.prune(ledger, keep=timedelta(days=results.keep_files_days))
    swept = pruning.sweep_folder(ledger)
    context.log.info(
        f"Deleted {pruned.files:,} request and result files ({pruned.bytes / 1e6:,.1f} MB) of batches that have been "
        f"through for {results.keep_files_days:g} days, {pruned.answers:,} unusable answers, and {swept.files:,} files "
        "that a crash had left."
    )


def _clean(context: dg.OpExecutionContext, ledger: Ledger, provider: Provider) -> None:
    try:
        cleaned = cleaning.sweep(ledger, provider, log=context.log)
    except OffpeakError as error:  # the others are cleaned all the same
        context.log.warning(f"What is left at {provider.realm} stays there for now: {error}")
        return
    context.log.info(
        f"At {provider.realm}: deleted the files of {cleaned.batches:,} batches and {cleaned.uploads:,} unused "
        f"uploads; {cleaned.failed:,} could not be deleted now."
    )


def _erase(context: dg.OpExecutionContext, ledger: Ledger, providers: Sequence[Provider]) -> None:
    """Finish what somebody asked to be erased and that was on its way, or could not be deleted then."""
    finished = erasing.finish(ledger, providers)
    if finished.done:
        context.log.info(f"Finished erasing {finished.done:,} requests.")
    left = finished.on_their_way + sum(finished.waiting.values())
    if left or finished.not_rewritten:
        context.log.warning(
            f"Erasing is not finished: {finished.on_their_way:,} requests are on their way, files of "
            f"{sum(finished.waiting.values()):,} are left at {', '.join(finished.waiting) or 'no provider'}"
            + ("; the database could not be rewritten, because others work in it." if finished.not_rewritten else ".")
        )


@contextmanager
def accounts(context: dg.OpExecutionContext, api: BatchApi, realms: Sequence[str]) -> Iterator[list[Provider]]:
    """The accounts at these realms that are configured; of the others the run's log tells why not."""
    opened: list[Provider] = []
    try:
        for realm in realms:
            try:
                opened.append(account(api, realm))
            except OffpeakError as error:
                context.log.warning(f"What is left at {realm} stays there: {error}")
        yield opened
    finally:
        for provider in opened:
            provider.close()


def account(api: BatchApi, realm: str) -> Provider:
    """The open account at a realm. Raises ConfigurationError where the resource has none, or one elsewhere."""
    provider = api.provider(realm.partition(":")[0])
    if provider.realm != realm:
        provider.close()
        raise ConfigurationError(f"{provider.name} is configured to be reached at {provider.realm}, not there.")
    return provider


@dg.job(name=HOUSEKEEPING_JOB, description="Deletes what nothing needs any more: run it once a day.")
def housekeeping_job() -> None:
    """What the project's schedule runs."""
    keep_house()
