"""The application's tables, as far as the jobs need them."""

import sqlite3
from dataclasses import dataclass

database = sqlite3.connect("app.db", check_same_thread=False)


@dataclass(frozen=True)
class Picture:
    id: str
    url: str


def managers() -> list[str]:
    return [name for (name,) in database.execute("SELECT name FROM managers")]


def yesterday_of(manager: str) -> str:
    rows = database.execute("SELECT text FROM events WHERE manager = ? AND day = date('now', '-1 day')", (manager,))
    return "\n".join(text for (text,) in rows)


def send_mail(to: str, text: str) -> None:
    database.execute("INSERT INTO outbox (recipient, text) VALUES (?, ?)", (to, text))


def save_label(review: str, label: str) -> None:
    database.execute("UPDATE reviews SET label = ? WHERE id = ?", (label, review))


def inbox_as_text() -> str:
    return "\n".join(f"{number}: {text}" for number, text in database.execute("SELECT id, text FROM inbox"))


def put_into_folders(plan: str) -> None:
    database.execute("INSERT INTO plans (text) VALUES (?)", (plan,))


def sections_of(quarter: str) -> list[str]:
    return [text for (text,) in database.execute("SELECT text FROM sections WHERE quarter = ?", (quarter,))]


def as_page(sections: list[str]) -> str:
    return "\n\n".join(sections)


def pictures_without_words() -> list[Picture]:
    return [Picture(*row) for row in database.execute("SELECT id, url FROM pictures WHERE words IS NULL")]


def save_words(picture: str, words: str) -> None:
    database.execute("UPDATE pictures SET words = ? WHERE id = ?", (words, picture))


def nearest(vector: list[float]) -> list[str]:
    rows = database.execute("SELECT id FROM documents ORDER BY distance(vector, ?) LIMIT 10", (str(vector),))
    return [document for (document,) in rows]
