"""Gates for what averages hide, through the loop: each fires on a problem that was planted, and lets a sound model pass."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests import streams
from tests.story import PLAIN, Story, stream, window
from trueup.adapters.mlflow.models import Registry
from trueup.domain.judging.gates.behaviour import Behaviour
from trueup.domain.learning.learning import fit
from trueup.errors import WorkError
from trueup.stages import behaviour
from trueup.stages.clean_process import reproduced
from trueup.stages.features import examples

# The outcome depends on group a, and raising x turns the sign of x * z round: both are planted in the stream.
STRICT = """
  gates:
    - {kind: baseline}
    - {kind: fairness, columns: [region], metric: selection_rate, margin: 0.01}
    - kind: behaviour
      checks:
        - {kind: invariance, column: group, to: [a, b], at_most: 0.001}
        - {kind: direction, column: x, raise_by: 1, never: lower}
    - {kind: budget, max_mib: 0.001}
"""
SOUND = """
  gates:
    - {kind: baseline}
    - {kind: fairness, columns: [region], metric: mean_error, margin: 0.3}
    - {kind: calibration, margin: 0.2}
    - kind: behaviour
      checks:
        - {kind: invariance, column: group, to: [a, b, c], at_most: 0.9}
        - {kind: direction, column: x, raise_by: 4, never: lower, share: 0.5}
        - {kind: invariance, column: x, shuffle: true, at_most: 0.99}
    - {kind: budget, max_mib: 5, max_ms: 5000, batch: 200, repeats: 20}
