"""The config of a side: its own, with the sample, the key, the time and the outcome of the base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trueup.ci.job import OUTCOME, OUTCOME_AT, ROW, Frame
from trueup.config.load import Written
from trueup.config.schema import ModelConfig
from trueup.errors import ConfigError

# What a side may say about reading: how the columns of its features are understood.
_OWN = ("missing", "types", "coerce", "keep", "extra_columns")


def with_ingest(written: Written, changed: Mapping[str, Any]) -> Written:
    """The same config with other keys of `ingest`."""
    return replace(written, content={**written.content, "ingest": {**written.content["ingest"], **changed}})


def side_config(written: Written, frame: Frame, sample: Path) -> ModelConfig:
    """The side's config on the sample. Raises ConfigError for another task, and for a config that is wrong on it."""
    own = written.content["ingest"]
    if (task := str(written.content["task"])) != frame.task:
        raise ConfigError(written.where, [f"task: {task} cannot be compared with {frame.task}; use another name"])
    ingest = {key: own[key] for key in _OWN if key in own}
    ingest["types"] = {
        name: kind for name, kind in (own.get("types") or {}).items() if name not in {frame.time, *frame.key}
    }
    ingest |= {
        "source": {"kind": "files", "path": str(sample)},
        "time": frame.time,
        "timezone": frame.timezone,
        "key": frame.key,
        "period": frame.period,
        "keep": list(dict.fromkeys([*(own.get("keep") or []), *frame.keep, ROW])),
        "label": {"column": OUTCOME, "known_at": OUTCOME_AT},
    }
    changed = replace(written, content={**written.content, "ingest": ingest})
    try:
        return changed.config()  # its rules were checked as it is written: some depend on how labels become known
    except ValidationError:
        raise changed.refusal(changed.mistakes()) from None
