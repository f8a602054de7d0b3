"""The figures for Prometheus: what a scrape says of a real turn, and that nothing of one model hides the others."""

import json
import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import streams
from tests.metrics.fleets import copy_model
from tests.story import PLAIN, Story, stream, window
from trueup.config.settings import Settings
from trueup.domain.records import to_plain
from trueup.governance.approval import reject
from trueup.home import Home
from trueup.ledger.entries import Decision
from trueup.ledger.record import Record
from trueup.metrics.families import OF_HOME, OF_MODELS
from trueup.metrics.text import Figures, text

SMALL = PLAIN.replace("min_history: 28 days", "min_history: 14 days").replace("window: 14 days", "window: 7 days")
ASKED = SMALL.replace("  min_new_days: 6\n", "  min_new_days: 6\n  mode: approval\n")


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    """A champion after three weeks, and one more week that it served."""
    told = Story(tmp_path_factory.mktemp("metrics"), stream(28, per_day=80), SMALL)
    told.champion = told.turn(3)
    told.served = told.turn(4)
    return told


def samples(content):
    """Every sample by its name and labels."""
    return {
        (s.name, *sorted(s.labels.items())): s.value
        for family in text_string_to_metric_families(content.decode())
        for s in family.samples
    }


def of_toy(content, name, **labels):
    return samples(content).get((f"trueup_model_{name}", *sorted({"model": "toy", **labels}.items())))


def test_a_scrape_says_what_the_ledger_and_the_store_hold(turned):
    content, state = text(turned.home), turned.model.champion()
    seen = turned.served.observed[-1].figures
    assert of_toy(content, "champion_version") == state.version
    assert of_toy(content, "diagnosis", diagnosis=seen.diagnosis) == 1
    assert of_toy(content, "finding", finding=seen.diagnosis) == 1
    assert of_toy(content, "period_seconds") == 7 * 86400
    assert of_toy(content, "decisions_total", outcome="rolled_back") == 0, "a rise from nothing could not be seen"
    assert of_toy(content, "gate_skill") == state.gate_skill.mean
    assert of_toy(content, "skill") == seen.skill.mean
    assert of_toy(content, "skill_low") == seen.skill.low
    assert of_toy(content, "loss", loss="log_loss") == seen.metrics[0].value
    assert of_toy(content, "labels_matured") == seen.matured
    assert of_toy(content, "batch_rows") == 560
    assert of_toy(content, "batch_quarantined_rows") == 0
    assert of_toy(content, "batch_end_timestamp_seconds") == streams.week(4).replace(tzinfo=UTC).timestamp()
    assert of_toy(content, "batch_due_timestamp_seconds") is None, "a model on the data's clock is never late"
    assert of_toy(content, "decisions_total", outcome="promoted") == 1
    assert of_toy(content, "stage_seconds", run="run", stage="monitor") == turned.served.seconds["monitor"]
    assert of_toy(content, "outbox_waiting", receiver="events") >= 1
    assert abs(of_toy(content, "turn_timestamp_seconds") - time.time()) < 600
    assert of_toy(content, "info", task="binary", owner="") == 1
    home = {k[0].removeprefix("trueup_home_"): v for k, v in samples(content).items() if k[0].startswith("trueup_home")}
    assert (home["ledger_readable"], home["ledger_unsigned_entries"], home["scrape_errors"]) == (1, 0, 0)
    assert home["ledger_entries"] == len(turned.home.ledger.entries())


