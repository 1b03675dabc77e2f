"""What users yield: a request is plain, frozen data that knows nothing of a provider, a ledger or Dagster.

`key` names the row within one plan (1 to 512 characters, unique there). `task` names what the row is a part of, such as
one user's digest: what all rows of a task cost, whichever asset they belong to, is told as one. Everything else except
the fields named in `NOT_HASHED` decides the answer and is part of the request's fingerprint.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import msgspec

MAX_KEY_LENGTH = 512
"""Characters in a key or a task at most: keys are indexed, shown in the UI and pasted into commands."""

NOT_HASHED = frozenset({"key", "metadata", "task", "user"})
"""Fields that do not change the answer."""

MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
}


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image, by its bytes or by a URL.

    A URL needs `content_hash` (any stable digest of the bytes): signed URLs change nightly, and without the hash each
    night would be bought anew.
    """

    media_type: str = "image/png"
    data: bytes | None = None
    url: str | None = None
    content_hash: str | None = None

    def __post_init__(self) -> None:
        if (self.data is None) == (self.url is None):
            raise ValueError("an Image takes either data= or url=, and exactly one of them")
        if self.url is not None and not self.content_hash:
            raise ValueError("an Image by url= needs content_hash=: the URL may change while the picture does not")

    @classmethod
    def from_path(cls, path: str | Path) -> Self:
        """Read a PNG, JPEG, GIF or WebP file. Raises ValueError for another suffix, OSError when unreadable."""
        path = Path(path)
        try:
            media_type = MEDIA_TYPES[path.suffix.lower()]
        except KeyError:
            raise ValueError(f"{path} is not an image: expected one of {', '.join(sorted(MEDIA_TYPES))}") from None
        return cls(media_type=media_type, data=path.read_bytes())

    @property
    def digest(self) -> str:
        """What stands for the picture in a fingerprint."""
        return self.content_hash or hashlib.sha256(self.data or b"").hexdigest()

    @property
    def base64(self) -> str:
        return base64.b64encode(self.data or b"").decode("ascii")


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    content: str
    images: Sequence[Image] = ()


class Chat(msgspec.Struct, frozen=True, kw_only=True):
    """Ask a model: a `system` text, and either one `prompt` or a list of `messages`.

    `prefix` is a text that many requests begin with, such as a taxonomy, a rubric or a document: the model reads it
    before `system`, and providers may keep it in a cache. It asks what the same text in `system` asks.
    `salt` is never sent: two requests that differ in nothing else are two samples. `scope` is a privacy boundary, such
    as a tenant: an answer never crosses it. `max_tokens` bounds the answer, in tokens.
    """

    key: str
    prompt: str | None = None
    prefix: str | None = None
    system: str | None = None
    messages: Sequence[Message] = ()
    images: Sequence[Image] = ()
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    effort: str | None = None
    stop: Sequence[str] = ()
    salt: str | None = None
    scope: str | None = None
    user: str | None = None
    task: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def instructions(self) -> str | None:
        """All that the model reads before the turns: `prefix`, an empty line, `system`, of these what there is."""
        if self.prefix is None:
            return self.system
        return f"{self.prefix}\n\n{self.system}" if self.system else self.prefix


class Embedding(msgspec.Struct, frozen=True, kw_only=True):
    """Turn `text` into a vector of the model's length, or of `dimensions` where the model can shorten it."""

    key: str
    text: str
    dimensions: int | None = None
    salt: str | None = None
    scope: str | None = None
    user: str | None = None
    task: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()


class Moderation(msgspec.Struct, frozen=True, kw_only=True):
    """Ask whether `text` (and `images`) break the provider's content policy."""

    key: str
    text: str
    images: Sequence[Image] = ()
    salt: str | None = None
    scope: str | None = None
    user: str | None = None
    task: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()


Request = Chat | Embedding | Moderation
