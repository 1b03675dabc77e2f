"""Looks into the shared inbox every minute, day and night."""

import time

import anthropic

from .store import inbox_as_text, put_into_folders

client = anthropic.Anthropic()


def inbox_agent() -> None:
    while True:
        plan = client.messages.create(
            model="claude-sonnet-5",
            max_tokens=800,
            system="Decide for each mail in which folder it belongs.",
            messages=[{"role": "user", "content": inbox_as_text()}],
        )
        put_into_folders(plan.content[0].text)
        time.sleep(60)


if __name__ == "__main__":
    inbox_agent()
