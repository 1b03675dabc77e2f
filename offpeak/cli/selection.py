"""Which assets a command materialises: named ones or all, less those whose provider there is no key for."""

from collections.abc import Mapping, Sequence

from offpeak.cli.webserver import AssetNode
from offpeak.errors import ConfigurationError

KEY_VARIABLES = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
"""The variables that the providers' own SDKs read, by the kind that a batch asset of the provider carries."""

BATCH_KIND = "offpeak"
"""The kind that every batch asset carries."""


def batch_assets(assets: Sequence[AssetNode]) -> list[AssetNode]:
    """Those that buy something."""
    return [asset for asset in assets if BATCH_KIND in asset.kinds]


def choose(known: Sequence[AssetNode], names: Sequence[str], *, every: bool) -> list[AssetNode]:
    """The named assets, or all that can be materialised. Raises ConfigurationError for a name that is none of them."""
    by_name = {asset.name: asset for asset in known if asset.materializable}
    if every:
        return list(by_name.values())
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise ConfigurationError(
            f"No asset of this project is called {', '.join(unknown)}, so nothing was materialised. "
            f"There are: {', '.join(sorted(by_name))}."
        )
    return [by_name[name] for name in dict.fromkeys(names)]


def without_key(assets: Sequence[AssetNode], env: Mapping[str, str]) -> dict[str, str]:
    """The assets that cannot be bought now, with the reason: no key for the provider, or an input that is left out."""
    left_out: dict[str, str] = {}
    for asset in batch_assets(assets):
        missing = [
            KEY_VARIABLES[kind] for kind in asset.kinds if kind in KEY_VARIABLES and not env.get(KEY_VARIABLES[kind])
        ]
        if missing:
            left_out[asset.name] = f"{' and '.join(sorted(missing))} is not set"
    found_more = True
    while found_more:
        found_more = False
        for asset in assets:
            blocking = [name for name in asset.dependencies if name in left_out]
            if blocking and asset.name not in left_out:
                left_out[asset.name] = f"it reads {', '.join(blocking)}"
                found_more = True
    return left_out
