"""The judgement of a head's predictions, and the comment about it."""

import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import psutil
import pytest

from tests.ci.shop import CONFIG
from trueup.ci.comment import LONGEST, MARKER, render
from trueup.ci.features import Known, changes, computed_leaks, declared_leaks
from trueup.ci.findings import Comparison, Found, Result, TestsRun
from trueup.ci.job import ROW, Frame
from trueup.ci.judge import judge, judged_rows
from trueup.ci.links import links
from trueup.ci.processes import run
from trueup.config.load import parse_model
from trueup.config.tasks import Task
from trueup.domain.profiling.leaks import Suspect
from trueup.errors import WorkError

START, N = datetime(2025, 1, 6), 600
CUT = START + timedelta(days=14)
CALLABLE = '{kind: callable, function: "orders_data:orders"}'
TEXT = CONFIG.replace(CALLABLE, "{kind: files, path: orders.csv}")
RULES = parse_model(TEXT)


def frame_of(rng):
    """Labels by row with a slice, and the probabilities that made them."""
    p = rng.uniform(0.05, 0.95, N)
    rows = pd.Index([f"r{i:03d}" for i in range(N)], name=ROW)
    moments = [CUT + timedelta(minutes=33 * i) for i in range(N)]
    labels = {"label": (rng.random(N) < p).astype(int), "warehouse": np.where(np.arange(N) % 3, "a", "b")}
    return pd.DataFrame({"event_time": moments, **labels}, index=rows), p


FRAME = Frame(
    "binary", "t", "UTC", ["k"], "week", START, CUT, CUT + timedelta(days=14), CUT + timedelta(days=14), CUT + timedelta(days=15), N, None, []
)  # fmt: skip
LABELS, P = frame_of(np.random.default_rng(3))
WEAK = pd.DataFrame(
    {"p_challenger": 0.5 + 0.3 * (P - 0.5), "p_prior": 0.5, "p_simple": 0.5 + 0.2 * (P - 0.5)}, index=LABELS.index
)


def judged(head, base=WEAK, rules=RULES):
    frame = None if head is None else pd.DataFrame({"p_challenger": head}, index=LABELS.index)
    rows = judged_rows(rules, FRAME, LABELS, base, frame)
    return judge(rules, rows), rows


def kinds(judgement):
    return [found.kind for found in judgement.findings]


def test_better_worse_equal_and_alone():
    better, _ = judged(P)
    assert (better.verdict, kinds(better)) == ("better", [])
    assert better.metrics[0].high < 0
    strong = WEAK.assign(p_challenger=P)
    worse, _ = judged(0.5 + 0.2 * (P - 0.5), strong)
    assert worse.verdict == "worse"
    assert kinds(worse)[0] == "worse"
    same, _ = judged(WEAK["p_challenger"].to_numpy())
    assert (same.verdict, kinds(same)) == ("no difference shown", ["not_better"])
    noise = WEAK["p_challenger"] + np.random.default_rng(0).normal(0, 0.01, N)
    near, _ = judged(noise.to_numpy())
    assert near.verdict == "no difference shown"
    alone, rows = judged(None)
    assert (alone.verdict, rows.case.has_champion) == ("new model", False)


def test_harm_in_one_slice_is_worse_though_the_whole_is_better():
    b = (LABELS["warehouse"] == "b").to_numpy()
    harmful, _ = judged(np.where(b, 1 - P, P))
    assert harmful.slices[0].slice == "warehouse=b"
    assert any("warehouse=b" in found.sentence for found in harmful.findings if found.kind == "worse")


def test_predictions_that_no_model_gives_are_refused():
    certain = np.where(LABELS["label"] == 1, 5.0, -4.0)
    with pytest.raises(WorkError, match="not probabilities"):
        judged(certain)
    broken = P.copy()
    broken[7] = np.nan
    assert judged(broken)[0].verdict == "not compared"


def test_rows_without_a_prediction_are_counted():
    head = pd.DataFrame({"p_challenger": P}, index=LABELS.index)
    rows = judged_rows(RULES, FRAME, LABELS, WEAK, pd.concat([head.iloc[50:], head.iloc[60:70]]))
    assert (rows.missing, len(rows.frame)) == (50, N - 50)


