"""The search finds, repeats itself, passes over what fails, and stops where it should."""

import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest

from trueup.adapters.optuna import search
from trueup.config.sections.training import TrainConfig
from trueup.config.tasks import Task
from trueup.domain.data.digest import digest_of
from trueup.domain.learning.learning import defaults, space
from trueup.domain.learning.recipe import Recipe
from trueup.errors import ClusterFailed, ConfigError, TrainingFailed

ALL = ["gradient_boosting", "linear", "forest"]


def config(**changes):
    return TrainConfig(**{"families": ["linear"], "trials": 8, **changes})


def valley(recipe):
    """Lowest at C = 0.01, the same on both folds."""
    yield from [1 + abs(math.log10(recipe.parameters["C"]) + 2)] * 2


def test_finds_the_valley():
    found = search(valley, config(trials=25), Task.BINARY)
    assert 0.003 < found.recipe.parameters["C"] < 0.03
    assert found.value == min(t.value for t in found.trials if t.state == "complete")
    assert (found.stopped_by, len(found.trials)) == ("trials", 25)


def test_same_scores_lead_to_the_same_result_and_the_seed_matters():
    one, same, other = (search(valley, config(seed=s), Task.BINARY) for s in (3, 3, 4))
    assert one == same
    assert one.trials != other.trials
    assert one.recipe.seed == 3


def test_begins_with_the_defaults_of_each_family():
    found = search(lambda _: [1.0], config(families=ALL, trials=4), Task.BINARY)
    begun = [(t.family, t.parameters) for t in found.trials[:3]]
    assert begun == [(f, defaults(f, Task.BINARY)) for f in ALL]


def test_begins_with_the_champions_recipe():
    champion = Recipe("forest", {**defaults("forest", Task.BINARY), "max_depth": 9}, seed=77)
    found = search(lambda _: [1.0], config(families=ALL, trials=3, seed=5), Task.BINARY, first=champion)
    assert found.trials[0].family == "forest"
    assert found.trials[0].parameters == champion.parameters
    assert found.recipe == Recipe("forest", champion.parameters, seed=5)  # of equal ones the first


def test_a_champion_outside_of_todays_space_is_brought_within():
    champion = Recipe("linear", {"C": 1e6, "gone": 1})
    found = search(lambda _: [1.0], config(trials=1), Task.BINARY, first=champion)
    assert found.recipe.parameters == defaults("linear", Task.BINARY)


def test_a_champion_of_a_family_left_out_gives_way_to_the_defaults():
    found = search(lambda _: [1.0], config(trials=1), Task.BINARY, first=Recipe("forest", {}))
    assert found.recipe == Recipe("linear", defaults("linear", Task.BINARY))


def test_fixed_parameters_stay():
    fixed = {"gradient_boosting": {"max_iter": 33, "max_bins": 63}}
    train = config(families=["gradient_boosting"], parameters=fixed, trials=6)
    champion = Recipe("gradient_boosting", {**defaults("gradient_boosting", Task.BINARY), "max_iter": 99})
    found = search(lambda r: [r.parameters["learning_rate"]], train, Task.BINARY, first=champion)
    assert {(t.parameters["max_iter"], t.parameters["max_bins"]) for t in found.trials} == {(33, 63)}
    assert len({t.parameters["learning_rate"] for t in found.trials}) == 6


def test_all_that_is_tried_lies_within_the_space():
    found = search(lambda _: [1.0], config(families=ALL, trials=15), Task.REGRESSION)
    for trial in found.trials:
        for name, varied in space(trial.family, Task.REGRESSION).items():
            assert trial.parameters[name] in varied


def test_failures_are_recorded_and_passed_over():
    asked = []

    def score(recipe):
        asked.append(recipe)
        if len(asked) == 1:
            raise MemoryError("too deep")
        yield math.nan if len(asked) == 2 else 0.5

    found = search(score, config(trials=4), Task.BINARY)
    assert [t.state for t in found.trials] == ["failed", "failed", "complete", "complete"]
    assert [t.error for t in found.trials[:2]] == ["MemoryError: too deep", "ValueError: the loss on fold 1 is nan"]
    assert found.recipe == asked[2]


