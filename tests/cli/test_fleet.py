"""`trueup run --all`: many models in one process, of which one that fails stops no other."""

import json
import os
import shutil
import signal
import threading
from datetime import timedelta

import pytest

from tests import streams
from tests.story import PLAIN, stream
from trueup.adapters.background import NoReports
from trueup.config.settings import Settings
from trueup.home import Home
from trueup.orchestration.fleet.here import run_fleet
from trueup.orchestration.fleet.one_model import Orders
from trueup.orchestration.fleet.progress import Progress
from trueup.orchestration.fleet.results import Turned
from trueup.orchestration.fleet.selection import choose
from trueup.orchestration.fleet.urgency import by_urgency
from trueup.orchestration.fleet.workers import in_workers

SOUND = ("alpha", "beta", "gamma")


def config(name: str, **more: str) -> str:
    text = PLAIN.replace("model: toy", f"model: {name}").replace("data/*.csv", f"data/{name}.csv")
    return text + "".join(f"{key}: {value}\n" for key, value in more.items())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A home in which a fleet ran at the end of week 5: two models cannot run, and `beta` lacks the last week."""
    folder = tmp_path_factory.mktemp("fleet")
    configs = folder / "configs"
    (configs / "data").mkdir(parents=True)
    for seed, name in enumerate(SOUND):
        rows = stream(5 * 7 if name == "beta" else 6 * 7, seed=seed + 1, per_day=60)
        rows.to_csv(configs / "data" / f"{name}.csv", index=False)
    (configs / "alpha.yaml").write_text(config("alpha", tags="[nightly]"))
    (configs / "beta.yaml").write_text(config("beta", tags="[nightly, small]"))
    (configs / "gamma.yaml").write_text(config("gamma") + "tags: [small]\n")
    (configs / "gone.yaml").write_text(config("gone"))
    (configs / "odd.yaml").write_text("model: odd\ntask: binary\nfeaturs: {}\n")
    return folder


@pytest.fixture(scope="module")
def first(folder):
    """The first run of that fleet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUEUP_HOME", str(folder / "home"))
        patch.setenv("TRUEUP_CONFIGS", str(folder / "configs"))
        patch.setattr("trueup.home.shared", NoReports)
        return run_fleet(Orders(streams.week(5)))


@pytest.fixture
def fleet(folder, first, tmp_path, command_line):  # noqa: ARG001  (its home is copied)
    """The command line on a copy of that home."""
    shutil.copytree(folder, tmp_path / "copy")
    return command_line(tmp_path / "copy")


def outcomes(answer) -> dict[str, str]:
    return {turn["model"]: turn["outcome"] for turn in json.loads(answer.out.splitlines()[-1])["models"]}


def test_one_failing_model_stops_no_other(first):
    ends = {turn.model: turn for turn in first.models}
    assert [name for name, turn in ends.items() if turn.outcome == "promoted"] == list(SOUND)
    assert "there is no such file" in ends["gone"].message
    assert ends["gone"].exit_code == 1
    assert "did you mean `features`?" in ends["odd"].message
    assert first.counts == {"promoted": 3, "failed": 2}
    assert first.exit_code == 2


@pytest.mark.usefixtures("no_server")
def test_a_second_run_finds_nothing_new_and_says_so(fleet, first):
    answer = fleet("run", "--all", "--as-of", f"{streams.week(5)}", "--json")
    assert outcomes(answer) == dict.fromkeys(SOUND, "nothing_new") | {"gone": "failed", "odd": "failed"}
    assert answer.code == first.exit_code
    assert len(answer.out.splitlines()) == 1
    assert "5 of 5: " in answer.err


def test_tags_choose_models_and_a_config_that_cannot_be_read_is_always_chosen(fleet):
    assert [c.name for c in choose(fleet.folder / "configs", ["nightly"])] == ["alpha", "beta", "odd"]
    assert [c.name for c in choose(fleet.folder / "configs", ["nightly", "small"])] == [*SOUND, "odd"]
    (fleet.folder / "configs" / "odd.yaml").unlink()
    answer = fleet("status", "--tag", "small", "--json")
    assert [m["model"] for m in json.loads(answer.out)["models"]] == ["beta", "gamma"]
    unknown = fleet("run", "--all", "--tag", "nightli")
    assert unknown.code == 2
    assert "did you mean nightly?" in unknown.err


