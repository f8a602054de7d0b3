"""Replay on streams whose truth is known: what it recommends is what is true there."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from tests import streams
from tests.story import CONFIG
from trueup.adapters.background import NoReports
from trueup.config.load import load_model
from trueup.config.policies import parse_all
from trueup.config.settings import Settings
from trueup.home import Home
from trueup.model import Model
from trueup.replay.compare import compare
from trueup.replay.replay import replay, whole_span

pytestmark = pytest.mark.thorough  # half a minute each


def replayed(folder, frame, *texts):
    """What is said of policies on a stream: the facts, and those of each policy by its name."""
    configs = streams.write(folder, frame, CONFIG)
    home = Home(Settings(home=folder / "home", configs=configs))
    home.background = NoReports()
    config = load_model(configs, "toy")
    span = whole_span(Model(config, home), None, None)
    facts = compare(config, span, replay(Model(config, home), span, parse_all(texts), workers=2)).facts
    home.close()
    return facts, {p["name"]: p for p in facts["policies"]}


def shown_better(policy):
    return policy["against_frozen"]["high"] is not None and policy["against_frozen"]["high"] < 0


def test_without_drift_the_cheapest_is_recommended(tmp_path):
    frame = streams.Stream(days=18 * 7).frame()
    facts, by_name = replayed(tmp_path, frame, "frozen", "every 2 weeks", "every 2 weeks, no gate", "on decay")
    assert by_name[facts["recommended"]]["cost_s"] == 0
    assert by_name["on decay"]["retrains"] == 0
    assert by_name["every 2 weeks, no gate"]["promotions"] > 0
    assert not any(shown_better(p) for n, p in by_name.items() if n != "frozen")


def test_one_sudden_change_is_found_within_its_batches_and_the_others_pay(tmp_path):
    changed = 8  # weeks
    frame = streams.Stream(days=22 * 7, change_on=changed * 7).frame()
    how = "no gate, trailing 14 days"  # what was before the change is no longer true
    often, found = f"every 1 week, {how}", f"on decay, {how}"
    facts, by_name = replayed(tmp_path, frame, "frozen", found, often)
    on_decay, frozen = by_name[found], by_name["frozen"]
    first = next(t for t in on_decay["tried"] if t["reason"] == "decayed")
    weeks = (pd.Timestamp(first["as_of"]) - streams.START) / pd.Timedelta(days=7)
    assert weeks == changed + 1  # it is severe: the first batch that is wrong tells
    assert shown_better(on_decay)
    assert on_decay["loss"] - frozen["loss"] < 0.7 * (by_name[often]["loss"] - frozen["loss"]) < 0
    assert on_decay["retrains"] <= 4
    assert on_decay["cost_s"] < by_name[often]["cost_s"] / 2
    assert not on_decay["dominated"]  # every week is a little better, at five times the cost
    assert facts["recommended"] != "frozen"
    assert frozen["decayed_days"] > 60 > on_decay["decayed_days"]


def test_a_season_with_a_stable_relation_is_neither_drift_nor_decay(tmp_path):
    frame = streams.Stream(days=20 * 7, per_day=160, season=0.8).frame()
    on_drift = "on drift, no gate, trailing 28 days"
    facts, by_name = replayed(tmp_path, frame, "frozen", on_drift, "on decay")
    assert by_name[on_drift]["retrains"] <= 1
    assert not shown_better(by_name[on_drift])
    assert by_name["on decay"]["retrains"] == 0
    assert by_name[facts["recommended"]]["cost_s"] == 0


@dataclass(frozen=True)
class Alternating(streams.Stream):
    """Groups a and b for some weeks, then c for some, with another relation, and back: a concept that comes again."""

    weeks: int = 6

    def frame(self):
        found = super().frame()
        day = (found["t"] - streams.START).dt.days.to_numpy()
        there = (day // (7 * self.weeks)) % 2 == 1
        rng = np.random.default_rng(self.seed + 1)
        found["group"] = np.where(there, "c", rng.choice(["a", "b"], size=len(found)))
        odds = np.where(there, -1, 1) * (2.0 * found["x"] + 1.5 * np.sign(found["x"] * found["z"]))
        found["y"] = (rng.random(len(found)) < 1 / (1 + np.exp(-odds))).astype(int)
        return found


WINDOWS = "every 2 weeks, no gate, {expanding, trailing 28 days}"


def trailing_less_expanding(facts):
    """What the trailing window loses more than the expanding one, on the same rows."""
    ((_, trailing),) = (sweep["values"] for sweep in facts["sweeps"])
    return trailing["against_first"]


def test_a_concept_that_comes_again_is_remembered_by_an_expanding_window(tmp_path):
    facts, _ = replayed(tmp_path, Alternating(days=30 * 7).frame(), "frozen", WINDOWS)
    apart = trailing_less_expanding(facts)
    assert apart["difference"] > 0.1
    assert apart["low"] > 0


def test_of_a_sensor_that_slowly_goes_wrong_a_trailing_window_forgets_what_it_said(tmp_path):
    frame = streams.Stream(days=26 * 7).frame()
    weeks = (frame["t"] - streams.START) / pd.Timedelta(days=7)
    frame["x"] += 0.3 * (weeks - 6).clip(lower=0)  # it says more and more; the label follows what it should say
    facts, by_name = replayed(tmp_path, frame, "frozen", WINDOWS)
    assert trailing_less_expanding(facts)["high"] < 0
    assert shown_better(by_name["every 2 weeks, no gate, trailing 28 days"])
