"""A challenger goes from shadow to canary to champion, or back, and the ledger has every step."""

import json
from datetime import timedelta

import pytest

import trueup.online.publish
from tests import streams
from tests.online.rollouts import CHALLENGER, CHAMPION, CONFIG, TRIED_IN, Servers, begun
from trueup.domain.judging.rollout import LossLook
from trueup.domain.types import Status
from trueup.errors import AlreadyDecided, StaleDecision, UntrustedModel, UsageError
from trueup.governance import approval, rollout
from trueup.governance.rollback import override
from trueup.governance.rollouts import under_way
from trueup.loop import steps, turn
from trueup.model import MONITOR
from trueup.online.__main__ import main
from trueup.online.publish import publish
from trueup.online.rollout import check, published_rollout, status, traffic_of
from trueup.serving import published
from trueup.serving.rollout.figures import Figures, figures_folder
from trueup.stages.score import predictions
from trueup.upkeep.retention import gc, gc_shared


def kinds(story):
    return [e.kind for e in story.home.ledger.entries("toy")]


def topics(story):
    return [m.topic.removeprefix("trueup.") for m in story.home.ledger.pending_outbox()]


def newest(story):
    return story.home.ledger.entries("toy", limit=1)[0]


def test_a_challenger_that_passed_begins_in_shadow_and_the_champion_stays(in_rollout):
    assert (in_rollout.done.outcome, in_rollout.done.version) == ("rollout", CHALLENGER)
    assert in_rollout.model.champion().version == CHAMPION
    assert in_rollout.home.registry.champion_alias("toy") == CHAMPION
    current = under_way(in_rollout.model)
    assert (current.step, current.share, current.state.paused) == (0, 0.0, False)
    assert current.start.challenge.evaluation.metrics["challenger"]
    assert topics(in_rollout)[-1] == "rollout.started"
    assert turn.retrain(steps, in_rollout.model, streams.week(TRIED_IN), "manual") == in_rollout.done


def test_a_good_challenger_goes_from_shadow_to_canary_to_champion(tried, servers):
    assert servers.checked().reasons[0] == "0 of 100 rows of the shadow"
    assert servers.checked(99).decided is None
    done = servers.checked(1)
    assert done.decided == "rollout_advanced"
    assert done.reasons[0] == "goes on to the canary with 50 % of the keys"
    assert under_way(tried.model).share == 0.5
    assert servers.checked(200, share=0.0).reasons == ("0 of 60 rows of the canary with 50 % of the keys",)
    done = servers.checked(150)
    assert done.decided == "promoted"
    assert tried.model.champion().version == CHALLENGER
    assert tried.home.registry.champion_alias("toy") == CHALLENGER
    assert under_way(tried.model) is None
    assert check(tried.model) is None
    assert kinds(tried) == ["promoted", "rollout", "rollout_advanced", "promoted"]
    assert topics(tried)[-3:] == ["rollout.advanced", "model.promoted", "rollout.ended"]
    assert turn.retrain(steps, tried.model, streams.week(TRIED_IN), "manual").outcome == "promoted"
    assert tried.home.ledger.verify() == []


@pytest.mark.parametrize(
    ("fault", "rule", "paused"),
    [
        ({"raises": 0.2}, "errors", True),
        ({"nan": 0.2}, "non_finite", False),
        ({"slow": 4}, "latency", False),
        ({"shift": 0.6}, "shift", False),
    ],
)
def test_a_faulty_challenger_is_rolled_back_by_the_right_rule_also_while_paused(tried, servers, fault, rule, paused):
    servers.checked(100)
    if paused:
        rollout.pause(tried.model, "Ann", "release freeze")
    done = servers.checked(150, **fault)
    assert done.decided == "rejected"
    assert done.reasons[0].startswith("rolled back in the canary with 50 % of the keys: ")
    assert tried.model.champion().version == CHAMPION
    body = newest(tried).body
    assert (body.rollout.ended, body.version) == ("rolled_back", CHALLENGER)
    event = tried.home.ledger.announced("toy", "trueup.rollout.ended")[-1].payload
    assert (event["outcome"], event["rule"]) == ("rolled_back", rule)
    assert event["figure"] > event["limit"]
    assert event["counts"]["requests"] > 0
    assert turn.retrain(steps, tried.model, streams.week(TRIED_IN), "manual").outcome == "rejected"


def test_a_breaker_that_tripped_rolls_back_with_few_requests(servers):
    servers.checked(100)
    assert "stopped the canary" in servers.checked(25, raises=1.0).reasons[0]


