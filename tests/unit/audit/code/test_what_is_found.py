"""Calls that nobody watches, each in the shape in which such code is written; and those that are to be left alone."""

from pathlib import Path

import pytest

from offpeak.audit.case import Case

from .writing import audited, findings

FOUND = {
    "a loop over rows": (
        """
        def label(rows):
            return_values = []
            for row in rows:
                return_values.append(CALL)
        """,
        Case.LOOP,
    ),
    "a comprehension": ("answers = [CALL for text in open('texts')]", Case.LOOP),
    "gathered": (
        """
        async def all_of(texts):
            return await asyncio.gather(*[CALL for text in texts])
        """,
        Case.LOOP,
    ),
    "a function that a loop elsewhere calls": (
        """
        def label(text):
            return CALL

        def main():
            for line in open("texts"):
                print(label(line))
        """,
        Case.LOOP,
    ),
    "a function that is mapped": (
        """
        def label(text):
            return CALL

        def main(texts):
            with ThreadPoolExecutor() as pool:
                return list(pool.map(label, texts))
        """,
        Case.LOOP,
    ),
    "a partial that is mapped": (
        """
        def label(text, tone):
            return CALL

        def main(texts):
            return list(map(partial(label, tone="kind"), texts))
        """,
        Case.LOOP,
    ),
    "a lambda over a data frame": ("frame['label'] = frame['text'].progress_apply(lambda text: CALL)", Case.LOOP),
    "a progress bar over serial calls": (
        """
        def caption(pictures):
            for picture in tqdm(pictures):
                save(CALL)
        """,
        Case.SERIAL,
    ),
    "a bar that is moved by hand": (
        """
        def caption(pictures, progress):
            for picture in pictures:
                save(CALL)
                progress.update(1)
        """,
        Case.SERIAL,
    ),
    "a method of a class whose object makes the loop": (
        """
        class Labeller:
            def label(self, text):
                return CALL

        class Run:
            def __init__(self):
                self.labeller = Labeller()

            def all(self, texts):
                return {text: self.labeller.label(text) for text in texts}
        """,
        Case.LOOP,
    ),
    "the method of a base class that its heirs are called through": (
        """
        class Base:
            def all(self, texts):
                return [self.ask(text) for text in texts]

        class Openai(Base):
            def ask(self, text):
                return CALL
        """,
        Case.LOOP,
    ),
    "what a function says to return": (
        """
        class Model:
            def run(self, text):
                return CALL

        class Other:
            def run(self):
                pass

        def model() -> Model:
            return make("model")

        def main(texts):
            ours = model()
            for text in texts:
                print(ours.run(text))
        """,
        Case.LOOP,
    ),
    "what a method says to return": (
        """
        class Model:
            def run(self, text):
                return CALL

        class Job:
            def model(self) -> Model:
                return make("model")

            def all(self, texts):
                ours = self.model()
                return [ours.run(text) for text in texts]
        """,
        Case.LOOP,
    ),
    "what a variable was made from": (
        """
        class Model:
            def run(self, text):
                return CALL

        def main(texts):
            ours = Model()
            for text in texts:
                print(ours.run(text))
        """,
        Case.LOOP,
    ),
    "a method that a class takes from beside": (
        """
        class Base:
            def all(self, texts):
                return [self.ask(text) for text in texts]

        class Mixin:
            def ask(self, text):
                return CALL

        class Both(Base, Mixin):
            pass
        """,
        Case.LOOP,
    ),
    "a protocol that a class keeps": (
        """
        class Model(Protocol):
            def complete(self, text): ...

        class Ours:
            def complete(self, text):
                return CALL

        class Second:
            def complete(self, text):
                return text

        class Third:
            def complete(self, text):
                return text

        def main(texts, model: Model):
            return [model.complete(text) for text in texts]
        """,
        Case.LOOP,
    ),
    "a class of one's own that is called a request": (
        """
        from shop import Request

        def label(request: Request, rows):
            return [CALL for row in rows]
        """,
        Case.LOOP,
    ),
    "a loop behind an address that is given to a router": (
        """
        from flask import Flask

        def report(sections):
            return [CALL for section in sections]

        Flask(__name__).add_url_rule("/report", view_func=report)
        """,
        Case.PLEASE_WAIT,
    ),
    "until there are enough": (
        """
        def make(wanted):
            made = []
            while len(made) < wanted:
                made.append(CALL)
        """,
        Case.LOOP,
    ),
    "until there is no more": (
        """
        def work(queue):
            while len(queue) > 0:
                save(CALL, queue.pop())
        """,
        Case.LOOP,
    ),
    "a method of one's own that is called ask": (
        """
        class Labeller:
            def main(self, texts):
                for text in texts:
                    self.ask(text)

            def ask(self, text):
                return CALL
        """,
        Case.LOOP,
    ),
    "what a variable holds": (
        """
        def ask(text):
            return CALL

        def main(texts, fast):
            call = ask_fast if fast else ask
            for text in texts:
                print(call(text))
        """,
        Case.LOOP,
    ),
    "polling without an end": (
        """
        def agent():
            while True:
                act(CALL)
                time.sleep(60)
        """,
        Case.POLLING,
    ),
    "a task of Celery": (
        """
        from celery import shared_task

        @shared_task
        def digest(user):
            mail(CALL)
        """,
        Case.SCHEDULE,
    ),
    "an asset of Dagster": (
        """
        from dagster import asset

        @asset
        def digest():
            return CALL
        """,
        Case.SCHEDULE,
    ),
    "an operator of Airflow": (
        """
        from airflow.operators.python import PythonOperator

        def digest():
            return CALL

        PythonOperator(task_id="digest", python_callable=digest)
        """,
        Case.SCHEDULE,
    ),
    "a job of a scheduler": (
        """
        import schedule

        def digest():
            mail(CALL)

        schedule.every().day.at("09:00").do(digest)
        """,
        Case.SCHEDULE,
    ),
    "a management command": (
        """
        from django.core.management.base import BaseCommand

        class Command(BaseCommand):
            def handle(self, **options):
                save(CALL)
        """,
        Case.SCHEDULE,
    ),
    "a loop in a web request": (
        """
        from fastapi import FastAPI

        app = FastAPI()

        @app.post("/report")
        def report(sections):
            return [CALL for section in sections]
        """,
        Case.PLEASE_WAIT,
    ),
    "a batch that a web request waits for": (
        """
        from fastapi import FastAPI

        app = FastAPI()

        @app.post("/report")
        def report(file):
            batch = client.batches.create(input_file_id=file)
            while batch.status != "completed":
                time.sleep(10)
                batch = client.batches.retrieve(batch.id)
            return batch.output_file_id
        """,
        Case.PLEASE_WAIT,
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_a_call_that_nobody_watches_is_found(tmp_path: Path, name: str) -> None:
    text, case = FOUND[name]
    (finding,) = findings(tmp_path, text)
    assert finding.case is case
    assert finding.why.endswith(".")


LEFT_ALONE = {
    "one call": "print(CALL)",
    "tries": """
        def ask(text):
            for attempt in range(max_retries):
                try:
                    return CALL
                except Exception:
                    time.sleep(2**attempt)
        """,
    "tries, whatever they are counted by": """
        def ask(text, models):
            for model in models:
                try:
                    answer = CALL
                    break
                except Exception:
                    continue
            return answer
        """,
    "a search that ends with the first": """
        def ask(texts):
            for text in texts:
                if text:
                    return CALL
        """,
    "turns of an agent": """
        def run(goal):
            while not done:
                step = CALL
                act(step)
        """,
    "a conversation": """
        def chat():
            while True:
                question = input("> ")
                print(CALL)
        """,
    "a prompt of the terminal": """
        from rich.prompt import Prompt

        def main(rows):
            for row in rows:
                print(CALL, Prompt.ask("go on?"))
        """,
    "what is done with each answer of a person": """
        def chat():
            while True:
                question = input("> ")
                for document in search(question):
                    print(CALL)
        """,
    "what arrives while somebody is there": """
        async def talk(websocket):
            async for text in websocket.iter_text():
                await websocket.send(CALL)
        """,
    "what goes on as an answer streams": """
        def stream_words(pieces):
            for piece in pieces:
                yield CALL
        """,
    "an answer that streams, to others too": """
        def ask(text):
            return client.chat.completions.create(model="gpt-5.4-mini", messages=[], stream=True)

        def show(text):
            print(ask(text))

        def main(texts):
            for text in texts:
                ask(text)
        """,
    "a tool that is kept for later": """
        class Tools:
            def __init__(self):
                register(self.ask)

            def ask(self, text):
                return CALL

        for user in users:
            tools[user] = Tools()
        """,
    "the pieces of an answer": """
        def ask(text):
            for chunk in client.chat.completions.create(model="gpt-5.4-mini", messages=[], stream=True):
                print(chunk)
        """,
    "a web request": """
        from flask import Flask

        app = Flask(__name__)

        @app.route("/ask")
        def ask():
            return CALL
        """,
    "a bot that is written to": """
        import discord

        @bot.command()
        async def ask(context, text):
            await context.send(CALL)
        """,
    "turns up to a bound of the program": """
        def work():
            for turn_of_it in range(MAX_COMMANDS):
                act(CALL)
        """,
    "one text that is made shorter": """
        def shorten(text):
            while len(text.split()) > 500:
                text = CALL
        """,
    "several answers to one question": """
        def ask(text, n):
            return [CALL for _ in range(n)]
        """,
    "a few fixed things": "titles = [CALL for language in ('de', 'fr', 'es')]",
    "a constant of the program": "ratings = [CALL for criterion in CRITERIA.items()]",
    "a probe of the key": """
        def main(files):
            for file in files:
                check_api_key()

        def check_api_key():
            CALL
        """,
    "messages of another service": """
        def tell(numbers):
            for number in numbers:
                twilio.messages.create(to=number, body="hello")
        """,
    "messages of a thread": """
        def fill(texts):
            for text in texts:
                client.beta.threads.messages.create(**about(text))
        """,
    "a wrapper that cuts what it is given, and that nobody calls": """
        def embed_texts(texts):
            return [client.embeddings.create(model="m", input=texts[at : at + 9]) for at in range(0, len(texts), 9)]
        """,
    "what a comment allows": """
        def label(rows):
            for row in rows:
                CALL  # offpeak: fits, a person reads each as it comes
        """,
    "a batch that a script waits for": """
        batch = client.batches.create(input_file_id="file")
        while batch.status != "completed":
            time.sleep(10)
            batch = client.batches.retrieve(batch.id)
        """,
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_what_somebody_watches_is_left_alone(tmp_path: Path, name: str) -> None:
    assert findings(tmp_path, LEFT_ALONE[name]) == []


def test_a_call_through_which_everything_goes_is_not_found_for_one_loop_of_many_callers(tmp_path: Path) -> None:
    callers = "\n".join(f"def use_{number}(text):\n    return ask(text)\n" for number in range(4))
    loop = "def main(texts):\n    return [ask(text) for text in texts]\n"
    assert findings(tmp_path, f"def ask(text):\n    return CALL\n\n{callers}{loop}") == []
    assert len(findings(tmp_path, f"def ask(text):\n    return CALL\n\n{loop}")) == 1


def test_a_person_nearer_than_the_loop_keeps_a_call_where_it_is(tmp_path: Path) -> None:
    text = """
    from flask import Flask

    app = Flask(__name__)

    def inner():
        return CALL

    @app.post("/ask")
    def ask():
        return inner()

    def middle():
        return inner()

    def outer():
        return middle()

    def main(texts):
        for text in texts:
            outer()
    """
    assert findings(tmp_path, text) == []


def test_the_way_is_followed_through_files_and_their_imports(tmp_path: Path) -> None:
    audit = audited(
        tmp_path,
        **{
            "shop/__init__": "from .asking import ask as ask_one\n",
            "shop/asking": "HEAD\n\ndef ask(text):\n    return CALL\n",
            "jobs": "from shop import ask_one\n\nfor line in open('texts'):\n    print(ask_one(line))\n",
        },
    )
    (finding,) = audit.findings
    assert finding.path == tmp_path / "shop" / "asking.py"
    assert finding.job == "jobs"
    assert "jobs.py" in finding.why


def test_a_finding_says_what_is_called_where_and_why(tmp_path: Path) -> None:
    text = """
    MODEL = "gpt-5.4-mini"

    def label_reviews(reviews):
        for number in range(10_000):
            client.chat.completions.create(model=MODEL, max_tokens=20, messages=[reviews[number]])
    """
    (finding,) = findings(tmp_path, text)
    assert (finding.job, finding.call) == ("label_reviews", "client.chat.completions.create")
    assert (finding.model, finding.max_tokens, finding.calls) == ("gpt-5.4-mini", 20, 10_000)
    assert finding.why == "Called in a loop over `range(10000)` (line 8)."
    assert (finding.line, finding.column) == (9, 9)


@pytest.mark.parametrize(
    "call",
    [
        "client.responses.create(model='m', input=row)",
        "client.beta.chat.completions.parse(model='m', messages=[])",
        "client.with_options(timeout=5).chat.completions.create(model='m', messages=[])",
        "client.chat.completions.with_raw_response.create(model='m', messages=[])",
        "client.embeddings.create(model='m', input=row)",
        "client.moderations.create(input=row)",
        "client.images.generate(model='m', prompt=row)",
        "client.audio.transcriptions.create(model='m', file=row)",
        "anthropic.Anthropic().messages.create(model='m', max_tokens=9, messages=[])",
        "client.beta.messages.create(model='m', max_tokens=9, messages=[])",
        "openai.ChatCompletion.create(model='m', messages=[])",
        "asyncio.to_thread(client.chat.completions.create, model='m', messages=[])",
    ],
)
def test_every_call_that_buys_tokens_is_known(tmp_path: Path, call: str) -> None:
    (finding,) = findings(tmp_path, f"def main(rows):\n    for row in rows:\n        save({call})\n")
    assert finding.case is Case.LOOP


def test_a_client_that_is_kept_as_one_of_its_resources_is_known(tmp_path: Path) -> None:
    text = """
    class Model:
        def __init__(self):
            self.model = OpenAI().chat.completions

        def all(self, texts):
            return [self.model.create(model="m", messages=[text]) for text in texts]
    """
    assert len(findings(tmp_path, text)) == 1
