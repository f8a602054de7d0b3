"""Diagnosis on seeded synthetic streams with small real models, and on observations made by hand."""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from trueup.config.sections.monitoring import DecayConfig, MonitorConfig
from trueup.config.tasks import Task
from trueup.domain.features.features import FeatureSchema
from trueup.domain.judging.metrics import row_losses
from trueup.domain.monitoring.diagnosis import (
    NAMES,
    Bounds,
    Drop,
    Observation,
    Skill,
    constant_losses,
    diagnose,
    promised_gain,
    skill,
)
from trueup.domain.monitoring.drift import PSI, DriftScore, comparable, judge_drift
from trueup.domain.monitoring.estimates.estimate import Estimate
from trueup.domain.records import from_json, to_plain
from trueup.domain.types import Metric, Verdict

START = datetime(2020, 1, 1)
INPUTS = list("abcde")
PER_DAY = 100  # rows of a stream
TRAIN, GATE, REFERENCE, WATCHED = 60, 14, 56, 120  # days
CONFIG = MonitorConfig(decay=DecayConfig(batches=2, of_last=3))
SEASON, CHANGE = TRAIN + 30, TRAIN + 30  # the second monthly batch


@pytest.mark.slow
def test_a_healthy_stream_is_rarely_called_decayed():
    """Four monthly batches a stream."""
    streams = [(task, seed) for task in (Task.REGRESSION, Task.BINARY) for seed in range(8)]
    alarms = [s for s in streams if "decayed" in diagnoses(*s, "healthy")]
    assert len(alarms) <= 1, alarms


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "kind"),
    [
        (Task.REGRESSION, "shift"),  # one input moves by nearly its spread
        (Task.BINARY, "shift"),
        (Task.REGRESSION, "noisy"),  # and the labels get noisier: every model's loss is worse
        (Task.REGRESSION, "harder"),  # more rows of a kind that is hard to tell, for every model
        (Task.BINARY, "harder"),
    ],
)
def test_a_season_is_shifted_not_decayed(task, kind):
    for seed in range(3):
        stream = watched(task, seed, kind)
        names = diagnoses(task, seed, kind)
        assert "decayed" not in names, (seed, names)
        assert names[2:] == ("shifted",) * 2, (seed, names)
        if kind != "shift":
            assert min(s.loss_reference for s in stream.skills[2:]) > stream.gate.loss_reference
            assert min(s.loss_model for s in stream.skills[2:]) > 1.1 * stream.gate.loss_model


@pytest.mark.slow
@pytest.mark.parametrize("task", [Task.REGRESSION, Task.BINARY])
@pytest.mark.parametrize("kind", ["change", "unseen change"])
def test_a_change_of_the_relation_is_decayed_within_n_batches(task, kind):
    """In the first batch after the change the reference has not seen it; the unseen change it can never learn."""
    for seed in range(3):
        names = diagnoses(task, seed, kind)
        assert "decayed" not in names[:1], (seed, names)
        assert "decayed" in names[1:3], (seed, names)
        assert names[3] == "decayed", (seed, names)


@pytest.mark.slow
@pytest.mark.parametrize("task", [Task.REGRESSION, Task.BINARY])
def test_a_severe_change_is_decayed_at_once_when_the_reference_has_learned_it(task):
    config = MonitorConfig(decay=DecayConfig(batches=5, of_last=5))
    for seed in range(3):
        names = diagnoses(task, seed, "change", config=config)
        assert names[2] == "decayed", (seed, names)


@pytest.mark.slow
def test_weekly_batches_need_blocks_shorter_than_a_day():
    days = diagnoses(Task.REGRESSION, 0, "change", batch=7)
    assert set(days) == {"unknown"}
    halves = diagnoses(Task.REGRESSION, 0, "change", batch=7, block=timedelta(hours=12))
    assert halves[0] == "healthy"
    assert "decayed" in halves[4:8]  # the change comes with the fifth week or in it
    assert "decayed" not in halves[:4]


@pytest.mark.slow
def test_without_the_promised_gain_a_season_with_little_to_gain_looks_like_decay():
    """Why the promise is asked for: here the raw skill really is lower, and the champion as right as ever."""
    alarms = 0
    for seed in range(3):
        stream = watched(Task.BINARY, seed, "harder")
        blind = [replace(s, shortfall=None) for s in stream.skills]
        alarms += any(Drop.between(replace(stream.gate, shortfall=None), s).lower > 0.01 for s in blind)
        assert all(Drop.between(stream.gate, s).lower <= 0.01 for s in stream.skills)
    assert alarms >= 2


