"""Which calls buy tokens: those of the `openai` and `anthropic` SDKs, by the shape of what is called.

Nothing is imported and no type is known, so that a call is known by the names it goes through. Names that other
libraries use too (`client.messages.create` sends text messages elsewhere) count where a model is named, or where the
file imports one of the SDKs.
"""

from collections.abc import Collection, Sequence

SDKS = ("openai", "anthropic")

VERBS = frozenset({"create", "acreate", "parse", "stream", "generate"})

SURE = frozenset({("chat", "completions"), ("openai", "ChatCompletion"), ("openai", "Completion"),
                  ("openai", "Embedding"), ("openai", "Moderation"), ("openai", "Image")})  # fmt: skip
"""Pairs that nothing else goes by."""

OTHERS = frozenset({"completions", "responses", "messages", "embeddings", "moderations", "images", "transcriptions",
                    "translations", "speech", "ChatCompletion", "Completion", "Embedding"})  # fmt: skip
"""Resources whose names others use too."""

NOT_AFTER = frozenset({"threads", "conversations", "runs", "evals"})
"""`client.beta.threads.messages.create` stores a message."""

ASKS = frozenset({None, "model", "messages", "input", "prompt", "file", "engine", "max_tokens"})
"""Keywords of which a call to a model has one. None stands for `**`."""

VIAS = frozenset({"beta", "with_raw_response", "with_streaming_response", "with_options", "copy", "aio"})
"""What may stand between, and changes nothing of what is bought."""

BATCHES = frozenset({("batches", "create"), ("batches", "retrieve"), ("batches", "results")})


def resource(names: Sequence[str], *, known: bool) -> bool:
    """Whether what these names lead to is a resource that sells tokens. `known`: the file is one that uses an SDK."""
    plain = [name for name in names if name not in VIAS]
    if tuple(plain[-2:]) in SURE:
        return True
    return len(plain) >= 2 and plain[-1] in OTHERS and known and plain[-2] not in NOT_AFTER


def buys(names: Sequence[str], keywords: Collection[str | None], *, known: bool) -> bool:
    """Whether a call through these names buys tokens. None among the keywords stands for `**`."""
    if len(names) < 3 or names[-1] not in VERBS:
        return False
    asks = not keywords or bool(ASKS & set(keywords))
    return resource(names[:-1], known=(known and asks) or "model" in keywords)


def batch(names: Sequence[str]) -> bool:
    """Whether a call is one to a batch API."""
    plain = [name for name in names if name not in VIAS]
    return tuple(plain[-2:]) in BATCHES
