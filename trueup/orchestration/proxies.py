"""Excludes this machine's own programs from the proxies of the environment."""

from __future__ import annotations

import os
from importlib.util import find_spec

from trueup.errors import UsageError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def spare(*hosts: str) -> None:
    """Let this process and its children reach this machine's addresses, and `hosts`, without a proxy.

    Other entries of NO_PROXY stay. Both spellings are set, because libraries read either.
    """
    if not _proxies_set():
        return  # set only with a proxy: NO_PROXY alone would disable a system's own proxy
    listed = [word.strip() for name in ("no_proxy", "NO_PROXY") for word in os.environ.get(name, "").split(",")]
    if "*" in listed:
        return
    names = ",".join(dict.fromkeys([*filter(None, listed), *LOOPBACK, *hosts]))
    os.environ |= {"no_proxy": names, "NO_PROXY": names}


def require_usable() -> None:
    """Raise UsageError for a proxy with which Prefect's client cannot be created."""
    for name, value in _proxies_set().items():
        if value.lower().startswith("socks") and find_spec("socksio") is None:
            raise UsageError(
                f"{name} names a SOCKS proxy, which needs a package that is not installed: run `pip install socksio`, "
                f"or unset {name} for Trueup"
            )


def _proxies_set() -> dict[str, str]:
    names = [spelled for name in _PROXIES for spelled in (name, name.upper())]
    return {name: value for name in names if (value := os.environ.get(name, "").strip())}
