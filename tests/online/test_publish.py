"""What servers load is published from the ledger: signed, whole, and only when something has changed."""

import logging
import os
from dataclasses import replace

import msgspec
import pytest

from tests.export.homes import CHAMPION, JUDGED
from tests.online.homes import ONLINE
from trueup.config.schema import ServeConfig
from trueup.errors import UsageError, WorkError
from trueup.governance.rollback import override
from trueup.loop.turn import cycle
from trueup.model import Model
from trueup.online.publish import publish
from trueup.serving import published
from trueup.serving.loading.manifest import read_bundle
from trueup.serving.state import BUNDLES, COPIES, STATE_FILE


def place(story):
    return published.folder_of(story.home.root, "toy")


@pytest.fixture
def story(shop, tmp_path):
    return shop.branch(tmp_path)


def test_a_turn_of_the_loop_publishes_the_champion_with_all_that_a_client_sends(shop):
    state = published.read(place(shop), shop.home.signer)
    assert (state.model, state.task, state.champion.version, state.champion.epoch) == ("toy", "binary", CHAMPION, 1)
    by_name = {field.name: field for field in state.fields}
    uses = {name: set(field.uses) for name, field in by_name.items()}
    assert uses == {
        "id": {"key"}, "t": {"time", "calendar"}, "x": {"feature"}, "z": {"feature"},
        "group": {"feature", "history"},
    }  # fmt: skip
    assert by_name["group"].categories == ("a", "b", "c")
    assert by_name["x"].minimum < by_name["x"].example < by_name["x"].maximum
    assert by_name["t"].kind == "time"
    assert by_name["t"].example.startswith("2024-02-")
    manifest, files, _ = read_bundle(place(shop) / BUNDLES / state.champion.bundle, shop.home.signer)
    assert (manifest.version, set(files)) == (CHAMPION, {"model.onnx", "parity.jsonl"})


def test_the_sketches_describe_the_training_rows(shop):
    state = published.read(place(shop), shop.home.signer)
    by_name = {sketch.name: sketch for sketch in state.sketches}
    assert all(abs(sum(sketch.shares) - 1) < 1e-9 for sketch in by_name.values())
    assert len(by_name["x"].edges) == 9
    assert all(0.05 < share < 0.15 for share in by_name["x"].shares[:10])
    assert all(0.2 < share < 0.5 for share in by_name["group"].shares[:3])


def test_publishing_again_writes_nothing_but_confirms_the_state(story):
    file = place(story) / STATE_FILE
    before = file.read_bytes()
    os.utime(file, (1, 1))
    publish(story.model)
    assert file.read_bytes() == before
    assert file.stat().st_mtime > 1


def test_a_changed_section_is_published_with_the_same_bundle(story):
    before = published.read(place(story), story.home.signer)
    config = story.config.model_copy(update={"serve": story.config.serve.model_copy(update={"max_rows": 7})})
    after = publish(Model(config, story.home))
    assert after.serve.max_rows == 7
    assert after.champion == before.champion


def test_a_bundle_that_was_damaged_is_written_again(story):
    state = published.read(place(story), story.home.signer)
    graph = place(story) / BUNDLES / state.champion.bundle / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")
    repaired = publish(story.model)
    assert read_bundle(place(story) / BUNDLES / repaired.champion.bundle, story.home.signer)


def test_a_copy_repairs_its_bundle_and_a_damaged_copy_is_made_anew(story):
    before = published.read(place(story), story.home.signer).champion
    bundle, copy = (place(story) / part / before.bundle for part in (BUNDLES, COPIES))
    for damaged in (bundle, copy):
        (damaged / "model.onnx").write_bytes(b"?")
        assert publish(story.model).champion == before
        for sound in (bundle, copy):
            assert read_bundle(sound, story.home.signer, before.manifest_sha256)
    assert published.read_copy(place(story), story.home.signer) == published.read(place(story), story.home.signer)


