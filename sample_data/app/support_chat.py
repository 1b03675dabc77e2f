"""The chat on the help page. Somebody reads each word as it comes: this belongs in the realtime lane."""

from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from openai import OpenAI

client = OpenAI()
router = APIRouter()


def words(question: str) -> Iterator[str]:
    stream = client.chat.completions.create(
        model="gpt-5.4-mini", stream=True, messages=[{"role": "user", "content": question}]
    )
    for chunk in stream:
        yield chunk.choices[0].delta.content or ""


@router.post("/chat")
def support_chat(question: str) -> StreamingResponse:
    return StreamingResponse(words(question))
