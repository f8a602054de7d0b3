"""The ONNX form of a challenger: made with it, judged without scikit-learn, recorded, and in the way only if required."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from tests import streams
from tests.story import PLAIN, Story, stream
from trueup.adapters.onnx import ONNX_FILE
from trueup.adapters.onnx.form import read_form
from trueup.audit.dossier import make
from trueup.audit.reproduce import reproduce
from trueup.audit.verify import verify
from trueup.config.sections.exporting import ExportConfig
from trueup.config.settings import Settings
from trueup.domain.learning.learning import predict
from trueup.domain.types import Status, Verdict, overall
from trueup.governance.status import decisions
from trueup.handoffs import OnnxForm
from trueup.home import Home
from trueup.loop import steps, turn
from trueup.model import Model
from trueup.replay.policy_run import for_replay
from trueup.stages.clean_process import budget
from trueup.stages.export import checked_form, make_form
from trueup.stages.features import examples
from trueup.upkeep.backup import backup, restore

NOW = streams.week(5)
EXPORT = PLAIN + "export: {}\n"
CHECKS = ["export parity", "export size", "export speed"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A first challenger with its form, which passed its gates, and nothing is decided."""
    told = Story(tmp_path_factory.mktemp("export"), stream(5 * 7, per_day=40), EXPORT)
    turn.cycle(steps, told.model, NOW, retrain="never")
    told.trained = steps.train(told.model, steps.plan(told.model, NOW), NOW)
    told.evaluation = steps.evaluate(told.model, told.trained, NOW)
    told.candidate = steps.register(told.model, told.trained)
    told.verdicts = steps.judge(told.model, told.trained, told.evaluation)
    assert overall(told.verdicts) is Status.PASS
    return told


@pytest.fixture(scope="module")
def promoted(made, tmp_path_factory):
    """The same, promoted with a refit."""
    told = made.branch(tmp_path_factory.mktemp("promoted"))
    told.decided = turn.challenge(from_the_start(made), told.model, NOW, "first")
    assert told.decided.outcome == "promoted"
    return told


def from_the_start(made, **changed):
    """Steps that repeat what was made, and do the rest, or what is said of it."""
    done = {
        "train": lambda *_: made.trained,
        "evaluate": lambda *_: made.evaluation,
        "register": lambda *_: made.candidate,
        "judge": lambda *_: made.verdicts,
    }
    return SimpleNamespace(**{name: getattr(steps, name) for name in steps.__all__} | done | changed)


def with_export(told, **settings):
    """The model, with other settings of its export."""
    return Model(told.config.model_copy(update={"export": ExportConfig(**settings)}), told.home)


def statuses(exported):
    return {v.check: v.status.value for v in exported.verdicts}


def form_of(told, made):
    return told.home.registry.onnx(made.uri, made.manifest_digest)


def test_it_is_beside_the_model_under_the_digest_of_its_files(made):
    graph, form = form_of(made, made.trained), made.trained.form
    assert (hashlib.sha256(graph).hexdigest(), len(graph)) == (form.sha256, form.bytes)
    assert [i.name for i in read_form(graph).inputs] == ["x", "z", "group"]
    (version,) = made.home.registry.versions("toy")
    assert version.tags["trueup.onnx_sha256"] == form.sha256


def test_a_sound_one_passes_each_check(made):
    found = steps.export(made.model, made.trained, made.evaluation)
    assert statuses(found) == dict.fromkeys(CHECKS, "pass")
    parity, size, speed = (v.figures for v in found.verdicts)
    assert parity["rows"] > 500
    assert parity["largest_difference"] <= parity["tolerance"] == 1e-9
    assert size["kib"] == pytest.approx(made.trained.form.bytes / 1024, abs=1e-3)
    assert 0 < speed["row_us"] < 10_000
    assert found.seconds > 0


@pytest.mark.parametrize(
    ("settings", "check", "said"),
    [
        ({"max_kib": 1}, "export size", "KiB are above 1 KiB"),
        ({"max_time_ratio": 1e-6}, "export speed", "above 1e-06 times"),
    ],
)
def test_a_limit_fails_its_check_alone(made, settings, check, said):
    found = steps.export(with_export(made, **settings), made.trained, made.evaluation)
    assert {name for name, status in statuses(found).items() if status == "fail"} == {check}
    assert said in next(v for v in found.verdicts if v.check == check).reasons[0]