def test_the_copies_are_those_of_the_published_versions(story):
    override(story.model, JUDGED, "Ann", "a test")
    state = publish(story.model)
    assert {p.name for p in (place(story) / COPIES).iterdir()} == {state.champion.bundle, STATE_FILE}


def test_bundles_that_no_state_names_are_removed_after_an_hour(story):
    young, old = (place(story) / BUNDLES / name for name in ("v8-young", "v9-old"))
    young.mkdir(), old.mkdir()
    os.utime(old, (1, 1))
    config = story.config.model_copy(update={"about": "Something else."})
    publish(Model(config, story.home))
    assert (young.exists(), old.exists()) == (True, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.replace(b'"epoch":1', b'"epoch":2'), "was changed after it was signed"),
        (lambda state: b"{}" + state[state.index(b"\n") :], "has no signature"),
        (lambda state: state[: len(state) // 2], "was changed after it was signed"),
    ],
)
def test_a_state_that_was_not_signed_so_is_refused(story, change, message):
    file = place(story) / STATE_FILE
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(WorkError, match=message):
        published.read(place(story), story.home.signer)


def test_a_state_of_another_format_or_model_is_refused(story):
    state, signer = published.read(place(story), story.home.signer), story.home.signer
    for changed, message in (
        (("format", "trueup-serving/9"), "update the older"),
        (("model", "other"), "about the model"),
    ):
        published.write(place(story), msgspec.structs.replace(state, **dict([changed])), signer)
        with pytest.raises(WorkError, match=message):
            published.read(place(story), signer)


def test_a_custom_function_needs_an_online_form_by_name(story):
    config = story.config.model_copy(update={"serve": ServeConfig()})
    with pytest.raises(UsageError, match=r"features.custom \(shop:together\).*serve.features"):
        publish(Model(config, story.home))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ('row["x"] - row["z"]', "says total is"),
        ('row["y"]', "failed on"),
    ],
)
def test_an_online_form_that_computes_otherwise_is_refused(story, code, message):
    file = story.configs / "shop.py"
    file.write_text(
        file.read_text().replace(ONLINE, "") + f'\ndef together_of_one(row):\n    return {{"total": {code}}}\n'
    )
    config = story.config.model_copy(update={"about": "Another one."})
    with pytest.raises(UsageError, match=message):
        publish(Model(config, story.home))


def test_a_problem_with_publishing_is_a_warning_of_the_turn(story, caplog):
    from tests import streams
    from trueup.loop import steps

    config = story.config.model_copy(update={"serve": ServeConfig()})
    with caplog.at_level(logging.WARNING, "trueup.online"):
        done = cycle(steps, Model(config, story.home), streams.week(6))
    assert done.decided.outcome == "promoted"
    assert "servers still have what was before: toy: features.custom" in caplog.text


def test_the_commands_of_people_publish_at_once(story, command_line):
    say, by = command_line(story.folder), ("--by", "Ann", "--why", "complaints")
    assert f"version {JUDGED}" in say("promote", "toy", str(JUDGED), *by).out
    state = published.read(place(story), story.home.signer)
    assert (state.champion.version, state.champion.epoch) == (JUDGED, 2)
    assert say("rollback", "toy", *by).code == 0
    state = published.read(place(story), story.home.signer)
    assert (state.champion.version, state.champion.epoch) == (CHAMPION, 3)


def test_a_retrain_without_a_turn_publishes(story):
    from tests import streams
    from trueup.loop import steps
    from trueup.loop.turn import retrain

    decided = retrain(steps, story.model, streams.week(7), "manual")
    assert decided.outcome == "promoted"
    assert published.read(place(story), story.home.signer).champion.version == decided.version


def test_without_a_champion_or_the_section_nothing_is_published(story):
    with pytest.raises(UsageError, match="no section `serve`"):
        publish(Model(story.config.model_copy(update={"serve": None}), story.home))
    with pytest.raises(UsageError, match="no champion yet"):
        publish(replace(story.model, config=story.config.model_copy(update={"model": "another"})))
