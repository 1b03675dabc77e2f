"""Whether a plan may read changed rows alone, and how far it has read then.

The function's parameter is annotated `ChangedRows`. Every row is read all the same where what is asked of them may have
changed, where another input has, where rows of the former plan have no end yet, and once in a while: whatever changed
behind the back of the source is put right then.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from offpeak.assets.declaration import Declaration, DeclaredInput
from offpeak.assets.inputs import InputReader
from offpeak.errors import PlanError
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.readings import Base, Reading, base_of
from offpeak.requests.fingerprint import digest
from offpeak.sources.changed import ChangedRows

COMPLETE_EVERY = timedelta(days=7)
"""After this time a plan reads every row again."""

READ_TAG = "offpeak/read"
"""A run tag: "all" has this run read every row."""


class ChangedInput:
    """The input of one batch asset that is read as changed rows."""

    def __init__(
        self,
        declaration: Declaration,
        parameter: DeclaredInput,
        *,
        asset: str,
        reader: InputReader,
        ledger: Ledger,
        realm: str,
        now: datetime,
        whole: bool,
    ) -> None:
        self._parameter, self._asset = parameter, asset
        self._reader, self._ledger, self._now, self._whole = reader, ledger, now, whole
        self._source = reader.key_of(parameter)
        self._asked = digest([realm, declaration.effective_code_version])

    def read(self, partition_key: str | None, partition: str) -> tuple[dict[str, Any], Reading]:
        """The inputs by parameter, and how they are read. `partition` is the ledger's name for the partition."""
        versions = self._reader.versions(partition_key, leaving_out=self._source)
        known = {key: version for key, version in versions.items() if version is not None}
        base = None if self._whole or len(known) < len(versions) else self._base(partition, known)
        since = {} if base is None else {self._parameter.parameter: base.position}
        inputs = self._reader.read(partition_key, since=since)
        feed = inputs[self._parameter.parameter]
        if not isinstance(feed, ChangedRows):
            raise PlanError(
                f"{self._asset}: {self._source.to_user_string()} was loaded as {type(feed).__name__}, not as changed "
                "rows. Nothing was submitted. Its IO manager has to know them, as offpeak.SourceTables does; or "
                "annotate the parameter as pandas.DataFrame or as Iterator."
            )
        reading = Reading(
            source=self._source.to_user_string(),
            feed=feed,
            asked=self._asked,
            versions=known,
            began_at=self._now,
            base=base,
        )
        return inputs, reading

    def _base(self, partition: str, versions: Mapping[str, str]) -> Base | None:
        base = base_of(self._ledger, self._asset, partition, source=self._source.to_user_string())
        if base is None or base.asked != self._asked or base.versions != versions:
            return None
        return base if self._now - base.complete_at < COMPLETE_EVERY else None


def changed_parameter(declaration: Declaration) -> DeclaredInput | None:
    """The parameter that asks for changed rows, if there is one."""
    return next((each for each in declaration.inputs if each.annotation is ChangedRows), None)


def reads_all(tags: Mapping[str, str]) -> bool:
    """Whether the run's tags ask for every row. Raises PlanError for a value that says nothing."""
    asked = tags.get(READ_TAG)
    if asked not in (None, "all"):
        raise PlanError(
            f'The run tag {READ_TAG}={asked!r} is not known. Nothing was submitted. "all" has the run read every row; '
            "without the tag it reads what changed, where it can."
        )
    return asked == "all"
