"""The providers' accounts of this deployment.

OFFPEAK_PROVIDER chooses between two sets of addresses and keys; nothing else in the project knows which one it is.
    local  (the default) the offline provider of this repository, at OFFPEAK_LOCAL_URL
    live   the real ones: OPENAI_API_KEY, ANTHROPIC_API_KEY, and OPENAI_BASE_URL, ANTHROPIC_BASE_URL for a gateway
"""

import os
from pathlib import Path

from offpeak import BatchApi
from offpeak.errors import ConfigurationError

PROJECT = Path(__file__).resolve().parents[1]
PRICES = PROJECT / "price_sheet.toml"
LAUNCHES = PROJECT / "launches.yaml"
LOCAL_URL = "http://127.0.0.1:8099"


def batch_api() -> BatchApi:
    """The resource `batch_api`. Raises ConfigurationError when OFFPEAK_PROVIDER is neither local nor live."""
    match os.environ.get("OFFPEAK_PROVIDER") or "local":
        case "local":
            url = (os.environ.get("OFFPEAK_LOCAL_URL") or LOCAL_URL).rstrip("/")
            return BatchApi(
                openai_api_key="local",
                openai_base_url=f"{url}/v1",
                anthropic_api_key="local",
                anthropic_base_url=url,
                price_sheet=str(PRICES),
                launches=str(LAUNCHES),
            )
        case "live":
            return BatchApi(price_sheet=str(PRICES), launches=str(LAUNCHES))
        case other:
            raise ConfigurationError(f"OFFPEAK_PROVIDER is {other!r}: it is either local or live.")