def test_worse_than_chance_is_bad_however_bad_the_reference_is():
    gate = replace(GOOD.gate, over_constant=Bounds(0.06, 0.02, 0.10))
    lost = replace(gate, over_constant=Bounds(-0.03, -0.05, -0.01))  # over the reference it has the skill of the gate
    assert diagnose(replace(GOOD, gate=gate, skill=lost), [], CONFIG).name == "healthy"  # once, and not severe
    found = diagnose(replace(GOOD, gate=gate, skill=lost), [lost], CONFIG)
    assert found.name == "decayed"
    assert "worse than chance" in found.reasons[0]
    severe = replace(lost, over_constant=Bounds(-0.2, -0.25, -0.15))
    assert diagnose(replace(GOOD, gate=gate, skill=severe), [], CONFIG).name == "decayed"


@pytest.mark.parametrize(
    ("gate", "batch"),
    [
        (Bounds(0.06, 0.02, 0.10), Bounds(-0.03, -0.07, 0.01)),  # perhaps it is not worse than chance
        (Bounds(-0.03, -0.05, -0.01), Bounds(-0.03, -0.05, -0.01)),  # the level wanders: it was so at the gate
        (None, Bounds(-0.03, -0.05, -0.01)),  # a champion from before this was measured
        (Bounds(0.06, 0.02, 0.10), None),
    ],
)
def test_losing_to_a_constant_is_bad_only_beyond_noise_and_when_it_was_otherwise_at_the_gate(gate, batch):
    seen = replace(GOOD, gate=replace(GOOD.gate, over_constant=gate), skill=replace(GOOD.skill, over_constant=batch))
    assert diagnose(seen, [seen.skill], CONFIG).name == "healthy"


def test_the_constant_is_the_shares_or_the_mean_of_what_was_known_before():
    y, known = np.array([0.0, 1, 1]), np.array([0, 1, 1, 1])
    for task in (Task.BINARY, Task.REGRESSION):
        assert np.allclose(constant_losses(task, y, known), row_losses(task, y, np.full(3, 0.75)))
    names, before = (np.where(v == 1, "yes", "no").astype(object) for v in (y, known))
    assert np.allclose(constant_losses(Task.MULTICLASS, names, before), constant_losses(Task.BINARY, y, known))
    unseen = constant_losses(Task.MULTICLASS, ["never seen"], before)
    assert np.isfinite(unseen).all()
    assert unseen[0] > constant_losses(Task.MULTICLASS, ["no"], before)[0]


def wandering(seed, effect, shock, *, turned=False, months=6):
    """Whether each monthly batch is called decayed: a right model, and a level that moves in a way nobody can know."""
    rng = np.random.default_rng(seed)

    def labels(x, sign=1.0):
        return (rng.random(len(x)) < odds(-1 + sign * effect * x + rng.normal(scale=shock))).astype(float)

    def measured(days, sign=1.0):
        x = rng.normal(size=days * 200)
        y, time = labels(x, sign), np.repeat(np.datetime64("2024-01-01") + np.arange(days), 200)
        ours, cheap = odds(-1 + effect * x), odds(-1 + 0.7 * effect * x)
        constant = constant_losses(Task.BINARY, y, known)
        losses = [row_losses(Task.BINARY, y, p) for p in (ours, cheap)]
        sides = {"promised": promised_gain(Task.BINARY, ours, cheap), "constant": constant}
        return skill(*losses, time, timedelta(days=1), 0.95, **sides)

    known = np.concatenate([labels(rng.normal(size=6_000)) for _ in range(4)])
    gate = measured(14)
    skills = [measured(30, -1.0 if turned else 1.0) for _ in range(months)]
    seen = [replace(GOOD, gate=gate, skill=s, rows=s.n, matured=s.n) for s in skills]
    return ["decayed" in {f.name for f in diagnose(s, skills[:i], CONFIG).findings} for i, s in enumerate(seen)]


def odds(value):
    return 1 / (1 + np.exp(-value))


@pytest.mark.slow
@pytest.mark.parametrize(("effect", "shock"), [(0.5, 0.2), (0.5, 0.4), (0.8, 0.4)])
def test_a_level_that_nobody_could_know_is_no_decay_and_a_turned_sign_is(effect, shock):
    assert np.mean([any(wandering(seed, effect, shock)) for seed in range(20)]) <= 0.05
    assert all(any(wandering(seed, effect, shock, turned=True, months=2)) for seed in range(10))