@pytest.mark.parametrize("words", [("run",), ("run", "alpha", "--all"), ("run", "alpha", "--workers", "2")])
def test_a_model_or_all(trueup, words):
    answer = trueup(*words)
    assert answer.code == 2
    assert "--all" in answer.err


def test_overdue_models_come_first_then_those_that_wait_for_a_retrain(fleet):
    gamma = fleet.folder / "configs" / "gamma.yaml"
    gamma.write_text(gamma.read_text().replace("min_matured: 100", "min_matured: 100\n  stale_after: 1 day"))
    answer = fleet("run", "--all", "--as-of", f"{streams.week(6)}", "--retrain", "never", "--json")
    assert outcomes(answer) | {"gone": "", "odd": ""} == {
        "alpha": "monitored", "beta": "nothing_new", "gamma": "monitored", "gone": "", "odd": "",
    }  # fmt: skip
    home = Home(Settings(home=fleet.home, configs=fleet.folder / "configs"))
    ordered = by_urgency(home, choose(home.configs), streams.week(6) + timedelta(days=1))
    home.close()
    assert [c.name for c in ordered] == ["beta", "gamma", "alpha", "gone", "odd"]


def test_a_model_of_another_run_is_busy_and_nobody_waits(fleet):
    (fleet.folder / "configs" / "odd.yaml").unlink()
    home = Home(Settings(home=fleet.home, configs=fleet.folder / "configs"))
    with home.handling("alpha") as held:
        assert held
        answer = fleet("run", "--all", "--tag", "nightly", "--as-of", f"{streams.week(5)}", "--json")
    home.close()
    assert outcomes(answer) == {"alpha": "busy", "beta": "nothing_new"}
    assert answer.code == 0


def test_after_an_interruption_the_current_model_ends_and_no_other_begins(fleet, monkeypatch):
    monkeypatch.setenv("TRUEUP_HOME", str(fleet.home))

    class Impatient(Progress):
        def ended(self, turn: Turned) -> None:
            if turn.outcome == "nothing_new":
                signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    done = run_fleet(Orders(streams.week(5)), ["nightly", "small"], progress=Impatient())
    assert done.counts == {"not_run": 2, "nothing_new": 1, "failed": 1}
    assert signal.getsignal(signal.SIGINT) is before


def dies_at_two(name: str) -> Turned:
    """A turn in whose middle the worker is killed, for one of the names."""
    if name == "two":
        os.kill(os.getpid(), signal.SIGKILL)
    return Turned(name, "monitored", message=str(os.getpid()))


def test_a_killed_worker_fails_its_model_and_another_takes_its_place():
    ends = {turn.model: turn for turn in in_workers(["one", "two", "three"], dies_at_two, 1, threading.Event())}
    assert [ends[name].outcome for name in ("one", "two", "three")] == ["monitored", "failed", "monitored"]
    assert "was killed" in ends["two"].message
    assert "`trueup run two` goes on from there" in ends["two"].message
    assert ends["two"].exit_code == 1
    assert ends["one"].message != ends["three"].message


@pytest.mark.thorough
def test_two_workers_decide_as_one_does(folder, first, tmp_path, monkeypatch):
    shutil.copytree(folder / "configs", tmp_path / "configs")
    monkeypatch.setenv("TRUEUP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(tmp_path / "configs"))
    monkeypatch.setenv("TRUEUP_REPORTS", "false")
    both = run_fleet(Orders(streams.week(5)), workers=2)
    assert {t.model: t.outcome for t in both.models} == {t.model: t.outcome for t in first.models}
    ours, theirs = ({t.model: t.message for t in done.models if t.model in SOUND} for done in (first, both))
    assert ours == theirs  # the messages of the others name their folders
    homes = [Home(Settings(home=place / "home", configs=place / "configs")) for place in (folder, tmp_path)]
    for name in SOUND:
        (ours,), (theirs,) = (home.ledger.entries(name) for home in homes)
        assert ours.body.verdicts == theirs.body.verdicts
        assert ours.body.evaluation.metrics == theirs.body.evaluation.metrics
        assert ours.body.model.recipe == theirs.body.model.recipe
    for home in homes:
        assert home.ledger.verify() == []
        home.close()
