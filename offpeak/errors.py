"""Every error Offpeak raises, in three families that differ in what they mean for money.

`NothingBought`: raised before anything was sent to a provider; mend the cause and run again.
`AlreadyBought`: raised after a purchase; what was paid for is kept in the ledger, and running again goes on from there.
`CouldNotRead`: something Offpeak depends on could not be read. It is never treated as absent, because absent would
mean "buy it".

Messages say what happened, what it means, and what to do.
"""

from collections.abc import Iterable
from datetime import timedelta
from difflib import get_close_matches


class OffpeakError(Exception):
    """Base of every error Offpeak raises."""


class NothingBought(OffpeakError):
    """Nothing was submitted and nothing was charged."""


class DefinitionError(NothingBought):
    """An asset, contract or tolerance is declared in a way that cannot work. Raised when definitions load."""


class ConfigurationError(NothingBought):
    """A resource, environment variable or file is missing or malformed."""


class PlanError(NothingBought):
    """The plan function yielded something that cannot be bought. The whole plan is discarded."""


class AsksAnew(PlanError):
    """Changed rows ask something else than those that did not change, so every row has to be read."""


class InvalidRequest(PlanError):
    """One request cannot be sent: bad key, too large, a field or schema that the provider does not take."""


class SurgeHeld(NothingBought):
    """More of the unchanged keys than allowed got a new fingerprint; the plan waits for `offpeak jobs approve`."""


class BudgetExceeded(NothingBought):
    """A plan is estimated at more than a budget has left. It is held for approval, or refused, as its Budget says."""


class SubmissionRejected(NothingBought):
    """The provider refused a create definitely, before doing any work."""


class ProviderUnavailable(NothingBought):
    """The provider could not be reached, or asked to be asked later. Retried within bounds.

    `retry_after` is how long the provider asked to be left alone, where it said so.
    """

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimited(ProviderUnavailable):
    """The account may not ask that often, or for that much, at the moment."""


class TierUnavailable(ProviderUnavailable):
    """The provider's cheaper tier does not take a request, which it would take at its standard one.

    `lasting`: the model has no such tier at all.
    """

    def __init__(self, message: str, *, lasting: bool) -> None:
        super().__init__(message)
        self.lasting = lasting


class AlreadyBought(OffpeakError):
    """A purchase was made; its state is in the ledger, and running again continues instead of buying."""


class OutcomeUnknown(AlreadyBought):
    """A paid call was sent and its answer never arrived. It is reconciled with the provider, never resent blind."""


class SampleHeld(AlreadyBought):
    """A sample of the plan was bought, and the rest waits until somebody has looked at it."""


class SampleRejected(AlreadyBought):
    """The rest of a plan is not bought, because its sample was rejected or withdrawn; the sample's answers are kept."""


class LaunchUnderWay(OffpeakError):
    """A launch keeps scheduled work from the provider, and a run that waits in place does not wait so long."""


class JobFailed(AlreadyBought):
    """A job ended without the answers that its asset needs."""


class StaleInput(OffpeakError):
    """A consumer would have read rows older than it tolerates."""


class StaleInputWarning(UserWarning):
    """A program reads rows that are older or fewer than it tolerates, and only wanted to be warned of that."""


class NotFound(OffpeakError):
    """Nothing goes by the name that was asked for: an asset, a partition, a key, a job."""


class CouldNotRead(OffpeakError):
    """A ledger row, spool file or provider answer could not be read, which is not the same as being absent."""


class LedgerUnreadable(CouldNotRead):
    """The ledger is missing, foreign, torn, or of a newer version than this program."""


class LedgerUnavailable(OffpeakError):
    """The ledger's database is away, or a disk is full. Nothing is sent while that lasts; a run that waits goes on."""


class DownloadIncomplete(CouldNotRead):
    """A result file does not hold every line that was bought; it is downloaded again, never applied in part."""


def did_you_mean(name: str, known: Iterable[str], *, nothing: str) -> str:
    """A remedy for a name that is not known: the nearest ones, else the first few there are, else `nothing`."""
    names = sorted(set(known))
    if not names:
        return nothing
    suffixed = [each for each in names if each.rpartition("/")[2] == name.rpartition("/")[2]]
    near = list(dict.fromkeys([*suffixed, *get_close_matches(name, names, n=3, cutoff=0.5)]))[:3]
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"There are: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}."
