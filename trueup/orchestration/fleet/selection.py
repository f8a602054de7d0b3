"""Which models belong to a run of the fleet."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from trueup.config.load import load_model, model_names
from trueup.config.schema import ModelConfig
from trueup.errors import TrueupError, UsageError
from trueup.hints import did_you_mean


@dataclass(frozen=True)
class Chosen:
    """A model of the fleet: its config, or why it cannot be read."""

    name: str
    config: ModelConfig | None = None
    error: TrueupError | None = None


def choose(configs: Path, tags: Collection[str] = ()) -> list[Chosen]:
    """The models with any of the tags, by name; without tags, all.

    A config that cannot be read is chosen, too: its tags are not known. Raises UsageError for a folder without configs,
    and for a tag that no config has.
    """
    every = [_read(configs, name) for name in model_names(configs)]
    if not every:
        raise UsageError(f"no configs in {configs.resolve()}; change to the project's folder or set TRUEUP_CONFIGS")
    known = sorted({tag for chosen in every if chosen.config is not None for tag in chosen.config.tags})
    for tag in tags:
        if tag not in known:
            hint = did_you_mean(tag, known, f"known tags: {', '.join(known) or 'none'}")
            raise UsageError(f"no model has the tag {tag!r}; {hint}; `tags:` in a config sets them")
    return [c for c in every if not tags or c.config is None or {*tags} & {*c.config.tags}]


def _read(configs: Path, name: str) -> Chosen:
    try:
        return Chosen(name, load_model(configs, name))
    except TrueupError as error:
        return Chosen(name, error=error)
