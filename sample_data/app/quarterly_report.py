"""The report on the quarter. The page says "please wait", for about four hours."""

import anthropic
from fastapi import APIRouter

from .store import as_page, sections_of

client = anthropic.Anthropic()
router = APIRouter()


@router.post("/reports/{quarter}")
def quarterly_report(quarter: str) -> dict[str, str]:
    written = []
    for section in sections_of(quarter):
        message = client.messages.create(
            model="claude-sonnet-5",
            max_tokens=2_000,
            messages=[{"role": "user", "content": f"Write this section of the report:\n{section}"}],
        )
        written.append(message.content[0].text)
    return {"page": as_page(written)}
