"""The alert rules and the dashboard that projects get: each alert fires when it should, and each name is a real one."""

import json

import pytest
from ruamel.yaml import YAML

from tests.metrics.prometheus import DASHBOARD, RULES, SCRAPES, alerts, expressions, known, names_in, promtool

HOME = 'job="trueup", instance="a"'
TOY = f'{HOME}, model="toy"'
DAY = 24 * 3600

SLOW = {
    "TrueupSlowStage",
    "TrueupStale",
    "TrueupNoTurn",
    "TrueupApprovalWaits",
}  # values an hour apart, of the others a minute

# By alert: series that fire it, and series that must not.
FIRES = {
    "TrueupDecayed": {f'trueup_model_finding{{{TOY}, finding="decayed"}}': "1x10"},
    "TrueupStale": {f'trueup_model_finding{{{TOY}, finding="stale"}}': "1x60"},
    "TrueupUnusualBatch": {f'trueup_model_finding{{{TOY}, finding="unusual"}}': "1x10"},
    "TrueupSkewed": {f'trueup_model_finding{{{TOY}, finding="skewed"}}': "1x10"},
    "TrueupEstimatedDecay": {
        f"trueup_model_estimated_decay{{{TOY}}}": "1x10",
        f"trueup_model_estimate_off{{{TOY}}}": "0x10",
    },
    "TrueupEstimateOff": {f"trueup_model_estimate_off{{{TOY}}}": "1x10"},
    "TrueupBrokenBatch": {f"trueup_model_batch_broken{{{TOY}}}": "1x10"},
    "TrueupBatchLate": {f"trueup_model_batch_due_timestamp_seconds{{{TOY}}}": "0x60"},
    "TrueupNoTurn": {
        f"trueup_model_turn_timestamp_seconds{{{TOY}}}": "0x200",
        f"trueup_model_period_seconds{{{TOY}}}": f"{DAY}x200",
        f"trueup_model_batch_due_timestamp_seconds{{{TOY}}}": "0x200",
    },
    "TrueupApprovalWaits": {f"trueup_model_approval_open_since_timestamp_seconds{{{TOY}}}": "0x40"},
    "TrueupRetrainsStopped": {f"trueup_model_retrain_stopped{{{TOY}}}": "1x10"},
    "TrueupRolledBack": {f'trueup_model_decisions_total{{{TOY}, outcome="rolled_back"}}': "0x5 1x55"},
    "TrueupRetrainFailed": {f'trueup_model_decisions_total{{{TOY}, outcome="failed"}}': "2x5 3x55"},
    "TrueupSlowStage": {f'trueup_model_stage_seconds{{{TOY}, run="run", stage="train"}}': "20x100 70x6"},
    "TrueupModelUnreadable": {f"trueup_model_readable{{{TOY}}}": "0x60"},
    "TrueupHomeUnreadable": {f"trueup_home_ledger_readable{{{HOME}}}": "0x60"},
    "TrueupUnsignedEntries": {f"trueup_home_ledger_unsigned_entries{{{HOME}}}": "4x5 5x55"},
    "TrueupOutboxStuck": {
        f'trueup_model_outbox_oldest_timestamp_seconds{{{TOY}, receiver="events"}}': "0x90",
        f'trueup_home_outbox_delivers{{{HOME}, receiver="events"}}': "1x90",
    },
    "TrueupScrapeFails": {'up{job="trueup-serve", instance="a"}': "0x60"},
    "TrueupServeErrors": {
        f'trueup_requests_total{{{TOY}, code="200"}}': "0+90x60",
        f'trueup_requests_total{{{TOY}, code="500"}}': "0+10x60",
    },
    "TrueupServeUnlogged": {f"trueup_log_unlogged_total{{{TOY}}}": "0x50 3x10"},
    "TrueupServeWithoutLedger": {f"trueup_ledger_reachable{{{TOY}}}": "0x60"},
    "TrueupServeBreaker": {f"trueup_rollout_tripped{{{TOY}}}": "1x10"},
}
QUIET = {
    "TrueupDecayed": {f'trueup_model_finding{{{TOY}, finding="stale"}}': "1x10"},
    "TrueupStale": {f'trueup_model_finding{{{TOY}, finding="stale"}}': "1x20 0x40"},
    "TrueupUnusualBatch": {f'trueup_model_finding{{{TOY}, finding="unusual"}}': "0x10"},
    "TrueupSkewed": {f'trueup_model_finding{{{TOY}, finding="skewed"}}': "0x10"},
    "TrueupEstimatedDecay": {  # an estimate that was wrong last time is no news
        f"trueup_model_estimated_decay{{{TOY}}}": "1x10",
        f"trueup_model_estimate_off{{{TOY}}}": "1x10",
    },
    "TrueupEstimateOff": {f"trueup_model_estimate_off{{{TOY}}}": "0x10"},
    "TrueupBrokenBatch": {f"trueup_model_batch_broken{{{TOY}}}": "0x10"},
    "TrueupBatchLate": {f"trueup_model_batch_due_timestamp_seconds{{{TOY}}}": "4000x60"},
    "TrueupNoTurn": {  # a model on the data's clock has no time at which a batch is due
        f"trueup_model_turn_timestamp_seconds{{{TOY}}}": "0x200",
        f"trueup_model_period_seconds{{{TOY}}}": f"{DAY}x200",
    },
    "TrueupApprovalWaits": {f"trueup_model_approval_open_since_timestamp_seconds{{{TOY}}}": "0x20"},
    "TrueupRetrainsStopped": {f"trueup_model_retrain_stopped{{{TOY}}}": "0x10"},
    "TrueupRolledBack": {f'trueup_model_decisions_total{{{TOY}, outcome="rolled_back"}}': "1x60"},
    "TrueupRetrainFailed": {f'trueup_model_decisions_total{{{TOY}, outcome="failed"}}': "3x60"},
    "TrueupSlowStage": {
        f'trueup_model_stage_seconds{{{TOY}, run="run", stage="train"}}': "30x100 70x6",
        f'trueup_model_stage_seconds{{{TOY}, run="run", stage="score"}}': "1x100 20x6",  # too short to matter
    },
    "TrueupModelUnreadable": {f"trueup_model_readable{{{TOY}}}": "1x60"},
    "TrueupHomeUnreadable": {f"trueup_home_ledger_readable{{{HOME}}}": "0x2 1x58"},
    "TrueupUnsignedEntries": {f"trueup_home_ledger_unsigned_entries{{{HOME}}}": "4x60"},
    "TrueupOutboxStuck": {  # a home without Prefect's server delivers to nobody
        f'trueup_model_outbox_oldest_timestamp_seconds{{{TOY}, receiver="events"}}': "0x90",
        f'trueup_home_outbox_delivers{{{HOME}, receiver="events"}}': "0x90",
        f'trueup_home_outbox_delivers{{{HOME}, receiver="people"}}': "1x90",
    },
    "TrueupScrapeFails": {'up{job="trueup", instance="a"}': "1x60", 'up{job="node", instance="a"}': "0x60"},
    "TrueupServeErrors": {
        f'trueup_requests_total{{{TOY}, code="200"}}': "0+1000x60",
        f'trueup_requests_total{{{TOY}, code="500"}}': "0+1x60",
    },
    "TrueupServeUnlogged": {f"trueup_log_unlogged_total{{{TOY}}}": "3x60"},
    "TrueupServeWithoutLedger": {f"trueup_ledger_reachable{{{TOY}}}": "0x5 1x55"},
    "TrueupServeBreaker": {f"trueup_rollout_tripped{{{TOY}}}": "0x10"},
}