def logged_with(told, graph):
    """The same model, registered with another form: whole, and with a right digest."""
    fitted = told.home.registry.load(told.trained.uri, told.trained.manifest_digest)
    schema, task = told.evaluation.schema, told.config.task
    logged = told.home.registry.log(fitted, schema, task, told.trained.run_id, files={ONNX_FILE: graph})
    form = OnnxForm(hashlib.sha256(graph).hexdigest(), len(graph))
    return replace(told.trained, uri=logged.uri, manifest_digest=logged.manifest_digest, form=form)


def test_a_form_of_another_model_fails_parity(made):
    other = examples(made.model, made.trained.gate, NOW)
    fitted = made.home.registry.load(made.trained.uri, made.trained.manifest_digest)
    wrong = fitted.set_params().fit(other.X, 1 - other.y.to_numpy())
    _, files = make_form(made.model, wrong, other.X)
    found = steps.export(made.model, logged_with(made, files[ONNX_FILE]), made.evaluation)
    assert statuses(found)["export parity"] == "fail"
    parity = found.verdicts[0]
    assert "rows are predicted otherwise" in parity.reasons[0]
    assert parity.figures["largest_difference"] > 0.1


@pytest.mark.parametrize("part", [0.5, 0.999])
def test_a_form_that_is_torn_fails(made, part):
    """It has the recorded digest, as if it had been torn before: the runtime checks nothing."""
    graph = form_of(made, made.trained)
    found = steps.export(made.model, logged_with(made, graph[: int(len(graph) * part)]), made.evaluation)
    assert statuses(found)["export parity"] == "fail"
    assert not found.verdicts[0].figures


@pytest.mark.in_a_folder
def test_a_file_that_was_touched_later_fails(made, tmp_path):
    folder = shutil.copytree(made.trained.uri, tmp_path / "model")
    file = Path(folder) / ONNX_FILE
    file.write_bytes(file.read_bytes()[:-1])
    found = steps.export(made.model, replace(made.trained, uri=str(folder)), made.evaluation)
    assert statuses(found) == {"export form": "fail"}
    assert "content of a file was changed" in found.verdicts[0].reasons[0]


def test_when_the_other_process_is_killed_nothing_passes_that_needs_it(made):
    over = threading.Event()

    def kill():
        while not over.is_set():
            for child in psutil.Process().children():
                with suppress(psutil.Error):  # it has ended
                    if "onnx" in " ".join(child.cmdline()):
                        child.kill()
            time.sleep(0.005)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        found = steps.export(made.model, made.trained, made.evaluation)
    finally:
        over.set()
        killer.join()
    assert statuses(found) == {
        "export parity": "inconclusive",
        "export size": "pass",
        "export speed": "inconclusive",
    }
    assert "could not be checked" in found.verdicts[0].reasons[0]
    assert statuses(steps.export(made.model, made.trained, made.evaluation)) == dict.fromkeys(CHECKS, "pass")


def test_without_the_rows_or_room_for_a_copy_nothing_passes_and_the_retrain_goes_on(made, tmp_path, monkeypatch):
    gone = replace(made.evaluation, sample_path="evaluations/gone.parquet")
    found = steps.export(made.model, made.trained, gone)
    assert statuses(found) == {"export form": "inconclusive"}
    rows = made.home.store.read_evaluation(made.evaluation.sample_path)
    fitted = made.home.registry.load(made.trained.uri, made.trained.manifest_digest)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    found = checked_form(made.model, made.trained, fitted, rows, " of the refit")
    assert statuses(found) == {"export form of the refit": "inconclusive"}
    assert "could not be checked" in found.verdicts[0].reasons[0]


