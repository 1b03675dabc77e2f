"""Where a program is entered: by a person, by a clock or a queue, or from a command line."""

import re
from dataclasses import dataclass
from enum import StrEnum

from offpeak.audit.code.module import Decorator, Function, Module, Use

VERBS = frozenset({"get", "post", "put", "patch", "delete", "route", "websocket", "api_route", "websocket_route",
                   "http_trigger", "api_view", "expose"})  # fmt: skip
"""Decorators of what answers a web request."""
CHATS = frozenset({"on_message", "on_chat_start", "message_handler", "on_command", "slash_command", "callback_query",
                   "on_event", "shortcut", "hybrid_command", "on_chat_message", "step"})  # fmt: skip
"""Decorators of what answers a message."""
TASKS = frozenset({"task", "shared_task", "periodic_task", "actor", "job", "flow", "asset", "multi_asset", "op",
                   "graph_asset", "dag", "sensor", "schedule", "scheduled_job", "repeat_every", "repeat_at", "cron",
                   "crontab", "db_task", "db_periodic_task", "periodic", "function", "step", "asset_check",
                   "experiment"})  # fmt: skip
"""Decorators of what a clock, a queue or an orchestrator starts, where the file takes something from one."""
RUNNERS = frozenset({"celery", "airflow", "prefect", "dagster", "huey", "dramatiq", "rq", "apscheduler", "schedule",
                     "luigi", "metaflow", "arq", "procrastinate", "taskiq", "modal", "django_q", "fastapi_utils",
                     "fastapi_utilities", "aiocron", "rocketry", "zenml", "kedro", "offpeak",
                     "ragas"})  # fmt: skip
"""Packages whose decorators of those names mean a task; the last runs experiments over a data set."""
SCHEDULERS = frozenset({"add_job", "do", "crontab", "enqueue", "enqueue_at", "enqueue_in", "add_periodic_task",
                        "PythonOperator", "ShortCircuitOperator", "PythonVirtualenvOperator", "call_later", "schedule",
                        "enqueue_job", "run_daily", "run_repeating", "defer"})  # fmt: skip
"""Functions that have another one run later, by nobody's leave."""
ROUTERS = frozenset({"add_url_rule", "add_api_route", "add_route", "add_get", "add_post", "path", "re_path", "url",
                     "ChatInterface", "Interface", "click", "change", "submit_button", "add_handler", "CommandHandler",
                     "MessageHandler", "route"})  # fmt: skip
"""Functions that have another one run when a person asks."""
COMMANDS = frozenset({"command", "group", "callback"})
"""Decorators of a command line's verbs, or of a bot's."""
VIEWS = re.compile(r"(View|ViewSet|ViewMixin|Handler|HTTPEndpoint|Resource|Consumer)$")
"""Classes whose methods answer web requests."""
VIEW_METHODS = frozenset({"get", "post", "put", "patch", "delete", "list", "create", "retrieve", "dispatch", "receive",
                          "form_valid"})  # fmt: skip
SCREENS = frozenset({"streamlit", "gradio", "chainlit", "telegram", "discord", "slack_bolt", "textual", "nicegui",
                     "aiogram", "telebot", "prompt_toolkit"})  # fmt: skip
"""Packages with which a person talks to a program."""
REQUESTS = frozenset({"Request", "HttpRequest", "WebSocket", "HTTPConnection", "WSGIRequest"})
"""What a function is given that answers one."""
WEB = frozenset({"fastapi", "starlette", "flask", "django", "rest_framework", "aiohttp", "sanic", "quart", "litestar",
                 "tornado", "werkzeug", "falcon", "bottle", "channels", "gradio"})  # fmt: skip
_WEB = frozenset((name,) for name in WEB)


class Entry(StrEnum):
    """By whom a program is entered."""

    PERSON = "person"
    """A web request, a chat, a button."""
    TASK = "task"
    """A clock, a queue, an orchestrator."""
    COMMAND = "command"
    """Somebody's command line, or a script."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """An entry, and what says so."""

    entry: Entry
    by: str


def of_function(function: Function, module: Module) -> Entered | None:
    """How a function is entered from outside, by how it is declared."""
    for decorator in function.decorators:
        if (found := _decorated(decorator, module)) is not None:
            return found
    return _view(function, module)


def of_module(module: Module) -> Entered | None:
    """How what stands outside of functions is entered."""
    if module.packages & {"streamlit"}:
        return Entered(entry=Entry.PERSON, by="a page of streamlit")
    return Entered(entry=Entry.COMMAND, by=f"the script {module.path.name}")


def of_use(use: Use, module: Module) -> Entered | None:
    """How a function is entered that is handed on to be called later."""
    if not use.handed_to:
        return None
    last = use.handed_to[-1]
    text = f' ("{use.text}")' if use.text else ""
    if last in SCHEDULERS and (len(use.handed_to) > 1 or last.endswith("Operator") or module.packages & RUNNERS):
        return Entered(entry=Entry.TASK, by=f"`{'.'.join(use.handed_to[-2:])}`{text}")
    if last in ROUTERS and module.packages & (SCREENS | WEB):
        return Entered(entry=Entry.PERSON, by=f"`{last}`{text}")
    return None


def _decorated(decorator: Decorator, module: Module) -> Entered | None:
    if not decorator.names:
        return None
    last = decorator.names[-1]
    shown = f"`@{'.'.join(decorator.names)}`"
    path = decorator.first is not None and decorator.first.startswith("/")
    if (last in VERBS and (len(decorator.names) > 1 or last == "api_view")) or (path and len(decorator.names) > 1):
        return Entered(entry=Entry.PERSON, by=f"{shown} ({decorator.first})" if path else shown)
    if last in TASKS and (module.packages & RUNNERS or "celery" in decorator.names[0].lower()):
        if last == "function" and not decorator.keywords & {"schedule"}:
            return None
        return Entered(entry=Entry.TASK, by=shown)
    if last in CHATS and module.packages & SCREENS:
        return Entered(entry=Entry.PERSON, by=shown)
    if last in COMMANDS and module.packages & {"discord", "telegram"}:
        return Entered(entry=Entry.PERSON, by=shown)
    if last in COMMANDS and module.packages & {"click", "typer", "rich_click", "cyclopts"}:
        return Entered(entry=Entry.COMMAND, by=shown)
    return None


def _view(function: Function, module: Module) -> Entered | None:
    for name, annotation in function.annotations.items():
        if annotation[-1] in REQUESTS and module.imports.get(annotation[0], (0, ("",)))[1][:1] in _WEB:
            return Entered(entry=Entry.PERSON, by=f"the web request `{name}`")
    bases = module.bases.get(function.owner, ()) if function.owner else ()
    last = [names[-1] for names in bases if names]
    if "BaseCommand" in last and function.name == "handle":
        return Entered(entry=Entry.TASK, by="a management command")
    if "Task" in last and function.name == "run" and module.packages & {"luigi", "celery"}:
        return Entered(entry=Entry.TASK, by=f"the task `{function.owner}`")
    if any(name.endswith("Operator") for name in last) and function.name == "execute":
        return Entered(entry=Entry.TASK, by=f"the operator `{function.owner}`")
    if function.name in VIEW_METHODS and any(VIEWS.search(name) for name in last):
        return Entered(entry=Entry.PERSON, by=f"the view `{function.owner}`")
    if function.parameters[:1] == ("request",) and module.packages & {"django", "rest_framework"}:
        return Entered(entry=Entry.PERSON, by="the web request `request`")
    return None
