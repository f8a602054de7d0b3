"""A policy lives through the history as production would have; stopped, it goes on; beside others it does the same."""

import html
import json
import multiprocessing
import os
import pickle
import re
import shutil
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import datetime, timedelta

import numpy as np
import pytest
from filelock import FileLock
from typer.testing import CliRunner

from tests import streams
from tests.story import CONFIG, Story
from trueup.adapters.background import NoReports
from trueup.adapters.fit_cache import Shelf
from trueup.cli.main import app
from trueup.config.load import load_model
from trueup.config.policies import applied, parse
from trueup.config.settings import Settings
from trueup.domain.types import Window
from trueup.errors import NoData, NotEnoughData, UsageError, WorkError
from trueup.home import Home
from trueup.model import Model
from trueup.replay import policy_results
from trueup.replay.compare import compare
from trueup.replay.policy_run import for_replay
from trueup.replay.replay import beside_each_other, folder, forget, prepare, replay, whole_span
from trueup.replay.report import publish, write
from trueup.replay.sandbox import Sandbox

WEEKS = 9
POLICIES = [parse("frozen"), parse("every 2 weeks")]


@pytest.fixture(scope="module")
def laid(tmp_path_factory):
    """Nine weeks of a stream that turns round in the seventh."""
    place = tmp_path_factory.mktemp("replay")
    frame = streams.Stream(days=WEEKS * 7, change_on=44).frame()
    return place, frame, streams.write(place, frame, CONFIG)


def opened(laid, folder):
    home = Home(Settings(home=folder, configs=laid[2]))
    home.background = NoReports()
    return home, load_model(laid[2], "toy")


@pytest.fixture(scope="module")
def done(laid, tmp_path_factory):
    """Both policies, played one after the other."""
    home, config = opened(laid, tmp_path_factory.mktemp("home"))
    span = whole_span(Model(config, home), None, None)
    found = replay(Model(config, home), span, POLICIES)
    yield home, config, span, found
    home.close()


def without_times(facts):
    """JSON without what a clock has measured."""
    plain = json.loads(json.dumps(facts))
    for policy in plain["policies"]:
        del policy["cost_s"], policy["dominated"]
        for tried in policy["tried"]:
            del tried["cost_s"]
    return json.dumps(
        {k: v for k, v in plain.items() if k not in {"why", "recommended", "block", "judged_apart"}}, sort_keys=True
    )


def decisions(entries):
    return [(e.kind, e.as_of, e.body.trigger.reason, e.body.reasons, e.body.version) for e in entries]


def test_it_decides_what_run_decides_batch_by_batch(done, laid, tmp_path):
    home, config, span, _ = done
    policy = POLICIES[1]
    lived = for_replay(applied(config, policy))
    told = Story(tmp_path, laid[1], CONFIG)
    text = (told.configs / "toy.yaml").read_text()
    (told.configs / "toy.yaml").write_text(f"{text}retrain: {json.dumps(policy.changes['retrain'])}\n")
    assert told.config == lived
    for week in range(1, WEEKS + 1):
        told.turn(week)
    sandbox = Sandbox(home.settings, folder(Model(config, home), span), span)
    there = sandbox.opened(sandbox.folder_of(lived))
    assert decisions(there.ledger.entries("toy")) == decisions(told.home.ledger.entries("toy"))
    there.close()


def test_nothing_of_the_home_is_touched_but_its_folder_of_replays(done):
    home = done[0]
    assert {p.name for p in home.root.iterdir()} <= {"replays", "reports"}


def test_what_is_said_of_the_policies(done):
    _, config, span, found = done
    facts = compare(config, span, found).facts
    frozen, often = facts["policies"]
    assert (frozen["retrains"], frozen["cost_s"]) == (0, 0)
    assert often["retrains"] == often["promotions"] + often["refusals"] == 2
    assert often["cost_s"] > 0
    for policy in (frozen, often):
        assert policy["log_loss_low"] < policy["log_loss"] < policy["log_loss_high"]
        assert policy["regret"] >= 0
    assert facts["oracle"]["loss"] <= min(p["loss"] for p in facts["policies"])
    assert facts["recommended"] in {"frozen", "every 2 weeks"}
    assert facts["judged"]["batches"] == WEEKS - 5
    last, linear = facts["to_beat"]
    assert (last["name"], linear["name"]) == ("as last time", "plain linear")
    # The newest labels are not known at the end of the replay: these rows are not judged by a yardstick.
    assert 0.9 * facts["judged"]["rows"] < last["rows"] == linear["rows"] <= facts["judged"]["rows"]
    # In this stream an interaction does most, and the classes are even: neither knows much.
    assert frozen["loss"] < min(linear["loss"], last["loss"]), (frozen["loss"], linear["loss"], last["loss"])
    assert abs(last["loss"] - 0.69) < 0.02