def test_a_gate_that_the_base_fails_too_is_no_finding():
    gates = "[{kind: paired}, {kind: slices}, {kind: baseline, beat: [prior]}]"
    absolute = "[{kind: paired}, {kind: absolute, metric: auc, at_least: %s}]"
    strict = parse_model(TEXT.replace(gates, absolute % 0.99))
    assert "gate" not in kinds(judged(P, rules=strict)[0])
    reached = judged(np.full(N, 0.5) + np.linspace(0, 1e-3, N), rules=parse_model(TEXT.replace(gates, absolute % 0.7)))[
        0
    ]
    assert "gate" in kinds(reached)


def test_leaks_are_found_in_raw_and_computed_columns():
    late = LABELS["label"].to_numpy()
    raw = pd.DataFrame({"t": LABELS["event_time"], "late": late, "weight": P, "copy": late * 2.0}, index=LABELS.index)
    known = Known(raw, LABELS, "t", RULES.ingest.label, Task.BINARY)
    found = declared_leaks(known, ["weight", "copy", "late", "t"])
    assert [s.column for s in found.sure] == ["late", "copy"]
    table = pd.DataFrame({"weight": P, "made": late + np.linspace(0, 0.1, N)}, index=LABELS.index)
    assert [s.column for s in computed_leaks(known, table, ["weight"]).sure] == ["made"]
    assert found.without(found).sure == ()


def test_features_of_one_side_come_with_their_drift():
    rows = pd.Index([f"x{i}" for i in range(100)]).append(LABELS.index)
    base = pd.DataFrame({"kept": 1.0, "gone": "a"}, index=rows)
    head = pd.DataFrame({"kept": 1.0, "new": np.r_[np.zeros(100), np.ones(N)]}, index=rows)
    new, gone = changes(base, head, LABELS.index)
    assert (new.name, new.change, new.drift, new.missing_after) == ("new", "added", 1.0, 0.0)
    assert (gone.name, gone.change, gone.drift) == ("gone", "removed", 0.0)


RESULT = Result("main", "a" * 40, "b" * 40, 0, (), None, False, 1.0)


def test_a_comment_stays_within_its_limit_and_shows_the_verdicts():
    sentence = "| <b>@all</b> [x](y) " * 20
    suspects = tuple(Suspect(f"column_{i}_" + "x" * 200, sentence) for i in range(30))
    one = Comparison(
        "m", "leak", (Found("leak", sentence, fails=True),) * 30, (sentence,) * 30, suspects=suspects, rows=10
    )
    many = replace(RESULT, comparisons=tuple(replace(one, model=f"m{i:04d}") for i in range(400)), fails=True)
    many = replace(many, tests=TestsRun("failed", sentence, sentence * 900, 1.0))
    comment = render(many)
    assert len(comment) <= LONGEST
    assert comment.startswith(f"{MARKER}\n## Trueup: 400 of 400 models fail, and the project's tests fail\n")
    assert "more models are in `comparison.json`" in comment
    assert "<b>" not in comment.replace("**", "").split("```")[0]
    assert comment.rstrip().endswith("</sub>")


def test_links_come_from_the_servers_variables_and_hold_nothing_else():
    github = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "a/b", "GITHUB_RUN_ID": "7"}
    assert links(github) == {"run": "https://github.com/a/b/actions/runs/7"}
    assert links({**github, "GITHUB_REPOSITORY": "a/b)[x](http://e.vil"}) == {}
    assert links({}) == {}


def running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_process_without_an_end_is_ended_with_all_that_it_started(tmp_path):
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True)\nwhile True: pass"
    started = time.monotonic()
    ran = run([sys.executable, "-c", code], tmp_path, {"PATH": "/usr/bin:/bin"}, tmp_path / "log", 2.0)
    assert ran.code is None
    assert 2 <= time.monotonic() - started < 60
    child = int(ran.output.split()[0])
    while time.monotonic() - started < 60 and running(child):
        time.sleep(0.1)
    assert not running(child)


def test_a_process_costs_what_it_uses(tmp_path):
    ran = run([sys.executable, "-c", "sum(range(10**7)); print('done')"], tmp_path, {}, tmp_path / "log", 60.0)
    assert (ran.code, ran.output) == (0, "done\n")
    assert ran.cpu_seconds > 0.05
    assert ran.memory_mib > 1