def test_the_reasons_against_a_judgement_are_all_given():
    seen = replace(GOOD, rows=29, matured=20, gate=None, skill=None)
    found = diagnose(seen, [], CONFIG)
    assert found.name == "unknown"
    for words in ("29 rows", "20 matured labels", "gate is not known"):
        assert words in found.findings[0].reason


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"matured": 199, "skill": None}, "199 matured labels"),
        ({"classes": 1}, "one class"),
        ({"rows": 29}, "29 rows"),
        ({"rows": 0, "matured": 0, "classes": 0, "skill": None}, "0 rows"),
        ({"trained_until": None, "gate": None}, "no champion"),
        ({"gate": None}, "gate"),
        ({"skill": None}, "could not be measured"),
        ({"validation": Verdict.inconclusive("validate", "12 rows")}, "12 rows"),
    ],
)
def test_what_cannot_be_told_is_unknown(change, words):
    found = diagnose(replace(GOOD, **change), [], CONFIG)
    assert found.name == "unknown"
    assert words in found.findings[0].reason


def test_too_few_blocks_of_time_are_unknown_and_never_decayed():
    found = diagnose(replace(GOOD, skill=replace(BAD, blocks=9)), [BAD, BAD], CONFIG)
    assert [f.name for f in found.findings] == ["unknown"]
    assert "evaluate.block" in found.findings[0].reason


def test_all_findings_are_listed_and_the_first_names_the_batch():
    config = CONFIG.model_copy(update={"stale_after": timedelta(days=5)})
    seen = replace(GOOD, skill=BAD, drift=MOVED, validation=Verdict.failed("validate", "column x is missing"))
    found = diagnose(seen, [BAD], config)
    assert [f.name for f in found.findings] == ["data_broken", "decayed", "stale", "shifted"]
    assert found.name == "data_broken"
    assert found.reasons[0] == "data_broken: column x is missing"
    json.dumps(to_plain(found), allow_nan=False)


def test_n_of_the_last_m_batches_and_the_latest_decide():
    good, bad = GOOD.skill, BAD
    assert diagnose(replace(GOOD, skill=bad), [], CONFIG).name == "healthy"
    assert diagnose(replace(GOOD, skill=bad), [bad], CONFIG).name == "decayed"
    assert diagnose(replace(GOOD, skill=bad), [bad, good], CONFIG).name == "decayed"
    assert diagnose(replace(GOOD, skill=bad), [bad, good, good], CONFIG).name == "healthy"
    assert diagnose(replace(GOOD, skill=good), [bad, bad], CONFIG).name == "healthy"


@pytest.mark.parametrize(
    ("change", "awaits"),
    [
        ({"matured": 150}, True),
        ({"classes": 1}, True),
        ({"skill": Skill(0.1, 0.08, 0.12, 0.95, 900, 9, 0.45, 0.5)}, True),  # nine blocks of time
        ({"gate": None}, False),
        ({"rows": 29}, False),
        ({"skill": None}, False),
        ({}, False),
    ],
)
def test_what_is_unknown_awaits_labels_only_where_more_of_them_could_tell(change, awaits):
    assert diagnose(replace(GOOD, **change), [], CONFIG).awaits_labels is awaits


def test_age_is_stale_only_beyond_the_limit():
    ten = CONFIG.model_copy(update={"stale_after": timedelta(days=10)})
    assert diagnose(replace(GOOD, as_of=GOOD.trained_until + timedelta(days=10)), [], ten).name == "healthy"
    assert diagnose(replace(GOOD, as_of=GOOD.trained_until + timedelta(days=11)), [], ten).name == "stale"
    assert diagnose(replace(GOOD, as_of=GOOD.trained_until + timedelta(days=999)), [], CONFIG).name == "healthy"


def test_inputs_that_were_not_judged_are_said_so():
    nothing = judge_drift({}, [], 5_000, 0, CONFIG.drift)
    assert "no data" in diagnose(replace(GOOD, drift=nothing), [], CONFIG).findings[0].reason
    assert "not compared" in diagnose(replace(GOOD, drift=None), [], CONFIG).findings[0].reason


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_gives_no_skill(bad):
    with pytest.raises(ValueError, match=r"model's loss is not finite in 1 rows"):
        measure([0.1, bad, 0.3], [0.2, 0.2, 0.2])


def test_one_block_of_time_has_no_bounds_and_survives_json():
    found = measure([0.1, 0.2, 0.3], [0.3, 0.3, 0.3])
    assert found.blocks == 1
    assert np.isinf(found.low)
    assert from_json(Skill, json.dumps(to_plain(found), allow_nan=False)) == found


ESTIMATE = Estimate("cbpe", 900, (Metric("log_loss", 0.6, 900),), (Metric("log_loss", 0.4, 900),), True, "beyond 0.5")