def test_no_policy_changes_what_the_first_champion_has_to_pass(laid, tmp_path, done):
    home, config = opened(laid, tmp_path / "home")
    span = Window(streams.week(0), streams.week(6))
    policies = [parse("frozen"), parse("frozen, no gate, blocks of 12 hours"), parse("frozen, margin 0.5, gain 0.5")]
    found = replay(Model(config, home), span, policies)
    first = {(t.as_of, t.outcome, t.reasons) for run in found for t in run.tried if not t.later}
    assert len(first) == len(found[0].tried) > 0
    home.close()
    assert done


def test_without_a_champion_it_ends_after_the_first_policy_and_says_why(tmp_path):
    frame = streams.Stream(days=7 * 7).frame()
    frame["y"] = np.random.default_rng(1).permutation(frame["y"])
    place = tmp_path, frame, streams.write(tmp_path, frame, CONFIG)
    home, config = opened(place, tmp_path / "home")
    span = whole_span(Model(config, home), None, None)
    for _ in range(2):  # again it is said at once
        with pytest.raises(NotEnoughData, match=r"no policy would have a champion.*`frozen` had none.*prior"):
            replay(Model(config, home), span, POLICIES)
    (first,) = [h for h in folder(Model(config, home), span).glob("homes/*") if (h / "life.json").exists()]
    assert first
    home.close()


def test_the_report_opens_offline_and_says_the_same(done):
    home, config, span, found = done
    compared = compare(config, span, found)
    page = write(compared, home)
    text = page.read_text()
    assert text == write(compare(config, span, found), home).read_text()
    assert json.loads(page.with_suffix(".json").read_text()) == json.loads(json.dumps(compared.facts))
    assert compared.facts["why"].replace("`", "") in re.sub("</?code>", "", html.unescape(text))
    assert compared.facts["block"].strip() in html.unescape(text)
    assert "<script" not in text
    drawn = {p.name for p in page.with_suffix("").iterdir() if p.read_bytes().startswith(b"\x89PNG")}
    assert text.count("data:image/png;base64,iVBOR") == 5
    assert drawn == {"frontier.png", "batches.png", "lives.png", "drift.png", "costs.png"}
    page.unlink()
    page.with_suffix(".json").unlink()


def test_mlflow_has_a_run_for_the_replay_and_one_below_it_for_each_policy(done, laid, tmp_path):
    _, config, span, found = done
    home, _ = opened(laid, tmp_path / "home")
    published = publish(Model(config, home), span, found)
    client = home.tracking.client
    experiment = client.get_experiment_by_name("toy replays")
    runs = client.search_runs([experiment.experiment_id])
    (whole,) = (r for r in runs if "mlflow.parentRunId" not in r.data.tags)
    below = {r.info.run_name: r for r in runs if r.data.tags.get("mlflow.parentRunId") == whole.info.run_id}
    assert set(below) == {p.name for p in POLICIES}
    for policy in published.facts["policies"]:
        assert below[policy["name"]].data.metrics["log_loss"] == policy["log_loss"]
    assert whole.data.params["recommended"] == published.facts["recommended"]
    assert published.page.name in {
        f.path.removeprefix("report/") for f in client.list_artifacts(whole.info.run_id, "report")
    }
    home.close()


