"""A server keeps itself current: new states are swapped in, broken ones are not, and a lost ledger changes nothing."""

import os
import shutil
import time

import msgspec
import numpy as np
import pytest

from tests.export.homes import CHAMPION, JUDGED
from trueup.governance.rollback import override
from trueup.serving import published
from trueup.serving.loading.manifest import read_bundle
from trueup.serving.loading.served import Served
from trueup.serving.loading.watch import Watch
from trueup.serving.metrics import Metrics
from trueup.serving.settings import ServerSettings
from trueup.serving.state import BUNDLES, COPIES


def until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def story(shop, tmp_path, monkeypatch):
    branch = shop.branch(tmp_path)
    monkeypatch.setenv("TRUEUP_HOME", str(branch.home.root))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(branch.configs))
    monkeypatch.setenv("TRUEUP_REPORTS", "false")
    return branch


def settings_of(story):
    root = story.home.root
    return ServerSettings(root, story.configs, f"sqlite:///{root / 'trueup.db'}", ("toy",))


@pytest.fixture
def watched(story):
    """A model that is watched, from the present state on."""
    served = Served(story.home.root, "toy")
    watch = Watch([served], settings_of(story))
    watch.start()
    yield served
    watch.stop()


def test_the_published_champion_answers_as_its_pipeline_does(story, watched):
    from trueup.domain.learning.learning import predict

    bundle = watched.current
    assert (bundle.champion.version, bundle.champion.epoch, watched.failure) == (CHAMPION, 1, None)
    champion = story.model.champion()
    sample = story.home.store.read_evaluation(champion.baseline_path).head(50)
    rows = [{n: None if v != v else v for n, v in row.items()} for row in sample.to_dict("records")]
    features = bundle.champion.encoder.encode_inputs(rows)
    expected = predict(champion.load(story.home), sample, story.config.task)
    np.testing.assert_allclose(bundle.champion.run(features)[:, 0], expected, atol=1e-9)


def test_a_decision_in_the_ledger_is_published_and_swapped_in(story, watched):
    before = watched.current
    # Another version is made the champion by another process, which publishes nothing.
    override(story.model, JUDGED, "somebody", "a test")
    until(lambda: watched.current is not before)
    assert (watched.current.champion.version, watched.current.champion.epoch) == (JUDGED, 2)
    assert before.champion.run(np.zeros((1, len(before.champion.inputs)))).shape == (1, 1)  # of requests under way
    until(lambda: watched.age < 2)
    assert watched.swaps == {"loaded": 2, "failed": 0}


def test_a_torn_state_leaves_the_old_one_serving_and_is_announced_and_mended(story, watched):
    before = watched.current
    file = watched.folder / "state"
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    until(lambda: watched.failure is not None)
    assert "was changed after it was signed" in watched.failure
    assert watched.current is before
    assert watched.swaps["failed"] >= 1
    until(lambda: watched.failure is None and not watched.publishing_failure)  # a child has published it anew
    until(lambda: story.home.ledger.announced("toy", "trueup.serving.failed"))
    assert watched.current.champion.version == CHAMPION


def test_without_its_ledger_a_server_starts_and_says_how_old_it_is(story):
    served = Served(story.home.root, "toy")
    moved = story.home.root / "trueup.db"
    shutil.move(moved, moved.with_suffix(".away"))
    watch = Watch([served], settings_of(story))
    watch.start()
    try:
        assert served.current.champion.version == CHAMPION
        until(lambda: served.unreachable_since is not None)
        age = served.age
        until(lambda: served.age > age)
        shutil.move(moved.with_suffix(".away"), moved)
        until(lambda: served.unreachable_since is None and served.age < 1)
    finally:
        watch.stop()


def test_a_challenger_that_cannot_be_loaded_keeps_nobody_from_being_answered(story, watched):
    state = watched.current.state
    gone = msgspec.structs.replace(state.champion, version=9, bundle="v9-gone", manifest_sha256="0" * 64)
    published.write(watched.folder, msgspec.structs.replace(state, challenger=gone), story.home.signer)
    until(lambda: watched.failure is not None)
    assert "v9-gone" in watched.failure
    assert (watched.current.champion.version, watched.current.challenger) == (CHAMPION, None)
    assert watched.swaps == {"loaded": 2, "failed": 1}


