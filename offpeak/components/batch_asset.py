"""A batch asset written in YAML: one source table, one prompt, one model.

For anything that needs code (several inputs, images, conversations) there is `@batch_asset`.
"""

import importlib
import string
from collections.abc import Iterator
from datetime import time, timedelta
from typing import Annotated, Any, Literal

import dagster as dg
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, create_model

from offpeak.assets.decorator import batch_asset
from offpeak.errors import DefinitionError, PlanError
from offpeak.freshness.contract import FreshnessContract
from offpeak.freshness.gate import tolerates
from offpeak.lanes.workload import Waiting, Workload, time_of_day
from offpeak.ledger.notify import NEEDS_A_PERSON, Notify
from offpeak.ledger.policy import FailurePolicy
from offpeak.ledger.sampling import Sample
from offpeak.money.budget import Budget
from offpeak.queue.policy import QueuePolicy
from offpeak.requests import Chat, Embedding, Request

_Dollars = str | int | float | None
"""Dagster reads decimal text in YAML as a number, quoted or not; written out again it is the text that stood there."""

_TYPES: dict[str, type] = {"text": str, "integer": int, "number": float, "boolean": bool}


class BatchAssetComponent(dg.Component, dg.Model, dg.Resolvable):
    """A batch asset that asks one question about every row of a table."""

    key: Annotated[str, Field(description="The asset's key; parts are separated by '/'.")]
    model_ref: Annotated[str, Field(description='The model as "provider/model".')]
    source: Annotated[str, Field(description="The key of the asset that holds the rows; it loads as a data frame.")]
    key_column: Annotated[str, Field(description="The column that names a row.")]
    prompt: Annotated[
        str,
        Field(description="What is asked about each row; $column stands for a value. For ask: embedding, the text."),
    ]
    system: Annotated[str | None, Field(description="The system text, the same for every row.")] = None
    prefix: Annotated[
        str | None,
        Field(description="A text before it, the same for every row, that the provider caches if that pays."),
    ] = None
    task_column: Annotated[
        str | None, Field(description="The column that names what a row is a part of, whose cost is told as one.")
    ] = None
    ask: Annotated[Literal["chat", "embedding"], Field(description="Whether to ask a model or to embed the text.")] = (
        "chat"
    )
    output_model: Annotated[
        str | None, Field(description="A pydantic model by its import path, such as my_project.models.Label.")
    ] = None
    output_fields: Annotated[
        dict[str, str | list[str]] | None,
        Field(
            description="Instead of output_model: each field with its type (text, integer, number, boolean), or with "
            "the list of values it may take."
        ),
    ] = None
    waiting: Annotated[Literal["nobody", "walked_away"], Field(description="Who waits for the rows.")]
    deadline_hours: Annotated[
        float | None, Field(description="The latest useful moment, in hours from the run's creation.")
    ] = None
    deadline: Annotated[
        str | None,
        Field(description='Instead of deadline_hours: a time of day with its zone, such as "09:00 Europe/Berlin".'),
    ] = None
    volume: Annotated[int | None, Field(description="How many requests a run usually asks, where that is known.")] = (
        None
    )
    valid_for_hours: Annotated[float, Field(description="How old rows may get, counted from their as_of.")]
    warn_after_hours: Annotated[
        float | None, Field(description="Shorter: the age from which on the check `fresh` warns.")
    ] = None
    tolerates_hours: Annotated[
        float | None, Field(description="How stale the source may be; required when it is a batch asset itself.")
    ] = None
    wait: Annotated[
        Literal["park", "run"], Field(description="Hold no process while a batch is on its way, or wait in the run.")
    ] = "park"
    lane: Annotated[
        Literal["batch", "background"] | None,
        Field(description="The lane to buy in, whatever the rule makes of waiting and deadline."),
    ] = None
    on_deadline: Annotated[
        Literal["rescue", "serve_last_good", "fail"],
        Field(description="What is done about batches that may not make the deadline."),
    ] = "rescue"
    on_unresolved: Annotated[
        Literal["wait", "pay_twice"],
        Field(description="With on_deadline: rescue, what is done where nobody knows in time what a batch has bought."),
    ] = "wait"
    on_failure: Annotated[
        Literal["surface", "drop", "fail"],
        Field(description="What becomes of rows without a usable answer, once they have been tried again."),
    ] = "surface"
    min_success_rate: Annotated[
        float | None, Field(description="With on_failure: fail, the share of rows that is enough, 0 to 1.")
    ] = None
    sample_rows: Annotated[
        int | None,
        Field(description="How many rows to buy and show first where the prompt, model or schema is new."),
    ] = None
    sample_max_failures: Annotated[
        float | None,
        Field(
            description="With sample_rows, the share of them that may fail for the rest to follow by itself, 0 to 1."
        ),
    ] = None
    notify: Annotated[
        list[str] | None, Field(description="Destinations of the notifier that are told of what becomes of the asset.")
    ] = None
    notify_on: Annotated[
        list[str] | None,
        Field(description="With notify, what they are told of; without, of all that needs a person."),
    ] = None
    priority: Annotated[
        int, Field(description="Of several assets that wait for room at the provider, higher ones go first.")
    ] = 0
    on_full: Annotated[
        Literal["delay", "drop", "degrade"],
        Field(description="What becomes of rows for which there is no room: they wait, are let go, or degrade_to."),
    ] = "delay"
    degrade_to: Annotated[
        str | None, Field(description='With on_full: degrade, the cheaper model as "provider/model".')
    ] = None
    patience_hours: Annotated[
        float, Field(description="With on_full: drop or degrade, how long they wait for room before that.")
    ] = 0
    budget_job: Annotated[
        _Dollars,
        Field(description='Dollars that one materialization may cost, such as "2.50"; more is held, or refused.'),
    ] = None
    budget_day: Annotated[
        _Dollars,
        Field(description="Dollars that the asset may cost within a UTC day; more is held, or refused."),
    ] = None
    budget_pay_twice: Annotated[
        _Dollars, Field(description="Dollars a UTC day that may knowingly be paid a second time.")
    ] = None
    over_budget: Annotated[
        Literal["ask", "refuse"],
        Field(description="With a budget: hold what costs more until somebody approves it, or fail the run."),
    ] = "ask"
    max_tokens: Annotated[int | None, Field(description="The longest answer, in tokens.")] = None
    code_version: Annotated[str | None, Field(description="Raise it to say that a changed prompt is meant.")] = None
    description: str | None = None
    group_name: str | None = None
    owners: list[str] | None = None
    tags: dict[str, str] | None = None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - Dagster's signature
        """The one asset. Raises DefinitionError for attributes that cannot work together."""
        if not string.Template(self.prompt).is_valid():
            raise DefinitionError(
                f"{self.key}: prompt cannot be read. Write $column or ${{column}} for a value of the row, and $$ "
                "for a dollar sign."
            )
        source = dg.AssetKey.from_user_string(self.source)
        staleness = None if self.tolerates_hours is None else timedelta(hours=self.tolerates_hours)
        decorate = batch_asset(
            model=self.model_ref,
            output=self._output(),
            workload=Workload(waiting=Waiting(self.waiting), deadline=self._deadline(), volume=self.volume),
            contract=FreshnessContract(
                valid_for=timedelta(hours=self.valid_for_hours),
                warn_after=None if self.warn_after_hours is None else timedelta(hours=self.warn_after_hours),
            ),
            wait=self.wait,
            lane=self.lane,
            on_deadline=self.on_deadline,
            on_unresolved=self.on_unresolved,
            on_failure=FailurePolicy(then=self.on_failure, min_success_rate=self.min_success_rate),
            sample=self._sample(),
            notify=self._notify(),
            queue=QueuePolicy(
                priority=self.priority,
                on_full=self.on_full,
                degrade_to=self.degrade_to,
                patience=timedelta(hours=self.patience_hours),
            ),
            budget=self._budget(),
            key=dg.AssetKey.from_user_string(self.key),
            ins={"rows": dg.AssetIn(source) if staleness is None else tolerates(staleness, key=source)},
            description=self.description or f"{self.model_ref} on every row of {self.source}.",
            code_version=self.code_version,
            group_name=self.group_name,
            owners=self.owners,
            tags=self.tags,
        )

        def plan(rows: pd.DataFrame) -> Iterator[Request]:
            yield from self._requests(rows)

        return dg.Definitions(assets=[decorate(plan)])

    def _deadline(self) -> timedelta | time:
        if (self.deadline_hours is None) == (self.deadline is None):
            raise DefinitionError(
                f"{self.key}: give either deadline_hours, counted from the run's creation, or deadline, a time of day "
                'such as "09:00 Europe/Berlin".'
            )
        if self.deadline is None:
            return timedelta(hours=self.deadline_hours or 0)
        try:
            return time_of_day(self.deadline)
        except DefinitionError as error:
            raise DefinitionError(f"{self.key}: deadline: {error}") from error

    def _sample(self) -> Sample | None:
        if self.sample_rows is None and self.sample_max_failures is not None:
            raise DefinitionError(
                f"{self.key}: sample_max_failures={self.sample_max_failures!r} goes with sample_rows, the number of "
                "rows to buy first. Give both, or neither."
            )
        if self.sample_rows is None:
            return None
        return Sample(rows=self.sample_rows, max_failures=self.sample_max_failures)

    def _notify(self) -> Notify | None:
        if self.notify is None and self.notify_on is not None:
            raise DefinitionError(
                f"{self.key}: notify_on={self.notify_on!r} goes with notify, the destinations that are told. Give "
                "both, or neither."
            )
        if self.notify is None:
            return None
        return Notify(to=self.notify, on=NEEDS_A_PERSON if self.notify_on is None else self.notify_on)

    def _budget(self) -> Budget | None:
        amounts = (self.budget_job, self.budget_day, self.budget_pay_twice)
        if amounts == (None, None, None) and self.over_budget == "ask":
            return None
        job, day, pay_twice = (str(each) if isinstance(each, float) else each for each in amounts)
        return Budget(job=job, day=day, pay_twice=pay_twice, over=self.over_budget)

    def _requests(self, rows: pd.DataFrame) -> Iterator[Request]:
        prompt = string.Template(self.prompt)
        needed = {self.key_column, *prompt.get_identifiers(), *filter(None, [self.task_column])}
        missing = sorted(needed - set(map(str, rows.columns)))
        if missing:
            raise PlanError(
                f"{self.key}: {self.source} has no column {', '.join(missing)}. Nothing was submitted. Its columns are "
                f"{', '.join(map(str, rows.columns))}."
            )
        columns = list(map(str, rows.columns))
        for values in rows.itertuples(index=False, name=None):
            row: dict[str, Any] = dict(zip(columns, values, strict=True))
            key, text = row[self.key_column], prompt.substitute(row)
            key = str(key) if isinstance(key, int) else key
            task = None if self.task_column is None else str(row[self.task_column])
            if self.ask == "embedding":
                yield Embedding(key=key, task=task, text=text)
            else:
                yield Chat(
                    key=key,
                    task=task,
                    prefix=self.prefix,
                    system=self.system,
                    prompt=text,
                    max_tokens=self.max_tokens,
                )

    def _output(self) -> type[BaseModel] | None:
        if self.output_model is not None and self.output_fields is not None:
            raise DefinitionError(f"{self.key}: give output_model or output_fields, not both.")
        if self.output_model is not None:
            return self._imported(self.output_model)
        if self.output_fields is None:
            return None
        fields: dict[str, Any] = {}
        for name, kind in self.output_fields.items():
            if isinstance(kind, list):
                fields[name] = (Literal[tuple(kind)], ...)
            elif kind in _TYPES:
                fields[name] = (_TYPES[kind], ...)
            else:
                raise DefinitionError(
                    f"{self.key}: output_fields.{name} is {kind!r}; expected one of {', '.join(_TYPES)}, or a list of "
                    "values."
                )
        return create_model("Answer", __config__=ConfigDict(extra="forbid"), **fields)

    def _imported(self, path: str) -> type[BaseModel]:
        module, _, name = path.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise DefinitionError(
                f"{self.key}: output_model={path!r} cannot be imported ({error}). Give the dotted path of a "
                "pydantic model."
            ) from error
        if not (isinstance(found, type) and issubclass(found, BaseModel)):
            raise DefinitionError(f"{self.key}: output_model={path!r} is not a pydantic model.")
        return found
