"""Everyday words for labels that many taxonomies use, for the prompts that leave the label to speak for itself."""

FALLBACKS = frozenset({"other", "others", "none", "unknown", "misc", "miscellaneous", "n/a", "unclear", "general"})
"""Labels for whatever the real ones do not fit."""
MIDDLES = frozenset({"normal", "medium", "moderate", "neutral", "mixed", "average"})
"""The middle of a scale: right unless the text pulls to an end."""

COMMON = {
    "billing": "invoice charge charged payment refund credit card subscription price plan receipt tax bill money",
    "bug": "error crash broken fails failing exception wrong not working stuck freezes regression defect blank 500",
    "how-to": "how do I can I where is the setting guide steps explain instructions is it possible configure set up",
    "how_to": "how do I can I where is the setting guide steps explain instructions is it possible configure set up",
    "feature request": "would be nice add support please consider wish suggestion idea missing feature",
    "feature_request": "would be nice add support please consider wish suggestion idea missing feature",
    "account": "login password sign in account locked access user email two-factor",
    "shipping": "delivery parcel package courier arrived late tracking shipped",
    "spam": "buy now click here winner free offer unsubscribe casino",
    "high": "urgent urgently asap immediately emergency critical outage down blocked blocking production deadline "
    "today lost data nobody can work losing money security breach all customers",
    "urgent": "urgent urgently asap immediately emergency critical outage down blocked blocking production deadline",
    "critical": "emergency critical outage down production data loss security breach all customers",
    "low": "no rush no hurry whenever minor small curious wondering just asking suggestion cosmetic typo feedback "
    "nice to have not urgent someday",
    "positive": "great love excellent happy thanks wonderful good perfect helpful pleased",
    "negative": "bad terrible awful disappointed angry hate poor worst useless unhappy",
    "yes": "yes correct true same agree",
    "no": "no incorrect false different disagree",
}
