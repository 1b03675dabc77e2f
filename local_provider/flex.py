"""OpenAI's flex tier: synchronous calls at the batch price, where there is capacity for them and the model has it.

Whether there is capacity follows from the request alone, so that the same request always meets the same.
"""

from typing import Any

from local_provider.replies import digest_of
from local_provider.settings import Settings
from local_provider.wire import ApiError

ENDPOINTS = ("/v1/chat/completions", "/v1/responses")


def wants_flex(endpoint: str, body: dict[str, Any]) -> bool:
    return endpoint in ENDPOINTS and body.get("service_tier") == "flex"


def admit_flex(body: dict[str, Any], settings: Settings) -> None:
    """Let a call on the flex tier through. Raises ApiError: 400 for a model without it, 429 without capacity."""
    model = body.get("model")
    if model in settings.openai_models_without_flex:
        raise ApiError(
            400, f"Invalid service_tier argument: flex is not available for the model `{model}`.", param="service_tier"
        )
    if int.from_bytes(digest_of(body)[:8], "big") / 2**64 >= settings.openai_flex_capacity:
        raise ApiError(
            429, "Resource unavailable: there is no flex capacity for this request at the moment. It is not charged. "
            "Please try again later, or use the default service tier.",
            code="resource_unavailable", kind="resource_unavailable",
        )  # fmt: skip
