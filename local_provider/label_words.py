"""What is commonly known of labels that many taxonomies use: example phrases and telling words.

A taxonomy's own words always count too; this is for the prompts that leave a label to speak for itself.
"""

import re
from dataclasses import dataclass

FALLBACKS = frozenset({"other", "others", "none", "unknown", "misc", "miscellaneous", "n/a", "unclear", "general"})
"""Labels for whatever the real ones do not fit."""
MIDDLES = frozenset({"normal", "medium", "moderate", "neutral", "mixed", "average"})
"""The middle of a scale: right unless the text pulls to an end."""


@dataclass(frozen=True, slots=True)
class Known:
    """Phrases of the kind that carry the label, and a pattern of words that speak for it."""

    phrases: tuple[str, ...] = ()
    cues: re.Pattern[str] | None = None


def _known(phrases: str, cues: str) -> Known:
    return Known(tuple(phrases.split("; ")), re.compile(rf"(?i)\b(?:{cues})"))


_BILLING = _known(
    "a question about an invoice; my card was charged; please refund the payment; the price of the subscription plan; "
    "a receipt for accounting",
    r"invoic|refund|charged?\b|billed|billing|payment|paid\b|paying\b|price|pricing|subscription|receipt|"
    r"vat\b|credit (?:card|note)|debit|downgrad|upgrade my plan|money|payout|"
    r"fee\b|fees\b|purchase order|discount|renewal",
)
_BUG = _known(
    "the application crashes with an error; this worked before and is broken now; the page does not load; "
    "the numbers shown are wrong; nothing happens when I click; data has disappeared",
    r"crash|error|bugs?\b|broken?\b|fail(?:s|ed|ing|ure)?\b|"
    r"(?:does|do|did|is|are)(?: not|n't) (?:work|load|show|open|save)|not working|stopped|stuck|freez|"
    r"froze|wrong|slow|blank|empty|missing|vanish|disappear|gone\b|twice|duplicat|no longer|used to|"
    r"since (?:the|this|yesterday|monday|last)|returns nothing|50\d\b|typo|timeout|time[sd] out|"
    r"unreadable|hardly|down\b|incorrect|garbled|lost|doesnt|dont|wont|cant|isnt|won't|aren't|instead of|"
    r"by itself|although|even though|comes? out|shows?\b|displayed|logs me out|overlap|cut off",
)
_HOW_TO = _known(
    "how do I set this up; where can I find the setting; is there a way to do this; what are the steps; "
    "can I change this myself; please explain how it works",
    r"how (?:do|can|to|should|would|does)|where (?:do|can|is|are)|"
    r"is (?:there|it) (?:a way|possible|any way)|can (?:i|we|the|one)\b|could you (?:explain|tell|show)|"
    r"what (?:are the steps|happens|is the (?:best|right) way)|which \w+ (?:do|does|should)|steps|"
    r"set(?:ting)? (?:it |this )?up|guide|instructions|tutorial|documentation|not sure how|trying to|"
    r"do not understand|don't understand|possible to|any way|where does|is there an?\b|what(?:'s| is|s) the|"
    r"difference between|(?:i|we)(?:'d| would) like to|(?:i|we) want to|did (?:i|we) miss|\w+\?",
)
_FEATURE_WORDS = (
    r"would be (?:great|nice|lovely|good|helpful|useful)|feature|suggestion|idea\b|wish|"
    r"please (?:add|consider)|any plans|roadmap|could you add|love to see|missing from your"
)
_FEATURE = _known(
    "it would be great if you added this; an idea for a new feature; are there any plans to support this",
    _FEATURE_WORDS,
)
_PRAISE_WORDS = (
    r"love|fantastic|great work|awesome|excellent|thank(?:s| you) (?:so|very|for the|to)|well done|kudos|"
    r"wonderful|happy with"
)
_PRAISE = _known("I love the product, thank you; great work by your team", _PRAISE_WORDS)
_OTHER = _known(
    "an idea for a new feature; I love the product, thank you; a partnership or sponsoring offer; "
    "a legal agreement or data protection request; an application for a job; general information about your company",
    rf"{_FEATURE_WORDS}|{_PRAISE_WORDS}|"
    r"partner|sponsor|hiring|job\b|career|legal|gdpr|agreement|contract|conference|press\b|journalist|"
    r"student|survey|phishing|competitor|compare|evaluat|opening hours|office hours|unsubscribe|"
    r"newsletter|reseller|certificat",
)
_HIGH = _known(
    "this is urgent and we cannot work at all; everything is down for all our customers; "
    "we have lost data and need it back immediately; our account was hacked",
    r"urgent|asap|immediately|at once|right away|emergency|critical|outage|(?:is|are|went) down\b|"
    r"nobody can|no one can|(?:can ?no|can')t (?:work|log|sign|access)|cannot (?:work|log|sign|access)|"
    r"block(?:ed|ing|er)|production|deadline|today|tonight|tomorrow|lost\b|losing|breach|hack|compromis|"
    r"phishing|leak|whole (?:team|company)|entire|all (?:our )?(?:users|customers|data)|waiting|suspend|"
    r"threat|fraud|stop(?:ped)? (?:this|our)",
)
_LOW = _known(
    "just a small thing, no hurry; thank you for the great product; it would be nice to have this some day; "
    "I was wondering about something; a general question out of curiosity",
    r"no (?:rush|hurry|pressure)|whenever|when you (?:have|get)|minor|small thing|tiny|curious|"
    r"wonder(?:ing)?\b|just (?:so|wanted|a|asking|curious|wondering)|by the way|btw|cosmetic|typo|"
    r"would be (?:great|nice|lovely|cool)|idea\b|suggestion|wish|some ?day|thank(?:s| you)|love|any plans|"
    r"not urgent|low priority|nice to have|hiring|sponsor|how (?:do|can|to)|where (?:do|can)|"
    r"can (?:i|we)\b|could you (?:explain|tell)|what (?:happens|makes)|which \w+ (?:do|does)",
)
_ERROR = _known(
    "it failed with an error; it could not be done; something is broken; no space is left; the connection was lost",
    r"error|fatal|critical|fail(?:s|ed|ure)?\b|exception|panic|not responding|out of \w+|no space|refused|cannot",
)
_WARNING = _known(
    "it may fail soon; it is slower than usual; it was refused and will be tried again; it was skipped",
    r"warn|slow|full\b|retry|skipped|declined|bounced|expired|deprecat|almost|running low|third time",
)
_INFO = _known(
    "it has begun; it was done as planned; a request was answered; an account was created",
    r"info|complete|finished|started|created|sent\b|accepted|ok\b|log\b|answered",
)

COMMON = {
    "billing": _BILLING, "payment": _BILLING, "bug": _BUG, "technical": _BUG, "technical issue": _BUG,
    "how-to": _HOW_TO, "how_to": _HOW_TO, "howto": _HOW_TO, "question": _HOW_TO,
    "feature request": _FEATURE, "feature_request": _FEATURE, "feature-request": _FEATURE, "feature": _FEATURE,
    "praise": _PRAISE, "positive": _PRAISE, "other": _OTHER, "high": _HIGH, "urgent": _HIGH, "critical": _HIGH,
    "low": _LOW, "error": _ERROR, "warning": _WARNING, "info": _INFO,
    "negative": _known(
        "I am disappointed and angry; this is terrible, the worst I have seen",
        r"bad\b|terrible|awful|disappoint|angry|hate|poor|worst|useless|unhappy|annoy|frustrat|unacceptable",
    ),
}  # fmt: skip