def _last(series):
    """The number of the last value that a series has."""
    return max(sum(int(part.split("x")[1]) + 1 for part in values.split()) for values in series.values()) - 1


def _test(alert, series, count):
    """A unit test of promtool: how many of the alert fire at the end of the series."""
    unit, firing = "h" if alert in SLOW else "m", f'ALERTS{{alertname="{alert}", alertstate="firing"}}'
    return {
        "name": f"{alert} {count}",
        "interval": f"1{unit}",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f"count({firing})",
                "eval_time": f"{_last(series)}{unit}",
                "exp_samples": [{"labels": "{}", "value": count}] if count else [],
            }
        ],
    }


def _tried(folder, tests):
    """Run unit tests; the exit code of promtool and its words."""
    content = {"rule_files": [str(RULES)], "evaluation_interval": tests[0]["interval"], "tests": tests}
    with (folder / "tests.yml").open("w") as file:
        YAML(typ="safe").dump(content, file)
    return promtool("test", "rules", "tests.yml", folder=folder)


@pytest.mark.parametrize("slow", [False, True], ids=["within minutes", "within days"])
def test_each_alert_fires_when_it_should_and_is_quiet_when_it_should_not(tmp_path, slow):
    assert set(FIRES) == set(QUIET) == set(alerts())
    chosen = [name for name in FIRES if (name in SLOW) == slow]
    tests = [_test(name, FIRES[name], 1) for name in chosen] + [_test(name, QUIET[name], 0) for name in chosen]
    code, said = _tried(tmp_path, tests)
    assert code == 0, said


def test_a_wrong_expectation_would_be_found(tmp_path):
    assert _tried(tmp_path, [_test("TrueupDecayed", QUIET["TrueupDecayed"], 1)])[0] == 1


def test_promtool_accepts_the_rules_and_the_scrape_config():
    assert promtool("check", "rules", RULES)[0] == 0
    code, said = promtool("check", "config", SCRAPES)
    assert code == 0, said


def test_every_metric_of_an_alert_or_a_panel_exists():
    for expression in [*alerts().values(), *expressions()]:
        assert names_in(expression) <= known(), expression
        assert names_in(expression) or "up" in expression, expression


def test_every_query_of_the_dashboard_is_promql(tmp_path):
    rules = [{"record": f"panel:{i}", "expr": query} for i, query in enumerate(expressions())]
    assert len(rules) > 15
    with (tmp_path / "rules.yml").open("w") as file:
        YAML(typ="safe").dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
    code, said = promtool("check", "rules", tmp_path / "rules.yml")
    assert code == 0, said


def test_the_dashboard_has_what_grafana_needs_to_import_it():
    content = json.loads(DASHBOARD.read_text())
    (source,) = content["__inputs"]
    assert (source["type"], source["pluginId"]) == ("datasource", "prometheus")
    assert [v["name"] for v in content["templating"]["list"]] == ["model"]
    panels = content["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    assert all(p["title"] for p in panels)
    for panel in panels:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        assert all(t["datasource"]["uid"] == "${DS_PROMETHEUS}" for t in panel.get("targets", ()))
    for i, one in enumerate(panels):
        for other in panels[i + 1 :]:
            assert not _overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def _overlap(a, b):
    return (
        a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"] and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]
    )