def test_a_full_queue_before_the_challenger_is_not_its_error():
    figures = Figures(rollout="r")
    step = figures.step(1, "canary")
    step.challenger.errors = {"busy": 40, "Fail": 3}
    step.paired.calls, step.paired.failed_alone = 100, 43
    counted = traffic_of(figures, 1, 1.0)
    assert (counted.requests, counted.failures) == (60, 3)


def test_servers_let_a_process_of_its_own_check_and_publish(tried, servers, monkeypatch, capsys):
    monkeypatch.setenv("TRUEUP_HOME", str(tried.home.root))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(tried.configs))
    monkeypatch.setattr("os.nice", lambda _: 0)
    servers.count(120)
    assert main(["toy", "--check-rollout"]) == 0
    assert "rollout_advanced\n  goes on to the canary with 50 % of the keys" in capsys.readouterr().out
    state = published.read(published.folder_of(tried.home.root, "toy"), tried.home.signer)
    assert (state.rollout.phase, state.rollout.step) == ("canary", 1)
    assert main(["toy", "--check-rollout"]) == 0
    assert "the rollout waits" in capsys.readouterr().out


def test_without_traffic_it_waits_until_the_deadline_and_the_champion_stays(tried, servers):
    tried.later(days=6.9)
    assert servers.checked().decided is None
    tried.later(days=7.1)
    done = servers.checked()
    assert done.decided == "held"
    assert "no result within 7 days, in the shadow" in done.reasons[0]
    assert newest(tried).body.rollout.ended == "inconclusive"
    assert tried.model.champion().version == CHAMPION
    again = turn.retrain(steps, tried.model, streams.week(TRIED_IN), "manual")
    assert again.outcome == "rollout"  # what had no result may be tried again
    assert again.version != CHALLENGER


def test_a_person_pauses_resumes_advances_and_ends_it(tried, servers):
    model = tried.model
    rollout.pause(model, "Ann", "release freeze")
    assert servers.checked(150).decided is None
    with pytest.raises(UsageError, match="is paused already"):
        rollout.pause(model, "Ann", "release freeze")
    rollout.resume(model, "Ann", "the freeze is over")
    assert servers.checked().decided == "rollout_advanced"
    with pytest.raises(UsageError, match="--why is required"):
        rollout.abort(model, "Ann", " ")
    entry = rollout.abort(model, "Ann", "we promised the customer")
    assert (entry.kind, entry.body.approver.name) == ("rejected", "Ann")
    assert entry.body.reasons == ("ended by Ann in the canary with 50 % of the keys: we promised the customer",)
    with pytest.raises(UsageError, match="no rollout is under way"):
        rollout.abort(model, "Ann", "again")
    assert kinds(tried)[2:] == ["rollout_paused", "rollout_resumed", "rollout_advanced", "rejected"]


def test_a_person_takes_it_to_the_end_without_traffic(tried):
    rollout.advance_by_hand(tried.model, "Ann", "tested elsewhere")
    entry = rollout.advance_by_hand(tried.model, "Ann", "tested elsewhere")
    assert entry.kind == "promoted"
    assert "advanced by Ann: tested elsewhere" in entry.body.reasons
    assert entry.body.approver.name == "Ann"
    assert tried.model.champion().version == CHALLENGER


def test_of_two_decisions_at_once_one_counts(tried, monkeypatch):
    seen = under_way(tried.model)
    rollout.advance_by_hand(tried.model, "Ann", "tested elsewhere")
    monkeypatch.setattr(rollout, "require_under_way", lambda _: seen)  # what the second one had read
    with pytest.raises(AlreadyDecided, match="another change of this rollout was recorded first"):
        rollout.abort(tried.model, "Bob", "too early")
    assert kinds(tried)[-1] == "rollout_advanced"


def test_who_saw_an_earlier_step_does_not_advance_a_later_one(tried):
    rollout.advance_by_hand(tried.model, "Ann", "tested elsewhere", 0)
    with pytest.raises(AlreadyDecided, match="is at step 1, not 0; nothing was changed"):
        rollout.act(tried.model, "advance", "Bob", "tested elsewhere", 0)
    assert under_way(tried.model).step == 1


def test_a_challenger_whose_files_were_changed_is_rolled_back_and_stops_no_run(tried, servers, monkeypatch):
    def changed(*_):
        raise UntrustedModel("the files of version 2 are not those that were judged")

    servers.checked(100)
    monkeypatch.setattr(type(tried.home.registry), "load", changed)
    done = servers.checked(150)
    assert done.decided == "rejected"
    assert "not those that were judged" in done.reasons[0]
    assert tried.model.champion().version == CHAMPION


