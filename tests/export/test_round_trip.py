"""From a home to a device and back, with the runtime that a device has: export, pull, self-test, predict, spool, ingest."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.export import homes
from tests.export.homes import CHAMPION, EVERY_KIND, JUDGED, TRAINED_IN
from tests.export.spools import record, written
from tests.story import window
from trueup.governance.rollback import override
from trueup.stages.features import features

EDGE = Path(__file__).parents[2] / "edge"
NEXT = TRAINED_IN

DEVICE = """
import json, sys
from pathlib import Path
from trueup_edge import Spool, load

model = load("device", trust="trust.json")
with Spool("spool.jsonl", device="gate-12") as spool:
    for line in Path("rows.jsonl").read_text().splitlines():
        row = json.loads(line)
        key, moment = {"id": row.pop("id")}, row["t"]
        row = {name: value for name, value in row.items() if name in model.fields}
        spool.append(model, row, model.predict(row), key=key, event_time=moment)
    print(json.dumps({"version": model.version, **vars(spool.hand_back("handed_back.jsonl"))}))
assert not {"sklearn", "pandas", "trueup"} & sys.modules.keys()
"""


class Device:
    """A folder in which only the runtime is installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: str) -> subprocess.CompletedProcess:
        env = {**os.environ, "PYTHONPATH": str(EDGE)}
        return subprocess.run([sys.executable, *words], cwd=self.folder, env=env, capture_output=True, text=True)

    def pull(self, source: Path) -> tuple[int, str]:
        done = self("-m", "trueup_edge", "pull", str(source), "--into", "device", "--trust", "trust.json")
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def device(tmp_path):
    (folder := tmp_path / "field").mkdir()
    return Device(folder)


@pytest.fixture
def story(shop, tmp_path):
    return shop.branch(tmp_path / "home_with_devices")


def scored_here(shop, folder):
    """The rows of the next week with their features, and Trueup's own predictions of them."""
    story = shop.branch(folder)
    story.turn(NEXT + 1)
    batch = story.batch(NEXT)
    frame = story.home.store.read_features([features(story.model, batch, window(NEXT).end)])
    landed = story.home.store.read(batch.rows, ["row_id", "id", "t"])
    joined = landed.merge(frame.drop(columns="event_time"), on="row_id").merge(story.predictions(NEXT), on="row_id")
    return joined.sort_values("t", ignore_index=True)


def as_a_device_sees_them(rows):
    """Plain values: the time instead of its parts, and what the caller computes."""
    for row in rows.itertuples():
        computed = {name: float(getattr(row, name)) for name in ("x", "z", "total", "rate_group_7d", "rate_group_7d_n")}
        yield {"id": row.id, "t": row.t.isoformat(), "group": str(row.group), **computed}


def test_a_device_predicts_what_trueup_predicts_and_hands_it_back(shop, story, device, command_line, tmp_path):
    expected = scored_here(shop, tmp_path / "scored_here")
    trueup = command_line(story.folder)
    for words in (
        ("export-trust", "toy", "--to", str(device.folder / "trust.json")),
        ("export", "toy", "--to", str(tmp_path / "bundle"), "--zip"),
    ):
        done = trueup(*words)
        assert done.code == 0, done.err
    assert (
        "inputs that the caller computes, as the manifest defines them: rate_group_7d, rate_group_7d_n, total"
        in done.out
    )

    assert device.pull(tmp_path / "bundle.zip") == (0, f"toy version {CHAMPION}, epoch 1: installed\n")
    tested = device("-m", "trueup_edge", "device", "--trust", "trust.json", "--selftest")
    assert (tested.returncode, "predicted as where it was made" in tested.stdout) == (0, True), tested.stderr

    lines = [json.dumps(row) for row in as_a_device_sees_them(expected)]
    (device.folder / "rows.jsonl").write_text("\n".join(lines))
    done = device("-c", DEVICE)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"version": CHAMPION, "predictions": len(expected), "lost": 0}

    spool = device.folder / "handed_back.jsonl"
    done = trueup("ingest-predictions", "toy", str(spool), "--json")
    assert done.code == 0, done.err
    counts = json.loads(done.out)
    assert (counts["records"], counts["new"], counts["broken"], counts["lost"]) == (len(expected), len(expected), 0, 0)

    story.turn(NEXT + 1)
    served = story.predictions(NEXT).set_index("row_id").loc[expected["row_id"]]
    assert len(served) == len(story.predictions(NEXT))
    assert np.abs(served["prediction"].to_numpy() - expected["prediction"].to_numpy()).max() <= 1e-9
    assert (
        served["predicted_at"].to_numpy() > np.datetime64("2025-01-01")
    ).all()  # by the device's clock, not the batch's
    # What Trueup itself predicted for the same rows is the same.
    assert json.loads(trueup("ingest-predictions", "toy", str(spool), "--json").out)["equal"] == len(expected)


