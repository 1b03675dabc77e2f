"""What can be said of a picture without understanding it: its shape and the colours that cover most of it."""

import base64
import binascii
import io
from functools import lru_cache
from typing import Any

COLOURS = {
    "black": (20, 20, 25), "white": (255, 255, 255), "grey": (150, 150, 150), "red": (200, 40, 40),
    "orange": (225, 140, 50), "yellow": (240, 220, 70), "green": (60, 145, 90), "blue": (50, 110, 180),
    "purple": (130, 70, 150), "pink": (240, 150, 190), "brown": (120, 65, 45), "beige": (230, 210, 170),
}  # fmt: skip
LEAST = 0.01
"""Share of a picture that a colour has to cover to be named."""
NAMED = 3
SIDE = 64
"""Pixels of a side that are looked at."""


def look(block: dict[str, Any]) -> str:
    """Describe the picture of a content block, in any of the three forms; one that cannot be read is "a picture"."""
    data = _bytes(block)
    return _seen(data) if data else "a picture"


def _bytes(block: dict[str, Any]) -> bytes | None:
    source = block.get("source")
    url = block.get("image_url")
    url = url.get("url") if isinstance(url, dict) else url
    encoded = source.get("data") if isinstance(source, dict) else None
    if isinstance(url, str) and url.startswith("data:"):
        encoded = url.partition(",")[2]
    try:
        return base64.b64decode(encoded) if isinstance(encoded, str) else None
    except binascii.Error:
        return None


@lru_cache(maxsize=256)
def _seen(data: bytes) -> str:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as opened:
            width, height = opened.size
            small = opened.convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST)
    except (UnidentifiedImageError, OSError, ValueError):
        return "a picture"
    shape = "square" if 0.9 < width / height < 1.1 else "wide" if width > height else "tall"
    counts: dict[str, int] = {}
    for count, pixel in small.getcolors(SIDE * SIDE) or ():
        name = _nearest(pixel)
        counts[name] = counts.get(name, 0) + count
    most, *rest = [name for name in sorted(counts, key=lambda name: -counts[name]) if counts[name] > LEAST * SIDE**2]
    others = f" with {' and '.join(rest[: NAMED - 1])}" if rest else ""
    return f"a {shape} picture, mostly {most}{others}"


def _nearest(pixel: Any) -> str:
    return min(COLOURS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLOURS[name], pixel, strict=True)))
