"""5,000 random flights of a year get the same bits online as offline, from what a server holds in their month."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from configs.nycflights import flights
from tests.online.pasts import served, store
from trueup.config.load import load_model
from trueup.config.sections.features import HistoryConfig
from trueup.domain.features.history import history_features, needed_reach

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("model", "values"), [("flight_delays", 65_000), ("flight_air_time", 50_000), ("irrational", 50_000)]
)
def test_the_features_of_5000_flights_are_the_same_bits(tmp_path, model, values):
    config = load_model(CONFIGS, "flight_delays" if model == "flight_delays" else "flight_air_time")
    specs = config.features.history
    rows = landed(model)
    past = rows[rows["label"].notna()]
    some = rows.sample(5000, random_state=1).sort_values("event_time")
    offline = history_features(some, past, specs).to_numpy()
    months = some.groupby(some["event_time"].dt.to_period("M"))
    online = np.concatenate([month(tmp_path, past, rows_of_month, specs) for _, rows_of_month in months])
    assert online.size == values
    np.testing.assert_array_equal(online, offline, strict=True)


def month(folder: Path, past: pd.DataFrame, rows: pd.DataFrame, specs: Sequence[HistoryConfig]) -> np.ndarray:
    """The features of a month's rows, from a snapshot of what they reach and a journal of what became known meanwhile."""
    begin = rows["event_time"].dt.to_period("M").iloc[0].start_time
    known = past["known_at"]
    within = (known > begin - needed_reach(specs)) & (known <= begin + timedelta(days=32))
    parts = [past[within & (known <= begin)], past[within & (known > begin)]]
    held = store(folder, parts, specs, columns={"flight": "digits", "hour": "number"})
    return served(held, rows, specs)


def landed(model: str) -> pd.DataFrame:
    """The flights as they are landed: flight numbers are text, and labels count after a day."""
    table = flights(None, None)
    outcome = table["arr_delay"] if model == "flight_delays" else table["air_time"]
    label = (outcome > 15).astype(float).where(outcome.notna()) if model == "flight_delays" else outcome.astype(float)
    if model == "irrational":
        label = label * np.pi + np.random.default_rng(0).normal(size=len(label)) * 1e-7
    time = table["scheduled"]
    keys = table[["carrier", "origin", "dest", "hour"]].assign(flight=table["flight"].astype(str))
    return keys.assign(label=label, event_time=time, known_at=time + pd.Timedelta(days=1))
