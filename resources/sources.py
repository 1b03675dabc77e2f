"""Where the application's tables are: `OFFPEAK_SOURCE_URL`, read at every load. Without it the sample data is read."""

from pydantic import Field

import offpeak
from resources import sample_data


class SourceTables(offpeak.SourceTables):
    """`offpeak.SourceTables` that reads the sample data where nothing else is given."""

    default_url: str | None = Field(default_factory=lambda: f"sqlite:///{sample_data.DATABASE}")
    default_hint: str = "create it with `python -m resources.sample_data load`"
