"""Facts out of free text, words for pictures, and log lines in one form: what other programs then read as columns."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, Field, field_validator

from offpeak import ChangedRows, Chat, FreshnessContract, Image, Waiting, Workload, batch_asset, when_data_changes
from resources.sample_data import FOLDER

OVERNIGHT = Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=24))
NIGHTLY = FreshnessContract(valid_for=timedelta(hours=49))  # a day between runs, the deadline, and an hour

READ_A_NOTE = """\
You read what colleagues jotted down about a supplier, and fill in a form. Write only what the note says: leave a field
empty when the note is silent about it, and never guess. Weeks are seven days.

Goods:
- materials: clay, glaze, porcelain, paper, ink, dyes, paint, oil, yarn
- tools: brushes, knives, frames, ropes, mats and machines to work with
- furniture: chairs, stools, shelves, stands, lamps
- food: coffee, tea, biscuits and what else is eaten or drunk
- services: repairs, laundry, cleaning, maintenance
- other: anything else, or the note does not say
"""

DESCRIBE = """\
You write the alternative text of pictures, for people who cannot see them. Say in one sentence what the picture shows
and what it is there for; of a chart, say what it compares and what stands out. Do not begin with "Picture of". The
caption stands beside the picture anyway, so add to it instead of repeating it.
"""

NORMALISE = """\
You bring log lines of many programs into one form. Durations are milliseconds. A level that the line does not name
follows from what happened: error when something failed, warning when it may fail soon or was refused, info otherwise.
"""


class Contact(BaseModel):
    """A person to talk to."""

    name: str | None = Field(description="First and last name, without a title.")
    email: str | None
    phone: str | None


class MinimumOrder(BaseModel):
    """What an order has to be worth."""

    amount: float = Field(ge=0, description="The minimum order.")
    currency: Literal["EUR", "GBP", "CHF"]


class SupplierRecord(BaseModel):
    """What one note says of a supplier."""

    company: str | None = Field(description="The supplier's name with its legal form.")
    goods: Literal["materials", "tools", "furniture", "food", "services", "other"]
    contact: Contact | None
    lead_time_days: int | None = Field(ge=0, description="Lead time: from the order to the delivery.")
    payment_days: int | None = Field(ge=0, le=365, description="Payment is due so many days after the invoice.")
    minimum_order: MinimumOrder | None
    valid_until: date | None = Field(description="The last day of an offer or a price.")

    @field_validator("contact")
    @classmethod
    def reachable(cls, contact: Contact | None) -> Contact | None:
        """An address without an @ was made up: the answer counts as invalid, and the note is asked about again."""
        if contact and contact.email and "@" not in contact.email:
            raise ValueError(f"{contact.email!r} is no e-mail address")
        return contact


class AltText(BaseModel):
    """What stands in for one picture."""

    alt_text: str = Field(description="What the picture shows, in one sentence.", max_length=200)
    kind: Literal["chart", "screenshot", "drawing", "logo", "photo"]


class LogEvent(BaseModel):
    """One log line in the common form."""

    level: Literal["debug", "info", "warning", "error"]
    component: str | None = Field(description="The program that wrote the line, without its process id.")
    event: str = Field(description="What happened, in a few words.", max_length=120)
    duration_ms: int | None = Field(ge=0, description="How long it took.")
    client_ip: str | None


@batch_asset(
    model="anthropic/claude-haiku-5-5",
    output=SupplierRecord,
    workload=OVERNIGHT,
    contract=NIGHTLY,
    code_version="1",
    automation_condition=when_data_changes(),
    group_name="enrichment",
    owners=["team:purchasing"],
    tags={"domain": "purchasing"},
)
def record_fields(supplier_notes: pd.DataFrame) -> Iterator[Chat]:
    """Supplier, contact and terms out of every free-text note; a field is empty where the note is silent."""
    note: Any  # a row: pandas has no type for its fields
    for note in supplier_notes.itertuples():
        yield Chat(key=note.note_id, system=READ_A_NOTE, prompt=note.text, max_tokens=500)


@batch_asset(
    model="anthropic/claude-haiku-5-5",
    output=AltText,
    workload=OVERNIGHT,
    contract=NIGHTLY,
    code_version="1",
    automation_condition=when_data_changes(),
    group_name="enrichment",
    owners=["team:documentation"],
    tags={"domain": "knowledge"},
)
def image_alt_text(pictures: pd.DataFrame) -> Iterator[Chat]:
    """Alternative text of every picture, by its bytes: a file that is moved or renamed is not bought again."""
    picture: Any
    for picture in pictures.itertuples():
        image = Image.from_path(FOLDER / picture.file)  # an absolute path stays what it is
        yield Chat(key=picture.picture_id, system=DESCRIBE, prompt=picture.caption, images=[image], max_tokens=200)


@batch_asset(
    model="openai/gpt-5-mini",
    output=LogEvent,
    workload=OVERNIGHT,
    contract=NIGHTLY,
    code_version="1",
    automation_condition=when_data_changes(),
    group_name="enrichment",
    owners=["team:operations"],
    tags={"domain": "operations"},
)
def log_events(log_lines: ChangedRows) -> Iterator[Chat]:
    """Every log line in one form. Time and host stay out of the question, so a repeated text is bought once.

    Of a table this long only the lines are read that changed since the last plan.
    """
    for line in log_lines:
        yield Chat(key=line.line_id, system=NORMALISE, prompt=line.text.strip(), effort="low")
