"""Moderation by counting words of a small list: enough to flag what is plainly there, with OpenAI's categories."""

import math
import re
from typing import Any

CATEGORIES: dict[str, tuple[str, ...]] = {
    "harassment": ("idiot", "idiots", "moron", "morons", "stupid", "loser", "pathetic", "worthless", "scum", "shut up"),
    "harassment/threatening": ("i will find you", "you will regret", "watch your back", "know where you live"),
    "hate": ("subhuman", "vermin", "go back to your country", "inferior race"),
    "hate/threatening": ("exterminate them", "wipe them out"),
    "illicit": ("launder money", "stolen cards", "counterfeit", "fake passport", "buy drugs", "hack into"),
    "illicit/violent": ("build a bomb", "make a bomb", "pipe bomb", "untraceable gun"),
    "self-harm": ("hurt myself", "self-harm", "cut myself", "end my life", "kill myself", "suicide"),
    "self-harm/intent": ("i want to die", "end my life", "kill myself", "i will hurt myself"),
    "self-harm/instructions": ("how to kill myself", "how to hurt myself", "painless way to die"),
    "sexual": ("porn", "nude", "nudes", "explicit sex", "erotic", "xxx"),
    "sexual/minors": ("child porn", "underage nude"),
    "violence": ("kill", "murder", "stab", "shoot", "beat you", "attack you", "burn down", "hurt you"),
    "violence/graphic": ("dismember", "gore", "blood everywhere", "decapitate", "torture"),
}
FLAGGED_ABOVE = 0.5
_PATTERNS = {
    category: re.compile(r"(?i)\b(?:" + "|".join(re.escape(term) for term in terms) + r")\b")
    for category, terms in CATEGORIES.items()
}


def moderate(text: str) -> dict[str, Any]:
    """One result as OpenAI's moderations endpoint gives it. A score grows with each hit, less so in a long text."""
    words = max(1, len(text.split()))
    scores = {category: _score(len(pattern.findall(text)), words) for category, pattern in _PATTERNS.items()}
    categories = {category: score >= FLAGGED_ABOVE for category, score in scores.items()}
    return {
        "flagged": any(categories.values()),
        "categories": categories,
        "category_scores": scores,
        "category_applied_input_types": {category: ["text"] for category in scores},
    }


def _score(hits: int, words: int) -> float:
    if hits == 0:
        return 0.0001
    return round(1 - math.exp(-hits * max(0.4, min(1.5, 30 / words))), 4)
