"""The champion's alias in MLflow, set from the ledger."""

from __future__ import annotations

from trueup.errors import RegistryUnavailable
from trueup.model import Model


def align(model: Model) -> None:
    """Set the registry's alias to the ledger's champion. Idempotent.

    A lock is held from the reading of the ledger until the alias is written: otherwise a writer that read it before a
    newer decision could overwrite that decision's alias. Raises RegistryUnavailable when another writer hangs.
    """
    with model.home.aligning(model.config.model) as alone:
        if not alone:
            raise RegistryUnavailable(
                f"{model.config.model}: another process has been writing the champion's alias for a minute, so MLflow hardly "
                "answers; the decision is recorded, and the next run sets the alias"
            )
        current = model.home.ledger.champion(model.config.model)
        if current is not None and not model.home.registry.alias_agrees(model.config.registered_name, current.version):
            model.home.registry.set_champion_alias(model.config.registered_name, current.version)
