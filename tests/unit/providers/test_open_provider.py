"""Opening an account: whose answers they are, and what is refused before any request."""

import pytest

from offpeak.errors import ConfigurationError
from offpeak.providers import NAMES, open_provider

from .conftest import SECRET


@pytest.mark.parametrize(
    ("name", "base_url", "realm"),
    [
        ("openai", None, "openai:api.openai.com"),
        ("anthropic", None, "anthropic:api.anthropic.com"),
        ("openai", "https://Gateway.Example/openai/v1", "openai:gateway.example"),
        ("openai", "https://gateway.example:443/v1", "openai:gateway.example"),
        ("openai", "http://gateway.example:443/v1", "openai:gateway.example:443"),
        ("openai", "http://127.0.0.1:8080/v1", "openai:127.0.0.1:8080"),
        ("anthropic", "http://[::1]:80", "anthropic:[::1]"),
        ("anthropic", "https://user:password@gateway.example", "anthropic:gateway.example"),
    ],
)
def test_the_realm_is_the_providers_kind_and_its_origin(name: str, base_url: str | None, realm: str) -> None:
    assert open_provider(name, api_key=SECRET, base_url=base_url).realm == realm


@pytest.mark.parametrize("base_url", ["gateway.example", "ftp://gateway.example", "https://", "http://h:port/v1"])
def test_a_base_url_that_is_none_is_refused_naming_its_variable(name: str, base_url: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name.upper()}_BASE_URL"):
        open_provider(name, api_key=SECRET, base_url=base_url)


@pytest.mark.parametrize("key", [None, "", "  \n"])
def test_a_missing_key_is_refused_naming_its_variable(name: str, key: str | None) -> None:
    with pytest.raises(ConfigurationError, match=f"no API key for {name}.*{name.upper()}_API_KEY"):
        open_provider(name, api_key=key)


@pytest.mark.parametrize("key", ["se\ncret", "sécret", "“secret”", "se cret"])
def test_a_key_that_cannot_be_a_header_is_refused_without_showing_it(name: str, key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_provider(name, api_key=key)
    assert "cret" not in str(caught.value)


def test_an_unknown_provider_is_refused_naming_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"no provider 'mistral'.*anthropic/, openai/"):
        open_provider("mistral", api_key=SECRET)


def test_chat_completions_are_openais_choice() -> None:
    with pytest.raises(ConfigurationError, match="chat_endpoint"):
        open_provider("anthropic", api_key=SECRET, chat_endpoint="chat.completions")


@pytest.mark.parametrize("known", NAMES)
def test_the_environment_is_not_read(known: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{known.upper()}_BASE_URL", "http://stray.invalid")
    provider = open_provider(known, api_key=SECRET)
    assert provider.realm == f"{known}:api.{known}.com"
    assert provider.name == known


def test_the_documented_limits_can_be_tightened(name: str) -> None:
    limits = open_provider(name, api_key=SECRET, max_requests=3, max_bytes=5_000, max_request_bytes=2_000).limits
    assert (limits.max_requests, limits.max_bytes, limits.max_request_bytes) == (3, 5_000, 2_000)


def test_the_documented_limits_leave_headroom() -> None:
    openai = open_provider("openai", api_key=SECRET).limits
    anthropic = open_provider("anthropic", api_key=SECRET).limits
    assert (openai.max_requests, anthropic.max_requests) == (50_000, 100_000)
    assert openai.max_bytes < 200_000_000
    assert anthropic.max_bytes < 256_000_000


def test_no_repr_shows_the_key(name: str) -> None:
    provider = open_provider(name, api_key=SECRET)
    assert SECRET not in repr(provider)
    assert all(SECRET not in repr(value) for value in vars(provider).values())