def test_the_text_is_as_prometheus_wants_it(turned):
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is missing: apt-get install prometheus")
    done = subprocess.run([promtool, "check", "metrics"], input=text(turned.home), capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_no_name_is_one_of_the_server_of_predictions():
    from trueup.serving.metrics import Metrics

    served = {f.name for f in Metrics()._registry.collect()}
    own = {f"trueup_model_{name}" for name in OF_MODELS} | {f"trueup_home_{name}" for name in OF_HOME}
    assert not served & own


def test_a_skill_from_many_batches_ago_is_found(turned, tmp_path):
    told = turned.branch(tmp_path)
    seen = to_plain(turned.served.observed[-1].figures)
    unknown = {**seen, "diagnosis": "unknown", "findings": ["unknown"], "skill": None}
    for later in range(1, 9):
        told.home.store.record("toy", "monitor", window(3 + later), 99 + later, streams.week(4 + later), unknown)
    content = text(told.home)
    assert of_toy(content, "diagnosis", diagnosis="unknown") == 1
    assert of_toy(content, "skill") == seen["skill"]["mean"]
    assert of_toy(content, "label_lag_seconds") == 8 * 7 * 86400


@pytest.mark.in_a_folder
def test_a_restart_and_another_process_give_the_same_figures(turned):
    def lasting(content):
        return {k: v for k, v in samples(content).items() if k[0] != "trueup_home_scrape_seconds"}

    again = Home(Settings(home=turned.folder / "home", configs=turned.configs), looks=True)
    try:
        assert lasting(Figures(again).text()) == lasting(text(turned.home))
    finally:
        again.close()


def test_a_new_batch_is_in_the_next_scrape(turned, tmp_path):
    told = turned.branch(tmp_path)
    before = of_toy(text(told.home), "batch_end_timestamp_seconds")
    told.source(stream(35, per_day=80))
    told.turn(5)
    assert of_toy(text(told.home), "batch_end_timestamp_seconds") == before + 7 * 86400


def test_a_model_on_the_wall_clock_has_a_time_from_which_its_batch_is_late(turned, tmp_path):
    told = turned.branch(tmp_path)
    file = told.configs / "toy.yaml"
    file.write_text(file.read_text().replace("task: binary", "task: binary\nclock: wall") + "")
    due = of_toy(text(told.home), "batch_due_timestamp_seconds")
    late = streams.week(5) + told.config.ingest.late_after
    assert due == late.replace(tzinfo=UTC).timestamp()


def test_estimates_without_labels_and_effects_of_drift_are_figures(turned, tmp_path):
    told = turned.branch(tmp_path)
    seen = to_plain(turned.served.observed[-1].figures)
    loss = {"name": "log_loss", "n": 560}
    estimate = {"method": "cbpe", "rows": 560, "metrics": [{**loss, "value": 0.47}], "gate": [{**loss, "value": 0.41}]}
    check = {"estimated": 0.42, "realised": 0.45, "error": 0.03, "low": 0.01, "high": 0.05, "off": True, "words": ""}
    effects = [
        {"column": c, "effect": e, "share": 0.1, "words": ""}
        for c, e in zip("xzgu", (0.04, -0.02, 0.01, 0.0), strict=True)
    ]

    def record(day, **values):
        about = ("toy", "monitor", window(3), 99, streams.week(4) + timedelta(days=day))
        told.home.store.record(*about, {**seen, **values})

    record(1, estimate={**estimate, "worse": False, "reason": "", "check": check})
    record(
        2,
        estimate={**estimate, "worse": True, "reason": "", "check": None},
        drift={**seen["drift"], "effects": effects},
    )
    content = text(told.home)
    assert of_toy(content, "estimated_loss", loss="log_loss") == 0.47
    assert of_toy(content, "estimated_gate_loss", loss="log_loss") == 0.41
    assert of_toy(content, "estimated_decay") == 1
    assert (of_toy(content, "estimate_error"), of_toy(content, "estimate_off")) == (0.03, 1), "the newest known"
    assert [of_toy(content, "drift_effect", column=c) for c in "xzgu"] == [0.04, -0.02, 0.01, None]


def test_a_broken_config_is_counted_and_named_and_hides_no_other_model(turned, tmp_path):
    told = turned.branch(tmp_path)
    (told.configs / "wrong.yaml").write_text("model: wrong\ntask: guess\n")
    content = text(told.home)
    found = samples(content)
    assert found["trueup_home_configs_broken",] == 1
    assert found["trueup_model_readable", ("model", "wrong")] == 0
    assert of_toy(content, "readable") == 1
    assert of_toy(content, "champion_version") is not None
    (told.configs / "wrong.yaml").unlink()
    assert samples(text(told.home))["trueup_home_configs_broken",] == 0


def test_figures_of_one_model_that_cannot_be_read_hide_no_other(turned, tmp_path, caplog):
    told = turned.branch(tmp_path)
    copy_model(told.home, "toy", ["other"])
    figures = Figures(told.home)
    figures.text()
    figures._reader.recent("other").turn = "no result"
    found = samples(figures.text())
    assert found["trueup_home_scrape_errors",] == 1
    assert found["trueup_model_readable", ("model", "other")] == 0
    assert found["trueup_model_readable", ("model", "toy")] == 1
    assert "the figures of other cannot be read: AttributeError" in caplog.text


@pytest.mark.in_a_folder
def test_a_home_that_cannot_be_read_is_a_figure(turned, tmp_path, caplog):
    told = turned.branch(tmp_path)
    told.home.close()
    for file in (tmp_path / "home").glob("trueup.db*"):
        file.write_bytes(b"no database at all, but long enough to be looked at as one" * 20)
    broken = Home(Settings(home=tmp_path / "home", configs=told.configs), looks=True)
    found = samples(text(broken))
    broken.close()
    assert found["trueup_home_ledger_readable",] == 0
    assert not [key for key in found if key[0].startswith("trueup_model_champion")]
    assert "the home cannot be read for the metrics" in caplog.text


def test_a_home_without_any_turn_has_its_models(tmp_path):
    streams.write(tmp_path, stream(7), SMALL)
    empty = Home(Settings(home=tmp_path / "none", configs=tmp_path / "configs"), looks=True)
    content = text(empty)
    empty.close()
    assert of_toy(content, "readable") == 1
    assert of_toy(content, "approvals_open") == 0
    assert of_toy(content, "champion_version") is None
    assert samples(content)["trueup_home_ledger_entries",] == 0


def test_a_challenger_that_waits_for_a_person_counts_until_it_expires_or_is_decided(tmp_path):
    told = Story(tmp_path, stream(21, per_day=80), ASKED)
    assert told.turn(3).decided.outcome == "pending"
    content = text(told.home)
    assert of_toy(content, "approvals_open") == 1
    assert abs(of_toy(content, "approval_open_since_timestamp_seconds") - time.time()) < 600
    told.later(days=400)
    assert of_toy(text(told.home), "approvals_open") == 0, "it has expired"
    told.later()
    (pending,) = (e for e in told.home.ledger.entries("toy") if e.kind == "pending")
    reject(told.model, pending, "Ada", "not now")
    assert of_toy(text(told.home), "approvals_open") == 0
    assert of_toy(text(told.home), "rejections_in_a_row") == 1


def test_the_stop_after_rejections_is_a_figure_until_it_is_cleared(turned, tmp_path):
    told = turned.branch(tmp_path)

    def append(kind, **body):
        identity = f"toy:{kind}:{len(told.home.ledger.entries('toy'))}"
        record = Record(outcome=kind, reasons=["tried"], **body)
        told.home.ledger.append(Decision(identity, "toy", kind, streams.week(4), record))

    for _ in range(3):
        append("failed")
    assert of_toy(text(told.home), "rejections_in_a_row") == 3
    assert of_toy(text(told.home), "retrain_stopped") == 0
    append("refused", rule="cooldown")
    assert of_toy(text(told.home), "retrain_stopped") == 0
    append("refused", rule="rejections")
    assert of_toy(text(told.home), "retrain_stopped") == 1
    append("cleared")
    assert of_toy(text(told.home), "retrain_stopped") == 0
    assert of_toy(text(told.home), "rejections_in_a_row") == 0
    assert of_toy(text(told.home), "decisions_total", outcome="refused") == 2


def test_names_and_values_with_odd_characters_stay_one_label(turned, tmp_path):
    told = turned.branch(tmp_path)
    file = told.configs / "toy.yaml"
    owner = 'a "quoted" \\ name\nin two lines <b>'
    file.write_text(file.read_text() + f"governance: {json.dumps({'owner': owner})}\n")
    assert of_toy(text(told.home), "info", task="binary", owner=owner) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_three_hundred_models_are_scraped_in_half_a_second_of_processor_time(tmp_path, database, request):
    places = {} if database == "sqlite" else {"database_url": request.getfixturevalue("postgres_url")}
    told = Story(tmp_path, stream(28, per_day=80), SMALL, **({"home": tmp_path / "home", **places} if places else {}))
    told.turn(3)
    told.turn(4)
    copy_model(told.home, "toy", [f"toy_{i}" for i in range(300)], times=12)
    figures, spent = Figures(told.home), []
    for _ in range(40):
        begun = time.process_time()
        content = figures.text()
        spent.append(time.process_time() - begun)
        if samples(content)["trueup_home_configs_unread",] == 0:
            break
    begun = time.process_time()
    content = figures.text()
    warm = time.process_time() - begun
    print(
        f"{database}: first {spent[0]:.2f}, with configs {spent[1]:.2f}, then {warm:.3f} s, {len(content) / 1024:.0f} KiB"
    )
    assert samples(content)["trueup_home_models",] == 301
    assert warm < 0.5


def test_moments_are_of_the_models_own_time_zone(turned, tmp_path):
    told = turned.branch(tmp_path)
    file = told.configs / "toy.yaml"
    file.write_text(file.read_text().replace("  time: t\n", "  time: t\n  timezone: Asia/Tokyo\n"))
    end = datetime(2024, 1, 29, tzinfo=UTC) - timedelta(hours=9)
    assert of_toy(text(told.home), "batch_end_timestamp_seconds") == end.timestamp()
