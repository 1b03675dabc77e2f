"""The search field. A person waits for the vector of what was typed."""

from fastapi import APIRouter
from openai import OpenAI

from .store import nearest

client = OpenAI()
router = APIRouter()


@router.get("/search")
def search(query: str) -> list[str]:
    vector = client.embeddings.create(model="text-embedding-3-small", input=query).data[0].embedding
    return nearest(vector)