def test_a_device_goes_back_only_with_a_new_manifest(story, device, command_line, tmp_path):
    trueup = command_line(story.folder)
    assert trueup("export-trust", "toy", "--to", str(device.folder / "trust.json")).code == 0
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    assert trueup("export", "toy", "--to", str(first)).code == 0
    override(story.model, JUDGED, by="Ada", why="the refit is odd")
    assert trueup("export", "toy", "--to", str(second)).code == 0
    assert device.pull(first)[0] == 0
    assert device.pull(second) == (0, f"toy version {JUDGED}, epoch 2: installed\n")
    code, said = device.pull(first)
    assert code == 4, said
    done = trueup("rollback", "toy", "--to", str(CHAMPION), "--by", "Ada", "--why", "complaints")
    assert done.code == 0, done.err
    assert trueup("export", "toy", "--to", str(third)).code == 0
    assert device.pull(third) == (0, f"toy version {CHAMPION}, epoch 3: installed\n")
    graphs = [(folder / "model.onnx").read_bytes() for folder in (first, third)]
    assert graphs[0] == graphs[1]


def test_devices_take_a_new_key_that_the_old_one_announced(story, device, command_line, tmp_path, monkeypatch):
    trueup, trust = command_line(story.folder), device.folder / "trust.json"
    old = story.home.signer.public
    assert trueup("export-trust", "toy", "--to", str(trust)).code == 0
    assert trueup("export", "toy", "--to", str(tmp_path / "old")).code == 0
    assert device.pull(tmp_path / "old")[0] == 0

    from trueup.ledger.signing import Keys, open_signer

    new = open_signer(tmp_path, Keys("77" * 32))
    story.later(seconds=5)
    monkeypatch.setattr("trueup.home._wall_clock", story.home.now)
    assert trueup("export-trust", "toy", "--to", str(device.folder / "both.json"), "--also", new.public).code == 0
    monkeypatch.setenv("TRUEUP_LEDGER_KEY", "77" * 32)
    monkeypatch.setenv("TRUEUP_LEDGER_EARLIER_KEYS", old)
    done = trueup("export", "toy", "--to", str(tmp_path / "new"))
    assert done.code == 0, done.err
    assert device.pull(tmp_path / "new")[0] == 3  # not announced yet
    taken = device("-m", "trueup_edge", "trust", "both.json", "--anchor", "trust.json")
    assert taken.returncode == 0, taken.stderr
    code, said = device.pull(tmp_path / "new")
    assert code == 0, said


MULTICLASS = (
    EVERY_KIND.replace("task: binary", "task: multiclass")
    .replace("{name: rate,", "{name: rate, aggregate: rate, equals: high,")
    .replace("families: [gradient_boosting]", "families: [forest]")
    .replace("  parameters: {gradient_boosting: {max_iter: 40, learning_rate: 0.15, max_leaf_nodes: 8}}\n", "")
)
REGRESSION = (
    MULTICLASS.replace("task: multiclass", "task: regression")
    .replace("[forest]", "[linear]")
    .replace(" aggregate: rate, equals: high,", "")
)


@pytest.mark.thorough
@pytest.mark.parametrize("config", [MULTICLASS, REGRESSION], ids=["multiclass forest", "linear regression"])
def test_other_tasks_and_families_come_back_the_same(config, device, command_line, tmp_path, monkeypatch):
    frame = homes.stream(8 * 7, per_day=40)
    rng = np.random.default_rng(5)
    sign = np.sign(frame["z"]) if "multiclass" in config else 1  # what no linear model learns
    frame["y"] = np.round(2 * frame["x"] * sign + rng.normal(size=len(frame)), 2)
    if "multiclass" in config:
        frame["y"] = pd.cut(frame["y"], [-np.inf, -1, 1, np.inf], labels=["low", "mid", "high"]).astype(str)
    monkeypatch.setattr(homes, "stream", lambda *_, **__: frame)
    shop = homes.grown(tmp_path / "shop", config)
    story = shop.branch(tmp_path / "home_with_devices")
    expected = scored_here(shop, tmp_path / "scored_here")
    assert story.model.champion().recipe.family in config
    trueup = command_line(story.folder)
    assert trueup("export-trust", "toy", "--to", str(device.folder / "trust.json")).code == 0
    assert trueup("export", "toy", "--to", str(tmp_path / "bundle")).code == 0
    assert device.pull(tmp_path / "bundle")[0] == 0
    (device.folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in as_a_device_sees_them(expected)))
    done = device("-c", DEVICE)
    assert done.returncode == 0, done.stderr
    counts = trueup("ingest-predictions", "toy", str(device.folder / "handed_back.jsonl"), "--json")
    assert json.loads(counts.out)["new"] == len(expected), counts.out
    if "multiclass" in config:  # classes that the version does not have
        odd = record(1, 10**6, story.frame["t"].iloc[-1].isoformat(), {"low": 0.5, "other": 0.5})
        again = trueup("ingest-predictions", "toy", str(written(device.folder / "odd", [odd])), "--json")
        assert (json.loads(again.out)["unreadable"], json.loads(again.out)["new"]) == (1, 0)
    served = story.predictions(NEXT).set_index("row_id").loc[expected["row_id"]]
    columns = [c for c in served if c == "prediction" or c.startswith("p_")]
    assert len(columns) == (4 if "multiclass" in config else 1)
    for column in columns:
        if column == "prediction" and "multiclass" in config:
            assert served[column].tolist() == expected[column].tolist()
        else:
            apart = np.abs(served[column].to_numpy() - expected[column].to_numpy())
            assert (apart <= 1e-6 * np.maximum(1, np.abs(expected[column].to_numpy()))).all()
