"""Accounts are opened from the resource, and from the SDKs' own variables where it says nothing."""

import pytest

from offpeak import BatchApi
from offpeak.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_missing_key_names_asset_variable_and_remedy(provider: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        BatchApi().provider(provider, asset="ticket_labels")
    message = str(refused.value)
    assert message.startswith(f"ticket_labels: no API key for {provider}")
    assert f"Set {provider.upper()}_API_KEY, or BatchApi({provider}_api_key=dg.EnvVar(...))" in message
    assert "Nothing was submitted" in message


def test_an_unknown_provider_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="there is no provider 'mistral'"):
        BatchApi().provider("mistral")


@pytest.mark.parametrize(
    ("provider", "suffix"), [("openai", "/v1"), ("anthropic", "")]
)  # fmt: skip
def test_variables_of_the_sdks_are_honoured(provider: str, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{provider.upper()}_API_KEY", "key")
    monkeypatch.setenv(f"{provider.upper()}_BASE_URL", f"http://gateway.test:8080{suffix}")
    account = BatchApi().provider(provider)
    assert account.realm == f"{provider}:gateway.test:8080"
    account.close()


def test_what_the_resource_says_comes_before_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://gateway.test/v1")
    account = BatchApi(openai_base_url="http://other.test/v1", max_requests_per_batch=7).provider("openai")
    assert account.realm == "openai:other.test"
    assert account.limits.max_requests == 7
    account.close()


def test_an_endpoint_that_openai_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="openai_chat_endpoint='completions'"):
        BatchApi(openai_api_key="key", openai_chat_endpoint="completions").provider("openai", asset="labels")