@pytest.mark.parametrize("worse", [True, False])
def test_an_estimate_is_a_finding_beside_unknown_and_changes_nothing_else(worse):
    few = replace(GOOD, skill=None, matured=CONFIG.min_matured - 30)
    without = diagnose(few, [], CONFIG)
    found = diagnose(replace(few, estimate=replace(ESTIMATE, worse=worse)), [], CONFIG)
    assert found.name == without.name == "unknown"
    assert found.awaits_labels == without.awaits_labels
    others = tuple(f for f in found.findings if f.name != "estimated_decay")
    assert others == without.findings
    assert len(found.findings) - len(others) == worse
    if worse:
        assert "estimated_decay: beyond 0.5; 30 more labels would settle it" in found.reasons


def test_an_estimate_that_labels_contradict_says_so():
    few = replace(GOOD, skill=None, matured=0, estimate=replace(ESTIMATE, doubts="the last one was off"))
    assert diagnose(few, [], CONFIG).reasons[-1].endswith("would settle it; the last one was off")


def test_with_a_measured_skill_an_estimate_is_no_finding():
    assert diagnose(replace(GOOD, estimate=ESTIMATE), [], CONFIG) == diagnose(GOOD, [], CONFIG)


bounds = st.builds(lambda mean, width: Bounds(mean, mean - width, mean + width), st.floats(-1, 1), st.floats(0, 0.5))
skills = st.builds(
    lambda gain, loss, *more: Skill(gain.mean, gain.low, gain.high, 0.95, 900, 30, 0.4, loss, *more),
    bounds,
    st.floats(0.01, 10),
    st.none() | bounds,
    st.none() | bounds,
)


@given(skills)
def test_a_skill_survives_json_and_never_falls_below_itself(found):
    assert from_json(Skill, json.dumps(to_plain(found))) == found
    assert Drop.between(found, found).lower <= 1e-9


@given(skills, skills, st.lists(skills, max_size=4), st.booleans(), st.integers(0, 400))
def test_findings_are_in_order_and_never_empty(gate, batch, history, moved, matured):
    seen = replace(GOOD, gate=gate, skill=batch, matured=matured, drift=MOVED if moved else GOOD.drift)
    names = [f.name for f in diagnose(seen, history, CONFIG).findings]
    assert names == sorted(names, key=NAMES.index)
    assert names
    assert ("healthy" in names) == (names == ["healthy"])
    assert ("unknown" in names) == (matured < CONFIG.min_matured)


def test_the_promised_gain_is_what_the_truth_would_give():
    p, q = np.array([0.2, 0.7]), np.array([0.4, 0.5])
    either = [row_losses(Task.BINARY, np.full(2, y), q) - row_losses(Task.BINARY, np.full(2, y), p) for y in (0.0, 1.0)]
    np.testing.assert_allclose(promised_gain(Task.BINARY, p, q), (1 - p) * either[0] + p * either[1])
    both = np.column_stack([1 - p, p]), np.column_stack([1 - q, q])
    np.testing.assert_allclose(promised_gain(Task.MULTICLASS, *both), promised_gain(Task.BINARY, p, q))
    np.testing.assert_allclose(promised_gain(Task.REGRESSION, p, q), (p - q) ** 2)


def measure(model, reference):
    return skill(model, reference, np.full(len(model), np.datetime64("2020-01-01")), timedelta(days=1), 0.95)


STILL = judge_drift({"a": DriftScore("a", PSI, 0.01, 10, 5_000, 5_000)}, [], 5_000, 5_000, CONFIG.drift)
MOVED = judge_drift({"a": DriftScore("a", PSI, 0.5, 10, 5_000, 5_000)}, [], 5_000, 5_000, CONFIG.drift)
GOOD = Observation(
    as_of=START + timedelta(days=90),
    validation=Verdict.passed("validate"),
    rows=900,
    matured=900,
    classes=2,
    trained_until=START + timedelta(days=60),
    gate=Skill(0.1, 0.08, 0.12, 0.95, 500, 14, 0.45, 0.5),
    skill=Skill(0.1, 0.08, 0.12, 0.95, 900, 30, 0.45, 0.5),
    drift=STILL,
)
BAD = Skill(0.04, 0.02, 0.06, 0.95, 900, 30, 0.48, 0.5)


@dataclass(frozen=True)
class Stream:
    """What a champion's monitor sees: its skill at the gate, then skill and drift of each batch."""

    gate: Skill
    skills: tuple[Skill, ...]
    drifts: tuple
    ends: tuple[datetime, ...]