def test_a_lost_look_that_was_not_acted_upon_is_acted_upon_later(tried, monkeypatch):
    look = LossLook(1, 10, Status.FAIL, ("worse",), {"difference": 0.1})
    monkeypatch.setattr("trueup.online.rollout._looks", lambda *_: [look])
    monkeypatch.setattr("trueup.online.rollout._paired", lambda *_: range(1000))  # enough rows for another look
    assert check(tried.model).reasons[0].endswith("worse")


def test_a_champion_that_changed_meanwhile_ends_it(tried, servers):
    servers.count(150)
    override(tried.model, CHALLENGER, "Ann", "urgent")
    assert check(tried.model) is None
    assert newest(tried).body.rollout.ended == "stale"
    assert "since then the champion changed (epoch 2)" in newest(tried).body.reasons[0]


def test_a_champion_that_changes_between_the_look_and_the_record_ends_it(tried, monkeypatch):
    rollout.advance_by_hand(tried.model, "Ann", "tested elsewhere")
    seen = under_way(tried.model)
    override(tried.model, CHALLENGER, "Ann", "urgent")
    monkeypatch.setattr(rollout, "_settled", lambda _: seen)
    with pytest.raises(StaleDecision):
        rollout.advance_by_hand(tried.model, "Ann", "tested elsewhere")
    assert newest(tried).body.rollout.ended == "stale"


def test_a_new_challenger_waits_and_is_asked_for_again(tried):
    done = turn.retrain(steps, tried.model, streams.week(8), "manual")
    assert done.outcome == "refused"
    assert "a rollout is under way (version 2 in the shadow)" in done.reasons[0]
    assert newest(tried).body.rule == "rollout"
    rollout.abort(tried.model, "Ann", "not needed")
    assert turn.retrain(steps, tried.model, streams.week(8), "manual").outcome == "rollout"


def test_both_versions_predict_every_row_of_the_next_batch_so_that_losses_are_paired(tried):
    model, moment, store = tried.model, streams.week(8), tried.home.store
    batch = steps.ingest(model, moment)[-1]
    steps.validate(model, batch, moment)
    by_challenger = predictions(model, batch, under_way(model).challenger(), moment).iloc[::2]
    store.save_predictions("toy", batch.window, by_challenger)  # what the canary answered online
    assert tried.turn(8).scored[-1].version == CHAMPION
    served = tried.predictions(TRIED_IN)
    assert (served["model_version"] == CHALLENGER).sum() == len(by_challenger)
    for version in (CHAMPION, CHALLENGER):
        shadow = store.read_predictions("toy", batch.window, f"shadow:{version}")
        assert set(shadow["row_id"]) == set(served["row_id"])
        assert (shadow["model_version"] == version).all()
    assert status(model).labels > 0.8 * len(served)


def test_a_worse_loss_on_matured_labels_rolls_back(tried, monkeypatch):
    monkeypatch.setattr("trueup.stages.score.predictions", turned_round)
    tried.turn(8)
    tried.turn(9)
    entry = newest(tried)
    if entry.kind != "rejected":
        check(tried.model, streams.week(9) + timedelta(days=2))
        entry = newest(tried)
    assert entry.kind == "rejected", entry.body.reasons
    assert "significantly worse" in entry.body.reasons[0]
    event = tried.home.ledger.announced("toy", "trueup.rollout.ended")[-1].payload
    assert event["rule"] == "loss"
    assert tried.home.store.results("toy", MONITOR, dict)


def turned_round(model, batch, version, as_of):
    """Score as the stage does, but turn the challenger's probabilities round."""
    frame = predictions(model, batch, version, as_of)
    return frame.assign(prediction=1 - frame["prediction"]) if version.version == CHALLENGER else frame


def test_counts_that_cannot_be_read_never_advance(tried, servers):
    servers.count(150)
    folder = figures_folder(published.folder_of(tried.home.root, "toy"), under_way(tried.model).start.decision_id)
    (folder / "torn.json").write_text("{")
    done = servers.checked()
    assert done.decided is None
    assert done.reasons == ("the counts of a server process cannot be read: torn.json",)


