"""The block of `prefect.yaml` that deploys a model's flows."""

from __future__ import annotations

from pathlib import Path

import yaml

from trueup.config.schema import ModelConfig

_CRONS = {"day": "0 6 * * *", "week": "0 6 * * 1", "month": "0 6 2 * *"}


def deploy(config: ModelConfig, configs: Path) -> Path | None:
    """Put a model's deployments at the end of the `prefect.yaml` beside the configs; None where that cannot be.

    Nothing is changed where the model has some already, and where the file ends with something else than deployments
    or lacks the definitions that a block refers to.
    """
    path = configs.resolve().parent / "prefect.yaml"
    if not path.is_file():
        return None
    text = path.read_text()
    content = yaml.safe_load(text)
    if (
        not isinstance(content, dict)
        or next(reversed(content)) != "deployments"
        or not isinstance(content["deployments"], list)
    ):
        return None
    if any(d.get("name") == config.model for d in content["deployments"]):
        return path
    longer = text.rstrip() + "\n" + block(config)
    try:
        yaml.safe_load(longer)
    except yaml.YAMLError:
        return None
    beside = path.with_suffix(".yaml.new")
    beside.write_text(longer)
    beside.replace(path)
    return path


def block(config: ModelConfig) -> str:
    """The deployments of a model: run by its calendar and on arrival, retrain on what the loop asks for, and the rest."""
    name, zone = config.model, config.ingest.timezone
    tagged = f"name: {name}, tags: [trueup, {name}], parameters: {{model: {name}}}"
    return f"""
  # {name}
  - <<: *run
    name: {name}
    tags: [trueup, {name}]
    parameters: {{model: {name}, retrain: event}}
    schedules: [{{cron: "{_CRONS[config.ingest.period]}", timezone: {zone}}}]
    triggers:
      - {{<<: *on_arrived, match: &{name}_events {{prefect.resource.id: trueup.model.{name}}}}}
      - {{<<: *on_missing, match: *{name}_events}}
  - <<: *retrain
    name: {name}
    tags: [trueup, {name}]
    parameters: {{model: {name}}}
    triggers: [{{<<: *on_decayed, match: *{name}_events}}, {{<<: *on_stale, match: *{name}_events}}, {{<<: *on_due, match: *{name}_events}}]
  - {{<<: *score, {tagged}}}
  - {{<<: *monitor, {tagged}, schedules: [{{cron: "0 7 * * *", timezone: {zone}}}]}}
  - {{<<: *watch, {tagged}, schedules: [{{cron: "30 5 * * *", timezone: {zone}}}]}}
  - {{<<: *rollback, {tagged}}}
  - {{<<: *replay, {tagged}}}
"""