def test_the_command_tells_of_it_again_and_writes_the_recommended_into_the_config(done, laid, tmp_path, monkeypatch):
    home = done[0]
    configs = tmp_path / "configs"
    shutil.copytree(laid[2], configs)
    monkeypatch.setenv("TRUEUP_HOME", str(home.root))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(configs))
    words = [w for p in POLICIES for w in ("--policy", p.name)]
    told = CliRunner().invoke(app, ["replay", "toy", *words, "--write", "--json"])
    assert told.exit_code == 0, told.output
    facts = json.loads(told.stdout.strip().splitlines()[-1])
    chosen = next(p for p in POLICIES if p.name == facts["recommended"])
    assert load_model(configs, "toy") == applied(done[1], chosen)
    shown = CliRunner().invoke(app, ["replay", "toy", *words]).output
    assert chosen.name in shown
    assert all(line in shown for line in facts["block"].splitlines())
    refused = CliRunner().invoke(app, ["replay", "toy", "--policy", "on tuesday"])
    assert isinstance(refused.exception, UsageError)


class Failing(ThreadPoolExecutor):
    """An executor whose jobs fail, as those of a cluster may."""

    def __init__(self, error):
        super().__init__(1)
        self.error = error

    def submit(self, *_):
        future = Future()
        if self.error is None:
            future.cancel()
            future.set_running_or_notify_cancel()
        else:
            future.set_exception(self.error)
        return future


@pytest.mark.parametrize(
    ("error", "told", "said"),
    [
        (None, WorkError, "was killed"),
        (BrokenProcessPool("gone"), WorkError, "was killed"),
        (NoData("nothing there"), NoData, "nothing there"),
    ],
)
def test_a_job_that_fails_is_told_as_what_it_is(done, error, told, said):
    home, config, span, _ = done
    prepared = prepare(Model(config, home), span, POLICIES)
    with pytest.raises(told, match=said):
        beside_each_other(prepared, Failing(error), lambda _: None)


def test_nothing_secret_goes_to_where_policies_are_played(done, laid, tmp_path):
    home = Home(
        Settings(home=tmp_path, configs=laid[2], ledger_key="0" * 64, notify="json://secret", reports_token="s" * 20)
    )
    prepared = prepare(Model(done[1], home), done[2], POLICIES[:1])
    sent = pickle.dumps(prepared)
    assert not [word for word in (b"0" * 64, b"json://secret", b"s" * 20) if word in sent]
    assert prepared.sandbox.settings.configs.is_absolute()
    home.close()


def test_what_is_being_played_is_not_thrown_away(done, laid, tmp_path):
    home, config = opened(laid, tmp_path / "home")
    prepared = prepare(Model(config, home), done[2], POLICIES[:1])
    with (
        FileLock(prepared.folder_of(POLICIES[0]).with_suffix(".playing")),
        pytest.raises(WorkError, match="another process"),
    ):
        forget(Model(config, home), done[2])
    assert prepared.sandbox.folder.exists()
    forget(Model(config, home), done[2])
    assert not prepared.sandbox.folder.exists()
    home.close()


def _live(laid, folder, policy):
    home, config = opened(laid, folder)
    span = whole_span(Model(config, home), None, None)
    prepare(Model(config, home), span, [policy]).live(policy)


@pytest.mark.thorough  # takes minutes
def test_killed_half_way_it_goes_on_and_comes_to_the_same(done, laid, tmp_path):
    _, config, span, found = done
    process = multiprocessing.get_context("spawn").Process(target=_live, args=(laid, tmp_path / "home", POLICIES[1]))
    process.start()
    home, _ = opened(laid, tmp_path / "home")
    sandbox = Sandbox(home.settings, folder(Model(config, home), span), span)
    homes = sandbox.folder / "homes"
    until = time.monotonic() + 300
    while (
        process.is_alive()
        and time.monotonic() < until
        and not any(policy_results.progress(p) >= 0.7 for p in homes.glob("*"))
    ):
        time.sleep(0.05)
    assert process.is_alive()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not list(homes.glob("*/life.json"))
    again = replay(Model(config, home), span, POLICIES)
    assert without_times(compare(config, span, again).facts) == without_times(compare(config, span, found).facts)
    home.close()


@pytest.mark.thorough
def test_beside_each_other_they_come_to_the_same(done, laid, tmp_path):
    _, config, span, found = done
    home, _ = opened(laid, tmp_path / "home")
    heard = []
    again = replay(Model(config, home), span, POLICIES, workers=2, on_progress=heard.append)
    assert without_times(compare(config, span, again).facts) == without_times(compare(config, span, found).facts)
    assert heard == sorted(heard)
    assert heard[-1] == 1
    forget(Model(config, home), span)
    assert not folder(Model(config, home), span).exists()
    home.close()