def test_approval_comes_before_the_rollout_and_labels_before_its_end(tmp_path):
    config = CONFIG.replace("promote:\n", "promote:\n  mode: approval\n").replace(
        "deadline: 7 days", "deadline: 7 days, labels: 200"
    )
    story = begun(tmp_path, config)
    (entry,) = approval.open_approvals(story.model)
    assert approval.approve(story.model, entry, "Ann").outcome == "promoted"  # the first champion replaces nobody
    assert turn.retrain(steps, story.model, streams.week(8), "manual").outcome == "pending"
    (entry,) = approval.open_approvals(story.model)
    done = approval.approve(story.model, entry, "Ann")
    assert (done.outcome, under_way(story.model).fitted.version) == ("rollout", entry.body.version)
    assert approval.approve(story.model, entry, "Ann") == done
    servers = Servers(story.model)
    servers.checked(100)
    assert servers.checked(200).reasons == ("0 of 200 rows with matured labels",)
    story.turn(9)
    check(story.model, streams.week(9) + timedelta(days=2))
    assert story.model.champion().version == entry.body.version
    assert newest(story).body.approver.name == "Ann"
    assert turn.retrain(steps, story.model, streams.week(8), "manual").outcome == "promoted"


def test_the_status_shows_figures_and_writes_nothing(tried, servers):
    servers.count(60)
    before = kinds(tried)
    shown = status(tried.model)
    assert (shown.version, shown.champion, shown.phase, shown.action) == (CHALLENGER, CHAMPION, "shadow", "wait")
    assert shown.traffic[0].requests == 60
    assert shown.deadline - shown.since == timedelta(days=7)
    assert kinds(tried) == before


def test_servers_get_its_step_its_limits_and_a_salt_of_the_epoch(tried):
    current = under_way(tried.model)
    told = published_rollout(tried.model, current, tried.model.champion())
    assert (told.phase, told.share, told.salt) == ("shadow", 0.0, f"toy:2:{current.start.seq}")
    assert told.limits["latency_ratio"] == 3
    assert 0 < told.limits["scale"] < 1
    assert json.loads(json.dumps(told.limits)) == told.limits
    published_now = publish(tried.model)
    assert published_now.rollout == told
    assert (published_now.champion.version, published_now.challenger.version) == (CHAMPION, CHALLENGER)
    rollout.advance_by_hand(tried.model, "Ann", "tested elsewhere")
    assert publish(tried.model).rollout.share == 0.5
    rollout.abort(tried.model, "Ann", "enough")
    ended = publish(tried.model)
    assert (ended.challenger, ended.rollout) == (None, None)


def test_a_challenger_that_cannot_be_served_stops_no_champion(tried, monkeypatch, caplog):
    real = trueup.online.publish.bundle_of

    def without_challenger(model, folder, version, *more):
        if version == CHALLENGER:
            raise UsageError("it has no ONNX form")
        return real(model, folder, version, *more)

    monkeypatch.setattr("trueup.online.publish.bundle_of", without_challenger)
    (published.folder_of(tried.home.root, "toy") / "state").unlink(missing_ok=True)
    state = publish(tried.model)
    assert (state.champion.version, state.challenger, state.rollout) == (CHAMPION, None, None)
    assert "the challenger gets no traffic, and its rollout waits" in caplog.text


def removed(found):
    return {r.kind: r.files for r in found.removed if r.files}


def test_the_figures_of_a_rollout_are_removed_some_time_after_its_end(tried, servers):
    servers.count(3)
    (file,) = published.folder_of(tried.home.root, "toy").glob("rollout/*/*.json")
    tried.later(days=100)
    assert removed(gc(tried.model)) == {}
    rollout.abort(tried.model, "Ann", "a test")
    tried.later(days=80)
    assert removed(gc(tried.model)) == {}
    tried.later(days=100)
    assert removed(gc(tried.model, dry_run=True)) == {"rollout figures": 1}
    assert removed(gc(tried.model)) == {"rollout figures": 1}
    assert not file.parent.exists()


def test_the_features_of_the_challenger_are_in_use(tried):
    config = tried.configs / "toy.yaml"
    before = config.read_text()
    rollout.abort(tried.model, "Ann", "a test")
    config.write_text(before.replace("numeric: [x, z]", "numeric: [x]"))
    assert turn.retrain(steps, tried.model, streams.week(TRIED_IN + 1), "manual").outcome == "rollout"
    config.write_text(before)
    tried.later(days=2)
    during = removed(gc_shared([tried.config], tried.home, dry_run=True))["features"]  # of older labels
    rollout.abort(tried.model, "Ann", "a test")
    after = removed(gc_shared([tried.config], tried.home))["features"]
    assert after - during == TRIED_IN  # the last week has no labels yet, so nothing was computed for it