def test_all_failing_says_why():
    def score(_recipe):
        raise RuntimeError("no labels")
        yield

    with pytest.raises(
        TrainingFailed, match=r"none of 3 recipes .* RuntimeError: no labels; check train.parameters"
    ) as info:
        search(score, config(trials=3), Task.BINARY)
    assert isinstance(info.value.__cause__, RuntimeError)


def test_no_fold_is_a_failure():
    with pytest.raises(TrainingFailed, match="no fold had a loss"):
        search(lambda _: [], config(trials=1), Task.BINARY)


def test_a_hopeless_trial_is_asked_for_no_further_fold():
    folds_asked = []

    def score(_recipe):
        good = len(folds_asked) < 3
        folds_asked.append(0)
        for _ in range(4):
            folds_asked[-1] += 1
            yield 1.0 if good else 2.0

    found = search(score, config(trials=5), Task.BINARY)
    assert folds_asked == [4, 4, 4, 1, 1]
    assert [t.state for t in found.trials[3:]] == ["pruned", "pruned"]
    assert found.trials[4].value is None


def test_seconds_are_a_ceiling_and_one_trial_is_always_made():
    def slow(_recipe):
        time.sleep(0.02)
        yield 1.0

    found = search(slow, config(trials=50, max_seconds=0.001), Task.BINARY)
    assert (len(found.trials), found.stopped_by) == (1, "seconds")
    assert found.seconds >= 0.02


def test_unknown_fixed_parameters_are_a_mistake_in_the_config():
    with pytest.raises(ConfigError, match=r"train.parameters.linear.depth: LogisticRegression has no such parameter"):
        search(valley, config(parameters={"linear": {"depth": 1}}), Task.BINARY)


def test_is_quiet_and_leaves_optunas_log_as_it_was(capfd, caplog):
    before = optuna.logging.get_verbosity()
    with caplog.at_level(logging.DEBUG):
        search(valley, config(trials=2), Task.BINARY)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")


class TestTogether:
    """Trials that are chosen together: the number decides, not what runs them."""

    train = staticmethod(lambda **changes: config(families=ALL, trials=14, folds=2, **changes))

    @staticmethod
    def score(recipe):
        """Two folds; the second tells another story, and one recipe in five fails."""
        number = int(digest_of(recipe.parameters)[:6], 16)
        if number % 5 == 0:
            raise ValueError(f"unlucky {number}")
        yield from (number % 97, number % 89)

    def test_they_are_those_of_any_order_and_of_threads(self):
        def backwards(function, group):
            return [*map(function, reversed(group))][::-1]

        train = self.train(trials_at_once=4)
        one = search(self.score, train, Task.BINARY)
        assert {t.state for t in one.trials} == {"complete", "pruned", "failed"}
        assert search(self.score, train, Task.BINARY, together=backwards) == one
        with ThreadPoolExecutor(4) as threads:
            assert search(self.score, train, Task.BINARY, together=threads.map) == one

    def test_the_number_decides(self):
        one, four = (search(self.score, self.train(trials_at_once=k), Task.BINARY) for k in (1, 4))
        assert [t.parameters for t in one.trials] != [t.parameters for t in four.trials]
        assert len(one.trials) == len(four.trials) == 14

    def test_one_at_a_time_is_what_it_was_before_there_were_groups(self):
        trials = search(self.score, self.train(), Task.BINARY).trials
        assert " ".join(t.state[0] for t in trials) == "c c c f p p p c f p p c f c"
        assert " ".join(t.family[0] for t in trials) == "g l f l l f f f g g f f l l"

    def test_a_cluster_that_fails_is_no_failed_trial(self):
        def score(_recipe):
            raise ClusterFailed("no workers")
            yield

        with pytest.raises(ClusterFailed, match="no workers"):
            search(score, self.train(), Task.BINARY)
