"""The champion's alias in MLflow, set to what the ledger says."""

from __future__ import annotations

from trueup.errors import RegistryUnavailable
from trueup.model import Model


def align(model: Model) -> None:
    """Set the registry's alias to what the ledger says. Doing it twice changes nothing.

    The ledger is read under a lock that is held until the alias is written: else one who read it before a newer
    decision could write after that decision's own writer. Raises RegistryUnavailable when another writer hangs.
    """
    with model.home.aligning(model.config.model) as alone:
        if not alone:
            raise RegistryUnavailable(
                f"{model.config.model}: another process has been writing the champion's alias for a minute, so MLflow hardly "
                "answers; the decision stands in the ledger, and the next run sets the alias"
            )
        found = model.home.ledger.champion(model.config.model)
        if found is not None and not model.home.registry.alias_agrees(model.config.registered_name, found.version):
            model.home.registry.set_champion_alias(model.config.registered_name, found.version)