def test_an_estimator_without_an_exporter_has_no_form_and_the_verdict_says_so(made):
    gate = examples(made.model, made.trained.gate, NOW)
    tree = make_pipeline(DecisionTreeClassifier()).fit(gate.X[["x", "z"]], gate.y)
    form, files = make_form(made.model, tree, gate.X)
    assert files == {}
    found = steps.export(made.model, replace(made.trained, form=form), made.evaluation)
    assert statuses(found) == {"export form": "fail"}
    assert "DecisionTreeClassifier has no ONNX exporter" in found.verdicts[0].reasons[0]


MISSING = Verdict.failed("export form", "X has no ONNX exporter")
UNKNOWN = Verdict.inconclusive("export parity", "it could not be checked: it ended with code -9")


@pytest.mark.parametrize(
    ("verdict", "required", "outcome"),
    [
        (MISSING, False, "promoted"),
        (UNKNOWN, False, "promoted"),
        (MISSING, True, "rejected"),
        (UNKNOWN, True, "held"),
    ],
)
def test_a_form_that_did_not_pass_is_in_the_way_only_if_it_is_required(made, tmp_path, verdict, required, outcome):
    told = made.branch(tmp_path)
    (told.configs / "toy.yaml").write_text(
        EXPORT.replace("export: {}", f"export: {{required: {str(required).lower()}}}").replace(
            "promote:\n", "promote:\n  refit: false\n"
        )
    )
    exported = steps.export(made.model, replace(made.trained, form=OnnxForm(missing=verdict)), made.evaluation)
    assert exported.verdicts == (verdict,)
    decided = turn.challenge(from_the_start(made, export=lambda *_: exported), told.model, NOW, "first")
    assert decided.outcome == outcome
    (entry,) = told.home.ledger.entries("toy")
    assert (verdict.check in {v.check for v in entry.body.verdicts}) == required
    assert entry.body.export.required == required
    assert entry.body.export.judged.verdicts == (verdict,)
    assert entry.body.export.judged.sha256 is None
    assert (verdict.reasons[0] in decided.reasons) == required
    run = told.home.tracking.client.get_run(made.trained.run_id)
    assert run.data.tags["trueup.export"] == verdict.status.value


def test_no_gate_passed_means_that_no_form_is_judged(made, tmp_path):
    told = made.branch(tmp_path)
    failed = [*made.verdicts, Verdict.failed("paired", "it is worse")]

    def never(*_):
        raise AssertionError("it was judged")

    do = from_the_start(made, judge=lambda *_: failed, export=never)
    assert turn.challenge(do, told.model, NOW, "first").outcome == "rejected"
    assert "export" not in told.home.ledger.entries("toy")[0].body.plain()


def test_the_refits_form_is_made_judged_and_recorded(promoted):
    (entry,) = promoted.home.ledger.entries("toy")
    body = entry.challenge
    assert body.model.version != body.judged.version
    judged, refit = body.export.judged, body.export.refit
    assert [v.check for v in judged.verdicts] == CHECKS
    assert [v.check for v in refit.verdicts] == [f"{name} of the refit" for name in CHECKS]
    assert judged.sha256 != refit.sha256
    for own, form in ((body.judged, judged), (body.model, refit)):
        assert hashlib.sha256(form_of(promoted, own)).hexdigest() == form.sha256
    assert body.export.required is False
    assert not {v.check for v in body.verdicts} & set(CHECKS)  # they informed
    assert promoted.home.ledger.verify() == []


def test_a_refit_with_a_form_that_does_not_pass_is_not_promoted_if_it_is_required(made):
    for required, status in ((True, Status.FAIL), (False, Status.PASS)):
        done = steps.refit(with_export(made, required=required, max_kib=1), made.trained, NOW)
        assert done.verdict.status is status
        assert (done.candidate is None) == required
        assert statuses(done.exported)["export size of the refit"] == "fail"
        if required:
            assert "KiB are above 1 KiB" in done.verdict.reasons[0]


@pytest.fixture(scope="module")
def without(made, tmp_path_factory):
    """The same challenger of a config without an export, promoted."""
    told = made.branch(tmp_path_factory.mktemp("without"))
    (told.configs / "toy.yaml").write_text(PLAIN.replace("promote:\n", "promote:\n  refit: false\n"))

    def kept(name):
        def do(*args):
            setattr(told, name, getattr(steps, name)(*args))
            return getattr(told, name)

        return do

    do = SimpleNamespace(**{name: kept(name) for name in steps.__all__})
    assert turn.challenge(do, told.model, NOW, "first").outcome == "promoted"
    return told


