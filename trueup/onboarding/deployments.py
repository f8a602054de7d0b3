"""The block of `prefect.yaml` that deploys a model's flows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from trueup import files
from trueup.config import yaml_text
from trueup.config.annotated import flow
from trueup.config.schema import ModelConfig

_CRONS = {"day": "0 6 * * *", "week": "0 6 * * 1", "month": "0 6 2 * *"}


def deploy(config: ModelConfig, configs: Path) -> tuple[Path, bool] | None:
    """Append a model's deployments to the `prefect.yaml` beside the configs; None if that is impossible.

    Returns the file, and whether it was written: existing deployments of the model are kept. It is impossible if the
    file does not end with deployments, or lacks the definitions that a block refers to.
    """
    path = configs.resolve().parent / "prefect.yaml"
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8")
    content = _read(text)
    listed = content.get("deployments") if isinstance(content, dict) else None
    if not isinstance(listed, list) or next(reversed(content)) != "deployments":
        return None
    if any(isinstance(d, dict) and d.get("name") == config.model for d in listed):
        return path, False
    longer = text.rstrip() + "\n" + block(config)
    if _read(longer) is None:
        return None
    files.write_text(path, longer)
    return path, True


def _read(text: str) -> Any:
    try:
        return yaml_text.read(text, (1, 1))
    except YAMLError:
        return None


def block(config: ModelConfig) -> str:
    """The deployments of a model: run by its calendar and on arrival, retrain on events of the loop, and the others."""
    name, zone = flow(config.model), config.ingest.timezone
    tagged = f"name: {name}, tags: [trueup, {name}], parameters: {{model: {name}}}"
    return f"""
  # {config.model}
  - <<: *run
    name: {name}
    tags: [trueup, {name}]
    parameters: {{model: {name}, retrain: event}}
    schedules: [{{cron: "{_CRONS[config.ingest.period]}", timezone: {zone}}}]
    triggers:
      - {{<<: *on_arrived, match: &{config.model}_events {{prefect.resource.id: trueup.model.{config.model}}}}}
      - {{<<: *on_missing, match: *{config.model}_events}}
  - <<: *retrain
    name: {name}
    tags: [trueup, {name}]
    parameters: {{model: {name}}}
    triggers: [{{<<: *on_decayed, match: *{config.model}_events}}, {{<<: *on_stale, match: *{config.model}_events}}, {{<<: *on_due, match: *{config.model}_events}}]
  - {{<<: *score, {tagged}}}
  - {{<<: *monitor, {tagged}, schedules: [{{cron: "0 7 * * *", timezone: {zone}}}]}}
  - {{<<: *watch, {tagged}, schedules: [{{cron: "30 5 * * *", timezone: {zone}}}]}}
  - {{<<: *rollback, {tagged}}}
  - {{<<: *replay, {tagged}}}
"""
