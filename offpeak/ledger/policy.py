"""What is done about requests that bring no usable answer: tried again, after which pause, how often; and what then.

An attempt fails for one of three kinds of reason. The provider's: an error of its own, a limit, a batch that ended
before it was reached. The answer's: it came, was billed, and cannot be used. The request's: the same bytes would fail
again.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Literal

from offpeak.errors import DefinitionError
from offpeak.providers.base import Finish, Outcome

INVALID_OUTPUT = "invalid_output"
"""An answer that does not fit the output schema."""
MISSING = "missing"
"""The result file held no line for the request."""
NOT_RUN = "not_run"
"""Its batch failed as a whole, because of others."""
PAID_TWICE = "paid_twice"
"""An answer that arrived although another batch had brought one: billed, and not used."""

POSSIBLY_PAID = "possibly_paid_twice"
"""A call whose answer never arrived, or that a process was waiting for when it died: asked again, and perhaps billed
both times."""

UNAVAILABLE = "unavailable"
"""A call that the provider failed to answer while it answered others; not billed."""
QUEUE_FULL = "queue_full"
"""There was no room for it at the provider, and its asset does without it then."""
DEGRADED = "degraded"
"""There was no room for it at the provider, and another model was asked in its place."""
FOR_NOW = frozenset({QUEUE_FULL, DEGRADED})
"""Reasons that a full queue gives: they end with the next plan."""

WRONG_REQUEST = frozenset({
    "invalid_request", "invalid_request_error", "invalid_json_line", "duplicate_custom_id", "invalid_custom_id",
    "missing_required_parameter", "invalid_url", "url_mismatch", "model_mismatch", "context_length_exceeded",
    "not_found_error", "permission_error",
})  # fmt: skip
"""Codes by which a provider says that the same bytes would fail again."""

NO_ATTEMPT = frozenset({Outcome.CANCELLED.value, NOT_RUN, PAID_TWICE, POSSIBLY_PAID})
"""Reasons that do not count towards the attempts: the provider never tried, or nobody knows what it said."""

NOTHING_SAID = frozenset({POSSIBLY_PAID, UNAVAILABLE})
"""Reasons that tell nothing of what was asked: no answer came."""

MOST_ROUNDS = 20
"""Submissions of one request at most, whatever they came to: nothing goes round for ever."""

TOKEN_LIMIT = "token_limit_exceeded"  # noqa: S105 - a code, not a secret
"""The account has too many tokens enqueued: OpenAI says so after the create, and fails the batch as a whole."""

_LIMITED = frozenset({"http_429", "http_529", "rate_limit_error", "overloaded_error", TOKEN_LIMIT})
_LIMITED_PAUSE = timedelta(minutes=2)
_LATER_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(minutes=30)

MOST_ATTEMPTS = 10


class Fate(StrEnum):
    """What became of a request that is not tried again."""

    DEAD = "dead"
    """Surfaced: counted, shown, and there to be requeued."""
    DROPPED = "dropped"
    """Let go by the asset's policy, on record."""
    DISCARDED = "discarded"
    """Let go by a person, on record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailurePolicy:
    """What a batch asset does about requests that bring no usable answer. Give it as `on_failure=`.

    Every request is tried `attempts` times in all, spaced by the kind of failure. `invalid` (an answer that does not
    fit the output schema), `cut` (one that met its max_tokens), `refused` and `filtered` say for each kind of answer
    that came and cannot be used whether to ask "again" or make it a "dead_letter" at once; what was cut is asked again
    with twice the max_tokens. All of these answers are billed, and kept raw beside the dead letter.

    What is left then: "surface" makes dead letters, and the asset's check warns; "drop" lets the rows go, on record;
    "fail" fails the run where fewer than `min_success_rate` of the rows (0 to 1, by default 1.0) have an answer of
    their own, and surfaces the rest otherwise.
    """

    then: Literal["surface", "drop", "fail"] = "surface"
    min_success_rate: float | None = None
    attempts: int = 3
    invalid: Literal["again", "dead_letter"] = "again"
    cut: Literal["again", "dead_letter"] = "again"
    refused: Literal["again", "dead_letter"] = "dead_letter"
    filtered: Literal["again", "dead_letter"] = "dead_letter"

    @property
    def fate(self) -> Fate:
        return Fate.DROPPED if self.then == "drop" else Fate.DEAD

    def hopeless(self, reason: str) -> bool:
        """Whether a request that failed so is not tried again, however few its attempts."""
        of_answers = {
            INVALID_OUTPUT: self.invalid,
            Finish.LENGTH.value: self.cut,
            Finish.REFUSED.value: self.refused,
            Finish.FILTERED.value: self.filtered,
        }
        return reason in WRONG_REQUEST or of_answers.get(reason) == "dead_letter"

    def tolerates(self, rows: int, failed: int) -> bool:
        """Whether a job of `rows` rows, `failed` of which have no answer of their own, may materialise."""
        if self.then != "fail" or not rows:
            return True
        wanted = 1.0 if self.min_success_rate is None else self.min_success_rate
        return (rows - failed) / rows >= wanted


SURFACE = FailurePolicy()
"""What an asset has that says nothing of failures."""


def pause_before(attempt: int, reason: str) -> timedelta:
    """How long a request that failed with `reason` is left alone before its attempt number `attempt`, from 2.

    The first time it goes at once, except where the provider said that it had too much to do: a batch that landed has
    waited long enough. Answers that cannot be used are never waited for: another sample is as good now as later.
    """
    if reason in _LIMITED:
        return min(_LIMITED_PAUSE * (1 << max(attempt - 2, 0)), LONGEST_PAUSE)
    if reason in {
        INVALID_OUTPUT,
        *(finish.value for finish in Finish),
        *(outcome.value for outcome in Outcome),
        NOT_RUN,
    }:
        return timedelta(0)
    return timedelta(0) if attempt <= 2 else min(_LATER_PAUSE * (1 << (attempt - 2)), LONGEST_PAUSE)


def failure_policy(asset: str, given: object) -> FailurePolicy:
    """`on_failure=` as a policy: one as it is, or the name of what is done in the end.

    Raises DefinitionError, naming the asset and the field.
    """
    if isinstance(given, str) and given in _THEN:
        given = FailurePolicy(then=given)  # type: ignore[arg-type]
    if not isinstance(given, FailurePolicy):
        raise DefinitionError(
            f"{asset}: on_failure={given!r} says nothing that Offpeak knows. Use {_quoted(_THEN)}, or a FailurePolicy."
        )
    if given.then not in _THEN:
        raise DefinitionError(f"{asset}: on_failure: then={given.then!r} is not one of {_quoted(_THEN)}.")
    for field in ("invalid", "cut", "refused", "filtered"):
        if getattr(given, field) not in _AGAIN:
            raise DefinitionError(
                f"{asset}: on_failure: {field}={getattr(given, field)!r} is not one of {_quoted(_AGAIN)}."
            )
    if (
        isinstance(given.attempts, bool)
        or not isinstance(given.attempts, int)
        or not 1 <= given.attempts <= MOST_ATTEMPTS
    ):
        raise DefinitionError(
            f"{asset}: on_failure: attempts={given.attempts!r} is not a whole number from 1 to {MOST_ATTEMPTS}; each "
            "one may be billed."
        )
    rate = given.min_success_rate
    if rate is not None and (given.then != "fail" or isinstance(rate, bool) or not 0 < rate <= 1):
        raise DefinitionError(
            f"{asset}: on_failure: min_success_rate={rate!r} is a share above 0, at most 1, and goes with "
            'then="fail": FailurePolicy(then="fail", min_success_rate=0.98).'
        )
    return given


_THEN = ("surface", "drop", "fail")
_AGAIN = ("again", "dead_letter")


def _quoted(names: tuple[str, ...]) -> str:
    *rest, last = (f'"{name}"' for name in names)
    return f"{', '.join(rest)} or {last}"
