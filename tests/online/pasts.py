"""Made-up pasts as landed frames, and a store of them as a server has it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trueup.config.sections.features import HistoryConfig
from trueup.domain.features.history import history_names
from trueup.online.history import events_of, published_specs
from trueup.serving import state
from trueup.serving.history import HistoryStore, microseconds
from trueup.serving.history.file import encode

START = datetime(2013, 1, 1)


def spec(**changes: Any) -> HistoryConfig:
    """The definition of a history feature."""
    return HistoryConfig.model_validate({"name": "late", "by": ["carrier"], "windows": ["1 day"]} | changes)


def store(folder: Path, parts: Sequence[pd.DataFrame], specs: Sequence[HistoryConfig], **fields: Any) -> HistoryStore:
    """A store that was loaded from files: a snapshot of the first part, and journals of the others."""
    files = []
    (folder / state.HISTORY).mkdir(exist_ok=True)
    for number, part in enumerate(parts):
        content = encode(events_of(part, specs), {}, snapshot=number == 0)
        digest = hashlib.sha256(content).hexdigest()
        (folder / state.HISTORY / digest).write_bytes(content)
        files.append(state.HistoryFile(file=digest, sha256=digest, events=len(part)))
    history = state.History(specs=published_specs(specs), files=tuple(files), known_until=None, **fields)
    return HistoryStore.load(folder, history)


def served(past: HistoryStore, queries: pd.DataFrame, specs: Sequence[HistoryConfig]) -> np.ndarray:
    """The features of each row as the server computes them from the row's JSON, float32 (rows, features)."""
    names = history_names(specs)
    plan = past.plan(names)
    rows = json.loads(queries.drop(columns=["known_at"], errors="ignore").to_json(orient="records", date_format="iso"))
    now = [microseconds(moment.to_pydatetime()) for moment in queries["event_time"]]
    values = [plan.values(row, moment) for row, moment in zip(rows, now, strict=True)]
    return np.array(values, dtype=np.float32).reshape(len(queries), len(names))


def moments(hours: Sequence[float]) -> pd.Series:
    """Moments so many hours after the start."""
    return pd.Series([START + timedelta(hours=float(h)) for h in hours], dtype="datetime64[us]")
