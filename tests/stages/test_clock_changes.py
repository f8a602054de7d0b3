"""The two nights on which the clocks change: every instant is a row, whatever the source calls it."""

from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from tests.adapters.test_sources import UserDatabase, files, sql
from trueup.config.sections.ingest import IngestConfig
from trueup.config.tasks import Task
from trueup.domain.data.landing import key_hash, key_values, split
from trueup.domain.types import EVENT_TIME, KNOWN_AT, ROW_ID, Window
from trueup.errors import SourceError

ZONE = "America/New_York"
AUTUMN = Window(datetime(2024, 11, 3), datetime(2024, 11, 4))
SPRING = Window(datetime(2024, 3, 10), datetime(2024, 3, 11))
CONFIG = {
    "source": {"kind": "files", "path": "f"},
    "time": "time",
    "timezone": ZONE,
    "key": ["meter", "time"],
    "period": "day",
    "label": {"column": "late", "known_after": "10 minutes"},
}


def readings(window):
    """One meter, each ten minutes of a day of New York."""
    ends = [pd.Timestamp(t).tz_localize(ZONE).tz_convert("UTC") for t in (window.start, window.end)]
    moments = pd.date_range(*ends, freq="10min", inclusive="left")
    return pd.DataFrame(
        {"meter": "a", "time": moments, "x": np.arange(len(moments)), "late": np.arange(len(moments)) % 2}
    )


@pytest.fixture(params=["parquet", "offsets", "utc", "epoch", "postgresql"])
def read(request, tmp_path):
    """Read the frame of a window through a source."""

    def through(frame, window):
        ingest = {"key": ["meter", "time"]}
        if request.param == "postgresql":
            url = request.getfixturevalue("postgres_url")
            frame.to_sql("readings", UserDatabase(url, tmp_path, SourceError).engine, index=False, if_exists="replace")
            return sql(tmp_path, url, "SELECT * FROM readings", timezone=ZONE, ingest=ingest).read(
                window.start, window.end
            )
        if request.param == "parquet":
            frame.to_parquet(tmp_path / "f.parquet")
        else:
            local = frame["time"].dt.tz_convert(ZONE)
            texts = {
                "offsets": local.map(lambda t: t.isoformat()),
                "utc": frame["time"].dt.strftime("%Y-%m-%d %H:%M:%S UTC"),
                "epoch": frame["time"].map(lambda t: int(t.timestamp())),
            }
            frame.assign(time=texts[request.param]).to_csv(tmp_path / "f.csv", index=False)
        ingest |= {"time_format": "epoch s"} if request.param == "epoch" else {}
        return files(tmp_path, "f.*", timezone=ZONE, ingest=ingest).read(window.start, window.end)

    return through


def landed(raw, window, form=None):
    config = IngestConfig.model_validate(CONFIG | {"time_format": form})
    return split(raw, config, Task.BINARY, ["x"], ["x"], window)


@pytest.mark.parametrize(("window", "rows"), [(AUTUMN, 150), (SPRING, 138)])
def test_every_instant_is_a_row_in_its_order(read, window, rows):
    frame = readings(window)
    found = landed(read(frame.sample(frac=1, random_state=1), window), window)
    assert (len(found.rows), found.facts["duplicates"]) == (rows, 0)
    assert found.rows[ROW_ID].is_unique
    local = frame["time"].dt.tz_convert(ZONE).dt.tz_localize(None)
    assert found.rows[EVENT_TIME].tolist() == sorted(local)
    twice = found.rows[found.rows[EVENT_TIME] == pd.Timestamp(2024, 11, 3, 1, 30)]
    assert twice["x"].is_monotonic_increasing, "the first pass comes first"
    assert found.facts.get("repeated_hour", 0) == (6 if window is AUTUMN else 0)


def test_what_the_second_pass_showed_is_not_known_in_the_first(read):
    found = landed(read(readings(AUTUMN), AUTUMN), AUTUMN)
    both = found.rows.merge(found.labels, on=ROW_ID)
    second = both[both["x"].between(12, 17)]
    assert (second[KNOWN_AT] >= pd.Timestamp(2024, 11, 3, 2)).all()


def test_labels_of_another_source_find_their_instant(read):
    raw = read(readings(AUTUMN), AUTUMN)
    found = landed(raw, AUTUMN)
    config = IngestConfig.model_validate(CONFIG)
    names = {"meter": "meter", "time": "time"}
    named = key_values(readings(AUTUMN).head(30), config, names, "ingest.key", {"meter": "text"})
    assert len(set(key_hash(named, AUTUMN.start)) & set(found.rows[ROW_ID])) == 30


def test_times_without_a_zone_that_there_are_not_are_counted_and_kept():
    times = pd.Series(pd.to_datetime(["2024-03-10 01:30", "2024-03-10 02:30", "2024-03-10 03:30"]))
    found = landed(pd.DataFrame({"meter": "a", "time": times, "x": 1.0, "late": 0}), SPRING)
    assert (len(found.rows), found.facts["no_such_time"]) == (3, 1)
