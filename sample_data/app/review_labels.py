"""Label the first ten thousand reviews of the new shop."""

import json

import anthropic

from .store import save_label

client = anthropic.Anthropic()


def label(review: str) -> str:
    message = client.messages.create(
        model="claude-haiku-4-5",
        max_tokens=20,
        messages=[{"role": "user", "content": f"One word, praise or complaint or question: {review}"}],
    )
    return message.content[0].text


def review_labels(path: str) -> None:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - as such scripts are
        reviews = [json.loads(line) for line in file]
    for number in range(10_000):
        review = reviews[number]
        save_label(review["id"], label(review["text"]))


if __name__ == "__main__":
    review_labels("reviews.jsonl")
