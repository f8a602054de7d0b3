"""Proxies of the environment: they are for the world outside, never for programs of this machine that talk to each other."""

from __future__ import annotations

import os
from importlib.util import find_spec

from trueup.errors import UsageError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def spare(*hosts: str) -> None:
    """Let this process and its children reach this machine's addresses, and `hosts`, without a proxy.

    What NO_PROXY says besides stays. Libraries ask for either spelling, so both say the same.
    """
    if not _given():
        return  # nothing is set where there is no proxy: where one only NO_PROXY names, a system's own would go unasked
    said = [word.strip() for name in ("no_proxy", "NO_PROXY") for word in os.environ.get(name, "").split(",")]
    if "*" in said:
        return
    names = ",".join(dict.fromkeys([*filter(None, said), *LOOPBACK, *hosts]))
    os.environ |= {"no_proxy": names, "NO_PROXY": names}


def require_usable() -> None:
    """Raise UsageError for a proxy that Prefect's client could not be made with, even to speak to this machine."""
    for name, value in _given().items():
        if value.lower().startswith("socks") and find_spec("socksio") is None:
            raise UsageError(
                f"{name} names a SOCKS proxy, which needs a package that is not installed: say `pip install socksio`, "
                f"or unset {name} for Trueup"
            )


def _given() -> dict[str, str]:
    names = [spelled for name in _PROXIES for spelled in (name, name.upper())]
    return {name: value for name in names if (value := os.environ.get(name, "").strip())}
