"""Calling the user's function: frames in, a stream of requests out. No Dagster run, no ledger, nothing bought."""

import inspect
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pandas as pd

from offpeak.assets.declaration import Declaration
from offpeak.errors import InvalidRequest, PlanError
from offpeak.requests import Request
from offpeak.requests.keys import check_request
from offpeak.sources.changed import ChangedRows


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanContext:
    """What a function whose first parameter is called `context` is told about the plan it makes."""

    partition_key: str | None = None
    """The partition being planned; None where the asset has none."""
    partition_keys: Sequence[str] = ()
    """All partitions of this run."""
    run_tags: Mapping[str, str] = field(default_factory=dict)
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("offpeak.plan"))


def stream(
    declaration: Declaration,
    asset: str,
    inputs: Mapping[str, Any],
    context: PlanContext,
    *,
    checks: list[dg.AssetCheckResult] | None = None,
) -> Iterator[Request]:
    """The requests of one plan, as the function yields them. Check results that it yields are put into `checks`.

    Raises PlanError when the function returns something that cannot be gone through.
    """
    function = declaration.function
    planned = function(context, **inputs) if declaration.takes_context else function(**inputs)
    if not isinstance(planned, Iterable) or isinstance(planned, (str, bytes, Mapping)):
        raise PlanError(
            f"{asset}: {function.__name__} returned {type(planned).__name__}, not requests. Nothing was submitted. "
            "Yield Chat, Embedding or Moderation, one per row."
        )
    for item in planned:
        if isinstance(item, dg.AssetCheckResult):
            if checks is not None:
                checks.append(item)
            continue
        yield item


def plan(
    declaration: Declaration, asset: str, positional: Sequence[Any], named: Mapping[str, Any], context: PlanContext
) -> list[Request]:
    """The requests for the given inputs, checked: for a user's unit tests. A frame serves as changed rows too.

    Raises InvalidRequest for a bad or repeated key, TypeError for inputs that the function does not take.
    """
    parameters = [
        inspect.Parameter(each.parameter, inspect.Parameter.POSITIONAL_OR_KEYWORD) for each in declaration.inputs
    ]
    inputs = inspect.Signature(parameters).bind(*positional, **named).arguments
    for each in declaration.inputs:
        given = inputs.get(each.parameter)
        if each.annotation is ChangedRows and isinstance(given, pd.DataFrame):  # a run gives its rows, one by one
            inputs[each.parameter] = given.itertuples(index=False)
    requests: list[Request] = []
    seen: dict[str, int] = {}
    for position, request in enumerate(stream(declaration, asset, inputs, context)):
        check_request(request, asset=asset, position=position)
        if (first := seen.setdefault(request.key, position)) != position:
            raise InvalidRequest(
                f"{asset}: rows {first} and {position} of the plan have the same key {request.key!r}. A key names "
                "one row. Make the keys distinct, or drop the duplicate row."
            )
        requests.append(request)
    return requests