@pytest.mark.parametrize("worth", [0.0, 1e9])
def test_what_was_fitted_once_is_not_fitted_again_where_that_is_worth_it(laid, tmp_path, monkeypatch, worth):
    from trueup.config.tasks import Task
    from trueup.domain.features.features import FeatureSchema
    from trueup.domain.learning.learning import build, defaults
    from trueup.domain.learning.recipe import Recipe

    monkeypatch.setattr("trueup.adapters.fit_cache._WORTH", worth)
    frame, schema = laid[1], FeatureSchema(("x", "z"), ("group",))
    recipe = Recipe("gradient_boosting", defaults("gradient_boosting", "binary"), 0)
    model = build(recipe, schema, Task.BINARY)
    first, second = Shelf(tmp_path), Shelf(tmp_path)
    one = first.fit(model, frame, frame["y"])
    two = second.fit(model, frame, frame["y"])
    assert first.spent == second.spent > 0  # a replay counts it for both alike
    assert (one.predict_proba(frame) == two.predict_proba(frame)).all()
    assert len(list(tmp_path.glob("*.json"))) == 1
    assert any(tmp_path.glob("*/*")) == (worth == 0)
    other = build(Recipe("gradient_boosting", {**recipe.parameters, "max_iter": 7}, 0), schema, Task.BINARY)
    second.fit(model, frame.iloc[1:], frame["y"].iloc[1:])
    second.fit(model, frame, 1 - frame["y"])
    second.fit(other, frame, frame["y"])
    assert len(list(tmp_path.glob("*.json"))) == 4


def test_what_was_known_then_is_what_had_landed_by_then(tmp_path):
    told = Story(tmp_path, laid_rows := streams.Stream(days=7 * 7).frame(), CONFIG)
    week = laid_rows["t"].between(streams.week(4), streams.week(5), inclusive="left") & (laid_rows.index % 20 == 0)
    wrong = laid_rows.assign(y=laid_rows["y"].where(~week, 1 - laid_rows["y"]))
    told.source(wrong)
    told.turn(5)
    told.source(laid_rows)  # the source has put the fifth week right, and the home sees it with the next one
    told.turn(6)
    told.turn(7)
    home, rows = told.home, told.config.rows_dataset
    refs = [b for name in (rows, told.config.labels_dataset) for b in home.store.batches(name)]
    assert {b.revision for b in refs} == {1, 2}
    with home.engine.begin() as connection:  # as if the home had run then, six hours after the end of each week
        for sequence, end, revision in connection.exec_driver_sql(
            'SELECT sequence, "end", revision FROM batches'
        ).all():
            known = datetime.fromisoformat(end) + timedelta(hours=6) + timedelta(days=7 * (revision - 1))
            connection.exec_driver_sql("UPDATE batches SET recorded_at = ? WHERE sequence = ?", (str(known), sequence))
    span, policies = Window(streams.START, streams.week(7)), [parse("every 1 week, no gate")]
    found = replay(Model(told.config, home), span, policies, known_then=True)
    assert len(found[0].looks) == 7
    prepared = prepare(Model(told.config, home), span, policies, known_then=True)
    there = prepared.sandbox.opened(prepared.folder_of(policies[0]))
    used = {
        e.as_of: {i.revision for i in e.challenge.inputs if i.start == streams.week(4)}
        for e in there.ledger.entries("toy")
        if e.kind != "held"
    }
    there.close()
    assert [used[moment] for moment in sorted(used)] == [{1}, {1, 2}, {1, 2}], there.ledger.entries("toy")
    assert all(moment.hour == 6 for moment in used)
    run = found[0]
    after = run.losses.groupby("batch")["rival"].count()
    # The first challenge came after the sixth week was scored: only the seventh was served by one of two.
    assert (after > 0).tolist() == [False] * (len(after) - 1) + [True]
    for _ in range(2):  # nothing is left behind that would be in the way
        with pytest.raises(NoData, match="had landed no batch"):
            replay(Model(told.config, home), Window(streams.week(60), streams.week(61)), policies, known_then=True)
    with pytest.raises(UsageError, match="--known-then uses the recorded ones"):
        prepare(Model(told.config, home), span, [parse("frozen, labels after 3 days")], known_then=True)