def test_what_is_trained_and_judged_does_not_depend_on_it(made, without):
    assert without.train.form is None
    assert form_of(without, without.train) is None
    assert "export" not in without.home.ledger.entries("toy")[0].body.plain()
    assert without.train.recipe == made.trained.recipe
    assert without.evaluate.metrics == made.evaluation.metrics
    assert [(v.check, v.status) for v in without.judge] == [(v.check, v.status) for v in made.verdicts]


def test_the_size_that_a_gate_limits_is_that_of_the_other_files(made, without):
    gates = made.config.promote.model_validate({"gates": [{"kind": "budget", "max_mib": 5}]})
    model = Model(made.config.model_copy(update={"promote": gates}), made.home)
    gate = examples(made.model, made.trained.gate, NOW)
    sizes = [budget(model, trained, gate)[0].mib for trained in (without.train, made.trained)]
    assert abs(sizes[0] - sizes[1]) * 2**20 < made.trained.form.bytes / 10


def test_a_replay_makes_none(made):
    assert for_replay(made.config).export is None


def test_people_see_it(promoted):
    (shown,) = decisions(promoted.home, "toy", 1)
    assert shown.onnx.startswith("ONNX form: ")
    assert shown.onnx.endswith(" KiB, passed its checks")
    made = make(promoted.model, bill=False)
    page, facts = Path(made.page).read_text(), json.loads(Path(made.data).read_text())
    part = page.split("Does it run elsewhere?")[1].split("</table>")[0]
    assert all(f"<td>{name}{of}</td>" in part for name in CHECKS for of in ("", " of the refit"))
    assert "For information: it decides nothing" in part
    (form,) = [f for f in facts["files"] if "ONNX" in f["what"]]
    assert form["state"] == "right"


def test_a_version_with_one_and_one_without_are_made_again(promoted, without):
    for version in (1, 2):
        found = reproduce("toy", version, promoted.home)
        assert found.same, found.message
        assert found.onnx.startswith("the same ")
    found = reproduce("toy", without.promote.version, without.home)
    assert found.same, found.message
    assert found.onnx == "the recorded version has none, because `export` was off"


@pytest.mark.in_a_folder
def test_a_copy_of_the_home_has_it_and_verifying_finds_it_touched(promoted, tmp_path):
    saved = backup(promoted.home, tmp_path / "saved")
    settings = Settings(home=tmp_path / "restored", configs=promoted.configs)
    restore(settings, saved.place)
    with closing(Home(settings)) as restored:
        body = restored.ledger.entries("toy")[0].body
        assert verify({"toy": promoted.config}, restored).problems == ()
        graph = restored.registry.onnx(body.model.uri, body.model.manifest_digest)
        assert hashlib.sha256(graph).hexdigest() == body.export.refit.sha256
        with restored.registry.files(body.model.uri) as folder:
            (folder / ONNX_FILE).unlink()
        (problem,) = verify({"toy": promoted.config}, restored).problems
        assert "model.onnx was removed" in str(problem)


def test_the_page_predicts_with_the_file_alone(made, tmp_path):
    page = Path(__file__).parents[2] / "docs" / "how-to" / "export.md"
    (code,) = re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    (tmp_path / ONNX_FILE).write_bytes(form_of(made, made.trained))
    rows = examples(made.model, made.trained.gate, NOW).X.head(20).astype({"group": object})
    rows.loc[rows.index[0], ["x", "group"]] = [np.nan, "new"]
    rows.loc[rows.index[1], "group"] = np.nan
    values = json.loads(rows.to_json(orient="records", double_precision=15))
    (tmp_path / "page.py").write_text(f"{code}\nfor row in {values!r}:\n    print(float(predict(row)[0]))\n")
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    fitted = made.home.registry.load(made.trained.uri, made.trained.manifest_digest)
    expected = predict(fitted, rows, made.config.task)
    np.testing.assert_allclose([float(line) for line in done.stdout.splitlines()], expected, rtol=1e-9)