def diagnoses(task, seed, kind, *, config=CONFIG, batch=30, block=timedelta(days=1)):
    """Diagnose the batches of a stream in turn, without ever retraining."""
    stream = watched(task, seed, kind, batch, block)
    names = []
    for i, found in enumerate(stream.skills):
        seen = replace(
            GOOD, as_of=stream.ends[i], gate=stream.gate, skill=found, rows=found.n, matured=found.n, classes=None
        )
        names.append(diagnose(replace(seen, drift=stream.drifts[i]), stream.skills[:i], config).name)
    return tuple(names)


@cache
def watched(task, seed, kind, batch=30, block=timedelta(days=1)):
    rows = synthetic(task, seed, kind, days=TRAIN + WATCHED)
    y, times = rows.y.to_numpy(), rows.time.to_numpy()
    # The reference sees only straight lines, the champion curves and interactions (degree 3: of hard rows, too).
    lines = rows[INPUTS].to_numpy()
    curves = PolynomialFeatures(3, include_bias=False).fit_transform(lines)
    within = lambda a, b: slice(a * PER_DAY, b * PER_DAY)  # noqa: E731
    between = lambda a, b: rows.iloc[within(a, b)]  # noqa: E731
    first = TRAIN - GATE

    def measured(champion, start, end):
        before, now = within(max(0, start - REFERENCE), start), within(start, end)
        reference = fitted(task, lines[before], y[before])
        p, q = predicted(task, champion, curves[now]), predicted(task, reference, lines[now])
        losses = [row_losses(task, y[now], x) for x in (p, q)]
        sides = {"promised": promised_gain(task, p, q), "constant": constant_losses(task, y[now], y[before])}
        return skill(*losses, times[now], block, 0.95, **sides)

    gate = measured(fitted(task, curves[within(0, first)], y[within(0, first)]), first, TRAIN)
    champion = fitted(task, curves[within(0, TRAIN)], y[within(0, TRAIN)])
    starts = range(TRAIN, TRAIN + WATCHED - batch + 1, batch)
    return Stream(
        gate,
        tuple(measured(champion, s, s + batch) for s in starts),
        tuple(drift(between(0, TRAIN), between(s, s + batch)) for s in starts),
        tuple(START + timedelta(days=s + batch) for s in starts),
    )


def synthetic(task, seed, kind, days, per_day=PER_DAY):
    """A relation with a linear part, a curve and an interaction; `e` marks rows that are hard to tell."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    day = np.repeat(np.arange(days), per_day) + rng.random(n)
    x = rng.normal(size=(n, 5))
    late = day >= CHANGE
    season = np.clip((day - SEASON) / 20, 0, 1) * (kind in ("shift", "noisy", "harder"))
    x[:, 0] += 0.7 * season
    hard = rng.random(n) < 0.35 + 0.5 * season * (kind == "harder")
    x[:, 4] = hard
    linear = np.where(late & (kind == "change"), -0.5, 1.0)
    interaction = np.where(late & (kind == "unseen change"), -0.8, 0.8)
    f = linear * x[:, 0] + 0.6 * x[:, 1] ** 2 + interaction * x[:, 2] * x[:, 3]
    if task is Task.REGRESSION:
        spread = 1 + 0.8 * season * (kind == "noisy") + 1.0 * hard * (kind == "harder")
        y = f + spread * rng.normal(size=n)
    else:
        y = (rng.random(n) < 1 / (1 + np.exp(-(1.5 * f - 0.9) * np.where(hard, 0.3, 1)))).astype(float)
    time = pd.Timestamp(START) + pd.to_timedelta(day, unit="D")
    return pd.DataFrame(x, columns=INPUTS).assign(y=y, day=day, time=time)


def fitted(task, x, y):
    model = Ridge(1.0) if task is Task.REGRESSION else LogisticRegression(C=0.1, max_iter=500)
    return make_pipeline(StandardScaler(), model).fit(x, y)


def predicted(task, model, x):
    return model.predict(x) if task is Task.REGRESSION else model.predict_proba(x)[:, 1]


def drift(reference, current):
    """Judge the inputs by a PSI worked out here: Evidently has no place in unit tests."""
    schema = FeatureSchema(("a", "b", "e"), ())
    scores = {}
    before, now = comparable(reference, current, schema)
    for column in schema.names:
        a, b = (s[column].value_counts(normalize=True, sort=False).clip(lower=1e-4) for s in (before, now))
        value = float(((a - b) * np.log(a / b)).sum())
        scores[column] = DriftScore(column, PSI, value, len(a), len(reference), len(current))
    return judge_drift(scores, [], len(reference), len(current), CONFIG.drift)