"""
ABLATED = PLAIN.replace("  slices: [group]\n", "  slices: [group]\n  ablation: {}\n")


def rows():
    frame = stream(5 * 7)
    return frame.assign(region=np.where(frame["group"] == "a", "north", "south"))  # no feature: it only goes along


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    told = Story(tmp_path_factory.mktemp("strict"), rows(), with_gates(PLAIN, STRICT))
    told.done = told.turn(5)
    return told


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    told = Story(tmp_path_factory.mktemp("sound"), rows(), with_gates(ABLATED, SOUND))
    told.done = told.turn(5)
    return told


def with_gates(config, gates):
    return config.replace("monitor:\n", gates.lstrip("\n") + "monitor:\n")


def test_planted_problems_reject_the_challenger_and_the_reasons_name_them(strict):
    assert strict.done.decided.outcome == "rejected"
    failed = {v.check: v for v in strict.done.decided.verdicts if not v.ok}
    assert failed.keys() == {"fairness selection_rate", "behaviour", "budget"}
    assert "region=north" in failed["fairness selection_rate"].reasons[0]
    invariance, direction = failed["behaviour"].reasons
    assert invariance.startswith("setting group to a, b must not move the prediction by more than 0.001: violated in ")
    assert direction.startswith("raising x by 1 must not make the prediction lower: violated in ")
    assert "size on disk" in failed["budget"].reasons[0]
    (entry,) = strict.home.ledger.entries("toy")
    assert {v.check: v.status for v in entry.body.verdicts}["behaviour"] == "fail"


def test_a_sound_model_passes_and_its_record_holds_the_figures(sound):
    decided = sound.done.decided
    assert decided.outcome == "promoted", decided.reasons
    assert [v.check for v in decided.verdicts] == [
        "fresh process", "overlap", "rows", "finite", "identical",
        "baseline", "fairness mean_error", "calibration ece", "behaviour", "budget",
    ]  # fmt: skip
    (entry,) = sound.home.ledger.entries("toy")
    verdicts = {v.check: v for v in entry.body.verdicts}
    assert verdicts["fresh process"].figures["largest_difference"] == 0
    assert verdicts["fresh process"].figures["rows"] > 2000
    assert entry.body.refit.figures["fresh_largest_difference"] == 0
    assert 0 < verdicts["budget"].figures["p95_ms"] < 5000
    assert verdicts["budget"].figures["mib"] > 0.001
    assert sum(c["rows"] for c in verdicts["behaviour"].figures["checks"]) > 2000


def test_ablation_tells_which_features_the_model_lives_on_and_what_they_cost(sound):
    (entry,) = sound.home.ledger.entries("toy")
    worth = {w.group: w for w in entry.body.evaluation.ablation}
    assert worth.keys() == {"numeric", "categorical"}
    assert worth["numeric"].answer == "earns its place"
    assert worth["numeric"].low > 0.05
    assert worth["numeric"].difference == pytest.approx(worth["numeric"].without - worth["numeric"].with_group)
    assert all(0 < w.ms < 5000 for w in worth.values())
    run = sound.home.tracking.client.get_run(entry.body.model.run_id)
    assert run.data.metrics["ablation_numeric"] == pytest.approx(worth["numeric"].difference)


def test_unchanged_rows_have_the_features_they_had(sound):
    gate = examples(sound.model, window(4), streams.week(5))
    checks = next(g for g in sound.config.promote.gates if isinstance(g, Behaviour)).checks
    used, of = [sound.batch(4)], sound.config.features
    ids = sound.home.store.effective([b.rows for b in used], ["row_id"])["row_id"]
    for check in checks[:2]:
        made = behaviour._made(sound.model, check, ids, used, gate)
        own = behaviour._depending_on(check.column, of)
        same = behaviour._features(check.column, made.landed, gate, slice(None), own)
        assert same[check.column].astype(str).tolist() == gate.X[check.column].astype(str).tolist()


def test_a_value_that_the_column_cannot_hold_is_told(sound):
    gate = next(g for g in sound.config.promote.gates if isinstance(g, Behaviour))
    check = gate.checks[2].model_copy(update={"shuffle": False, "to": ["high"]})
    with pytest.raises(WorkError, match="x holds float64, so it cannot be set to 'high'"):
        behaviour._changed(check, sound.frame["x"], 0)


def test_an_artifact_that_predicts_otherwise_than_the_fitted_model_is_refused(tmp_path, monkeypatch):
    """The files that are registered are another model's: whole, with a right digest, and wrong."""
    told = Story(tmp_path, rows(), PLAIN)
    real = Registry.log

    def another(self, model, schema, task, run_id, **more):
        data = told.home.store.read(told.batch(0).rows)
        wrong = fit(model, data.assign(group=data["group"].astype(str)), np.arange(len(data)) % 2)
        return real(self, wrong, schema, task, run_id, **more)

    monkeypatch.setattr(Registry, "log", another)
    decided = told.turn(5).decided
    assert decided.outcome == "rejected"
    (verdict,) = decided.verdicts
    assert verdict.check == "fresh process"
    assert "predicts otherwise than recorded" in verdict.reasons[0]
    (entry,) = told.home.ledger.entries("toy")
    assert entry.body.verdicts[0].figures["largest_difference"] > 0.1


def test_recorded_predictions_that_are_gone_or_no_numbers_never_pass(sound):
    (entry,) = sound.home.ledger.entries("toy")
    path = entry.body.model.baseline_path
    frame = sound.home.store.read_evaluation(path)
    trained = _trained(entry.body.model)
    assert reproduced(sound.model, trained).ok
    for wrong, status in ((frame.drop(columns="p_fitted"), "inconclusive"), (frame.assign(p_fitted=np.nan), "fail")):
        other = sound.home.store.put_evaluation("other", wrong)
        verdict = reproduced(sound.model, _trained(entry.body.model, baseline_path=other))
        assert verdict.status == status


def _trained(model, **changes):
    return SimpleNamespace(
        **model.model_dump(include={"baseline_path", "uri", "manifest_digest"}) | changes, classes=None
    )


def test_what_is_judged_by_is_landed_although_no_feature_is_made_of_it(sound):
    assert "region" in sound.home.store.columns(sound.batch(4).rows)
    assert "region" not in sound.config.features.columns
