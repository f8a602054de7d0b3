"""A home as the workers of a Dask cluster open it: with their own passwords and credentials, which are never sent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trueup.adapters.dask.worker import name_of_worker
from trueup.config.settings import Settings
from trueup.errors import ClusterFailed, TrueupError
from trueup.home import Home

# Addresses that may hold a password: a worker takes them from its own environment, unless they are not set here.
_SECRET = ("database_url", "mlflow_uri", "mlflow_artifacts")


@dataclass(frozen=True)
class Elsewhere:
    """What a worker needs to know of a home."""

    home: str
    configs: str
    unset: tuple[str, ...]  # of the addresses with passwords
    identity: str

    @classmethod
    def of(cls, home: Home) -> Elsewhere:
        """How the workers find a home."""
        settings = home.settings
        unset = tuple(name for name in _SECRET if getattr(settings, name) is None)
        return cls(settings.address or str(settings.root), str(settings.configs.resolve()), unset, home.identity)

    @contextmanager
    def opened(self) -> Iterator[Home]:
        """Open the home in this worker, for the block. Raises ClusterFailed if it is not there, or another one is."""
        settings = self._settings()
        looking = Home(settings, looks=True)
        if looking.identity != self.identity:
            raise ClusterFailed(
                f"the Dask worker {name_of_worker()} does not have the home {self.home} of the process that sent the work; mount it there "
                "under the same path, or put it into an object store; start the worker with the same TRUEUP_DATABASE_URL"
            )
        home = Home(settings)
        try:
            yield home
        finally:
            home.close()

    def _settings(self) -> Settings:
        given: dict[str, Any] = {"home": self.home, "dask": None, "reports": False, **dict.fromkeys(self.unset)}
        if "TRUEUP_CONFIGS" not in os.environ:
            given["configs"] = self.configs
        try:
            return Settings(**given)
        except TrueupError as error:
            raise ClusterFailed(
                f"the Dask worker {name_of_worker()} cannot open the home: {error}; start it with the same variables as this process"
            ) from None
