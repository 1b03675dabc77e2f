"""What things cost: list prices, the project's own prices, and the cost of an answer, in exact integers."""

from offpeak.money.estimate import estimate_tokens, estimate_usage
from offpeak.money.prices import PriceSheet
from offpeak.money.rates import Cost, ModelRates, dollars, dollars_text, pico_text, to_pico

__all__ = [
    "Cost",
    "ModelRates",
    "PriceSheet",
    "dollars",
    "dollars_text",
    "estimate_tokens",
    "estimate_usage",
    "pico_text",
    "to_pico",
]