def test_a_challenger_that_could_not_be_loaded_is_tried_again(story):
    from trueup.export.bundle import export

    served = Served(story.home.root, "toy")
    state = published.read(served.folder, story.home.signer)
    away, place = story.home.root / "away", served.folder / BUNDLES / "v1-away"
    export(story.model, JUDGED, away)
    _, _, digest = read_bundle(away, story.home.signer)
    tried = msgspec.structs.replace(state.champion, version=JUDGED, bundle=place.name, manifest_sha256=digest)
    published.write(served.folder, msgspec.structs.replace(state, challenger=tried), story.home.signer)
    figures = Metrics()
    watch = Watch([served], settings_of(story))
    watch.start()
    try:
        first = served.current
        assert (first.challenger, served.swaps) == (None, {"loaded": 1, "failed": 1})
        assert 'trueup_challenger_unloaded{model="toy"} 1.0' in shown(figures, served)
        until(lambda: served.swaps["failed"] == 2)
        assert served.current is first  # nothing was swapped for the same
        away.rename(place)
        until(lambda: served.current.challenger is not None)
        assert (served.failure, served.current.challenger.version) == (None, JUDGED)
        assert 'trueup_challenger_unloaded{model="toy"} 0.0' in shown(figures, served)
    finally:
        watch.stop()


def shown(figures, served):
    figures.refresh(served, None, 0.0)
    return figures.text().decode()


def test_a_state_that_cannot_be_read_for_a_while_leaves_no_failure_behind(watched):
    file = watched.folder / "state"
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    until(lambda: watched.failure is not None)
    file.write_bytes(whole)
    until(lambda: watched.failure is None)


def test_the_same_version_is_taken_over_with_what_was_counted_of_its_inputs(story, watched):
    before = watched.current
    published.write(watched.folder, msgspec.structs.replace(before.state, about="Other words."), story.home.signer)
    until(lambda: watched.current is not before)
    assert watched.current.state.about == "Other words."
    assert watched.current.drift is before.drift
    assert watched.current.champion._session is before.champion._session


def flipped(story, part):
    """The model's folder, after a bit of the champion's graph has flipped in a part of it."""
    folder = published.folder_of(story.home.root, "toy")
    state = published.read(folder, story.home.signer)
    graph = folder / part / state.champion.bundle / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    return folder


def test_a_bundle_with_a_flipped_bit_is_not_served(story):
    flipped(story, BUNDLES), flipped(story, COPIES)
    served = Served(story.home.root, "toy")
    watch = Watch([served], settings_of(story))
    watch.start()
    try:
        assert served.current is None
        assert "is not what was signed" in served.failure
    finally:
        watch.stop()


def test_a_damaged_bundle_is_answered_by_its_copy_until_it_is_repaired(story):
    folder, served = flipped(story, BUNDLES), Served(story.home.root, "toy")
    moved = story.home.root / "trueup.db"
    shutil.move(moved, moved.with_suffix(".away"))
    watch = Watch([served], settings_of(story))
    watch.start()
    try:
        assert served.current.champion.version == CHAMPION
        assert served.failure.startswith("its copy answers: ")
        assert "is not what was signed" in served.failure
        shutil.move(moved.with_suffix(".away"), moved)
        until(lambda: served.failure is None)
        bundle = folder / BUNDLES / served.current.state.champion.bundle
        assert read_bundle(bundle, story.home.signer, served.current.champion.manifest_sha256)
    finally:
        watch.stop()


def test_a_torn_state_at_the_start_is_answered_by_its_copy(story):
    served, file = Served(story.home.root, "toy"), published.folder_of(story.home.root, "toy") / "state"
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    os.utime(published.copy_of(served.folder), (time.time() - 3600,) * 2)
    moved = story.home.root / "trueup.db"
    shutil.move(moved, moved.with_suffix(".away"))
    watch = Watch([served], settings_of(story))
    watch.start()
    try:
        assert served.current.champion.version == CHAMPION
        assert "was changed after it was signed" in served.failure
        assert served.age > 3590
        file.write_bytes(whole)
        until(lambda: served.failure is None)
    finally:
        watch.stop()


def test_a_mistake_in_loading_one_model_stops_neither_the_start_nor_the_watch(story, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such thing")

    served = Served(story.home.root, "toy")
    watch = Watch([served], settings_of(story))
    with monkeypatch.context() as broken:
        broken.setattr("trueup.serving.loading.watch.Loader.load", fail)
        watch.start()
    try:
        assert "RuntimeError: no such thing" in served.failure
        until(lambda: served.current is not None)
        assert served.failure is None
    finally:
        watch.stop()
