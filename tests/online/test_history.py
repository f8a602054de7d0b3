"""The past is published with each landing: added to, or written anew after a correction; it is the past of the store."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from tests import streams
from tests.online.pasts import served, spec
from tests.story import CONFIG, Story, in_week, stream
from trueup.config.sections.features import FeaturesConfig
from trueup.domain.features.history import history_names
from trueup.errors import UsageError
from trueup.loop import steps
from trueup.online.history import specs_of, write_history
from trueup.serving import published, state
from trueup.serving.history import HistoryStore
from trueup.serving.loading.bundle import Loader
from trueup.stages.features import features

LEVEL = "    - {name: level, of: x, by: [group, [group, kind]], windows: [3 days, 12 hours]}\n"
HISTORY = CONFIG.replace("windows: [7 days]}\n", f"windows: [7 days]}}\n{LEVEL}")


class Landings:
    """A home into which weeks land, and the past as it is published from it."""

    def __init__(self, told: Story, published: state.History | None = None) -> None:
        self.told, self.published = told, published
        self.folder = told.folder / "published"

    def land(self, week: int) -> state.History:
        """Land all weeks before this one, and publish."""
        model = self.told.model
        for batch in steps.ingest(model, streams.week(week)):
            steps.validate(model, batch, streams.week(week))
        return self.publish()

    def publish(self) -> state.History:
        """Publish what has landed."""
        before = None
        if self.published is not None:  # as a server reads it
            content = msgspec.json.encode(self.published)
            before = Before(msgspec.json.decode(content, type=state.History))
        self.published = write_history(self.told.model, self.folder, before)
        return self.published

    def differing(self, week: int) -> tuple[int, int]:
        """Compare the features of a week's rows, online and offline: differing values, and all."""
        model, batch = self.told.model, self.told.batch(week)
        specs = model.config.features.history
        rows = model.home.store.effective(batch.rows)
        online = served(HistoryStore.load(self.folder, self.published), rows, specs)
        key = features(model, batch, streams.week(99))
        offline = model.home.store.read_features([key])[history_names(specs)].to_numpy(dtype=np.float32)
        same = (online == offline) | (np.isnan(online) & np.isnan(offline))
        return int((~same).sum()), same.size


class Before(msgspec.Struct):
    """The part of a state that is looked at."""

    history: Any


@pytest.fixture(scope="module")
def three_weeks(tmp_path_factory):
    rows = stream(7 * 7, per_day=20)
    told = Story(tmp_path_factory.mktemp("landings"), rows.assign(kind=rows.index % 3), HISTORY)
    landings = Landings(told)
    landings.land(3)
    return landings


@pytest.fixture
def landings(three_weeks, tmp_path):
    return Landings(three_weeks.told.branch(tmp_path), three_weeks.published)


def test_a_snapshot_has_the_bits_of_the_features_and_only_what_they_reach(three_weeks):
    published = three_weeks.published
    assert [file.events for file in published.files] == [2 * 7 * 20 + 19]  # and 19 labels that came on the 8th
    assert published.complete_since == "2024-01-08T00:00:00"
    assert published.known_until == "2024-01-22T23:53:20"
    assert published.columns == {"group": "text", "kind": "digits"}
    assert three_weeks.differing(2) == (0, 140 * 10)


def test_a_landing_adds_a_journal_and_another_publication_nothing(landings):
    first = landings.published
    second = landings.land(4)
    assert second.files[0] == first.files[0]
    assert [file.events for file in second.files[1:]] == [140]
    assert second.complete_since == first.complete_since
    assert second.known_until > first.known_until
    assert landings.differing(3) == (0, 140 * 10)
    files = sorted((path.name, path.stat().st_mtime_ns) for path in (landings.folder / state.HISTORY).iterdir())
    assert landings.publish() == second
    assert files == sorted((path.name, path.stat().st_mtime_ns) for path in (landings.folder / state.HISTORY).iterdir())


def test_before_its_batch_has_landed_a_row_differs_only_by_labels_that_came_since(landings):
    early = HistoryStore.load(landings.folder, landings.published)
    landings.land(4)
    late = HistoryStore.load(landings.folder, landings.published)
    plans = [one.plan(["rate_group_7d_n"]) for one in (early, late)]
    monday = 1_705_967_940_000_000  # 2024-01-22 23:59, when the labels of the weeks before are known
    for moment, same in ((monday, True), (monday + 3 * 86_400_000_000, False)):
        counts = [plan.values({"group": "a"}, moment) for plan in plans]
        assert (counts[0] == counts[1]) is same


@pytest.mark.parametrize("before", [lambda y: 1 - y, lambda y: y.where(y.index % 2 == 0)], ids=["corrected", "late"])
def test_late_and_corrected_labels_make_a_new_snapshot(landings, before):
    right = landings.told.frame
    landings.told.source(right.assign(y=right["y"].where(~in_week(right, 3), before(right["y"]))))
    landings.land(4)
    landings.told.source(right)
    corrected = landings.land(5)
    assert len(corrected.files) == 1
    assert corrected.complete_since == "2024-01-22T00:00:00"
    assert landings.differing(4) == (0, 140 * 10)


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"torn")])
def test_a_damaged_file_is_replaced_by_a_new_snapshot(landings, damage):
    landings.land(4)
    damage(landings.folder / state.HISTORY / landings.published.files[0].file)
    assert len(landings.publish().files) == 1
    assert landings.differing(3) == (0, 140 * 10)


@pytest.mark.parametrize("limit", ["_JOURNALS", "_STALE"])
def test_after_many_journals_or_events_that_nobody_needs_comes_a_new_snapshot(landings, monkeypatch, limit):
    monkeypatch.setattr(f"trueup.online.history.{limit}", 1)
    assert [len(landings.land(week).files) for week in (4, 5)] == [2, 1]
    assert landings.published.complete_since == "2024-01-22T00:00:00"


def test_without_history_features_there_is_nothing_to_publish(landings):
    assert write_history(landings.told.model, landings.folder, None, [FeaturesConfig(numeric=["x"])]) is None


def test_two_versions_with_their_own_features_share_the_past(landings):
    ours = landings.told.model.config.features
    theirs = ours.model_copy(update={"history": [spec(name="seen", of="x", aggregate="count", by=["group"])]})
    history = write_history(landings.told.model, landings.folder, Before(landings.published), [ours, theirs])
    store = HistoryStore.load(landings.folder, history)
    assert len(store.plan(["seen_group_1d", "level_group_3d"]).columns) == 1
    clash = ours.model_copy(update={"history": [spec(name="rate", of="x", by=["group"], windows=["7 days"])]})
    with pytest.raises(UsageError, match="define the history feature rate_group_7d differently"):
        specs_of([ours, clash], "toy")


def test_a_server_computes_the_features_of_landed_rows_to_the_bit(shop):
    folder = published.folder_of(shop.home.root, "toy")
    bundle = Loader(folder, shop.configs, shop.home.signer).load(published.read(folder, shop.home.signer))
    batch = shop.batch(5)
    rows = shop.home.store.effective(batch.rows)
    sent = [
        {"id": row.id, "t": row.event_time.isoformat(), "x": row.x, "z": row.z, "group": row.group}
        for row in rows.itertuples()
    ]
    names = [name for name in bundle.champion.inputs if name.startswith("rate_")]
    offline = shop.home.store.read_features([features(shop.model, batch, streams.week(6))])[names].to_numpy()
    online = bundle.champion.encoder.history_of(bundle.champion.encoder.encode(sent).features)
    assert len(names) == 2
    np.testing.assert_array_equal([[row[name] for name in names] for row in online], offline)
