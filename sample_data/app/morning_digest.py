"""Every morning at nine: what happened yesterday, in three sentences, mailed to each manager."""

from apscheduler.schedulers.blocking import BlockingScheduler
from openai import OpenAI

from .store import managers, send_mail, yesterday_of

client = OpenAI()
scheduler = BlockingScheduler(timezone="Europe/Berlin")


def summarise(events: str) -> str:
    answer = client.chat.completions.create(
        model="gpt-5.4-mini",
        max_tokens=400,
        messages=[
            {"role": "system", "content": "Sum up the day in three sentences."},
            {"role": "user", "content": events},
        ],
    )
    return answer.choices[0].message.content or ""


@scheduler.scheduled_job("cron", hour=9)
def morning_digest() -> None:
    for manager in managers():
        send_mail(manager, summarise(yesterday_of(manager)))
