"""Register: creates a version of a fitted model in MLflow's registry, with its lineage."""

from __future__ import annotations

from trueup.adapters.git import code_facts
from trueup.domain.data.digest import config_digest
from trueup.handoffs import Candidate, Role, Trained
from trueup.model import Model


def register(model: Model, trained: Trained, role: Role = "judged") -> Candidate:
    """Create a version of the logged model. The alias does not change: only a decision moves it."""
    tags = {
        **model.config.register_.tags,
        "trueup.role": role,
        "trueup.trained_on": f"[{trained.train.start:%Y-%m-%d}, {trained.trained_until:%Y-%m-%d %H:%M})",
        "trueup.rows": str(trained.rows),
        "trueup.data_digest": trained.data_digest,
        "trueup.config_digest": config_digest(model.config),
        "trueup.manifest_digest": trained.manifest_digest,
        "trueup.seed": str(trained.recipe.seed),
        **({"trueup.received_from": trained.received.key_id} if trained.received else {}),
        **({"trueup.onnx_sha256": trained.form.sha256} if trained.form and trained.form.sha256 else {}),
        **{f"trueup.{k}": v for k, v in code_facts(model.home.configs).items()},
    }
    version = model.home.registry.register(model.config.registered_name, trained.uri, tags)
    return Candidate(
        name=model.config.registered_name,
        version=version,
        run_id=trained.run_id,
        uri=trained.uri,
        manifest_digest=trained.manifest_digest,
        trained_until=trained.trained_until,
        role=role,
    )
