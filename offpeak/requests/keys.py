"""What a key may be: it names a row within its plan, is indexed, shown and pasted into commands.

Also what has to be right of a request before it is fingerprinted: one text to answer, and a prefix that is a text.
"""

from collections.abc import Sequence

from offpeak.errors import InvalidRequest
from offpeak.requests.values import MAX_KEY_LENGTH, Chat, Request

_REQUEST_TYPES = "Chat, Embedding or Moderation"


def plainly_in_order(block: Sequence[Request], kind: type[Request] | None) -> bool:
    """Whether all of `block` is of one kind with keys that `check_request` lets pass, found out at one go.

    False does not mean that something is wrong: then each request has to be looked at by itself.
    """
    if set(map(type, block)) != {kind}:
        return False
    keys = [request.key for request in block]
    if set(map(type, keys)) != {str} or max(map(len, keys)) > MAX_KEY_LENGTH:
        return False
    if not all(map(str.strip, keys)) or "\x00" in "".join(keys):
        return False
    if not all(map(_is_task, {request.task for request in block})):
        return False
    return all(
        request.prompt is not None and not request.messages and request.prefix is None
        for request in block
        if isinstance(request, Chat)
    )


def check_request(request: object, *, asset: str, position: int) -> None:
    """Refuse what cannot be a row. `position` counts from 0 within the plan. Raises InvalidRequest."""
    if not isinstance(request, Request):
        raise InvalidRequest(
            f"{asset}: row {position} of the plan is a {type(request).__name__}, not a request. "
            f"Nothing was submitted. Yield {_REQUEST_TYPES}."
        )
    key: object = request.key  # whatever the type says, a missing cell of a frame is a float
    if type(key) is str and key.strip() and len(key) <= MAX_KEY_LENGTH and "\x00" not in key:
        if isinstance(request, Chat) and (request.prompt is None) == (not request.messages):
            raise InvalidRequest(
                f"{asset}: row {key!r} needs either prompt= or messages=, and exactly one of them. "
                "Nothing was submitted."
            )
        if isinstance(request, Chat) and request.prefix is not None:
            _check_prefix(request, asset)
        if not _is_task(request.task):
            raise InvalidRequest(
                f"{asset}: row {key!r} has the task {request.task!r:.60}. Nothing was submitted. A task is the name of "
                f"what the row is a part of: text of 1 to {MAX_KEY_LENGTH} characters, or None."
            )
        return
    if key is None or (isinstance(key, float) and key != key):
        problem, remedy = "has no key (it is null)", "Give every row a key, or leave the row out of the plan."
    elif not isinstance(key, str):
        problem = f"has the key {key!r} of type {type(key).__name__}"
        remedy = "Keys are text: write key=str(...)."
    elif len(key) > MAX_KEY_LENGTH:
        problem = f"has a key of {len(key)} characters ({key[:40]!r}...)"
        remedy = f"Keys have at most {MAX_KEY_LENGTH} characters: use an identifier, not the text itself."
    elif "\x00" in key:
        problem, remedy = f"has a NUL character in its key {key!r}", "Take it out."
    else:
        problem, remedy = "has an empty key", "Give every row a key, or leave the row out of the plan."
    raise InvalidRequest(f"{asset}: row {position} of the plan {problem}. Nothing was submitted. {remedy}")


def _check_prefix(request: Chat, asset: str) -> None:
    prefix: object = request.prefix
    if isinstance(prefix, str) and prefix:
        return
    problem = "empty" if prefix == "" else f"{prefix!r} of type {type(prefix).__name__}, not text"
    raise InvalidRequest(
        f"{asset}: row {request.key!r} has a prefix that is {problem}. Nothing was submitted. Give the text that many "
        "requests begin with, or leave prefix= out."
    )


def _is_task(task: object) -> bool:
    return task is None or (
        type(task) is str and bool(task.strip()) and len(task) <= MAX_KEY_LENGTH and "\x00" not in task
    )
