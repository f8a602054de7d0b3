"""The search for a recipe: Optuna's tree-structured Parzen estimator over the families' spaces.

Seeded and in memory, so the same scores lead to the same recipe. Trials are chosen in groups of `train.trials_at_once`;
nothing in a group depends on another trial of it, so they may run in any order and anywhere. Only the time limit depends
on the machine, and the result records when it was reached.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol

from trueup.config.sections.training import Family, Parameters, TrainConfig
from trueup.config.tasks import Task
from trueup.domain.learning.learning import defaults, problems, space
from trueup.domain.learning.recipe import Choice, Float, Int, Recipe, Space, Trial
from trueup.errors import ClusterFailed, ConfigError, TrainingFailed

# The loss of a recipe on each fold; a pruned trial stops early.
Score = Callable[[Recipe], Iterable[float]]

Tried = tuple[Trial, Exception | None]


class Together(Protocol):
    """Calls a function with each argument, in turn or at the same time; returns the results in the arguments' order."""

    def __call__(self, function: Callable[[Any], Tried], arguments: Iterable[Any], /) -> Iterable[Tried]: ...


_BEFORE_PRUNING = 3  # complete trials needed for a median


@dataclass(frozen=True)
class SearchResult:
    """The recipe with the lowest mean loss over the folds, and all that was tried."""

    recipe: Recipe
    value: float
    trials: tuple[Trial, ...]
    stopped_by: Literal["trials", "seconds"]
    seconds: float = field(compare=False)


def search(
    score: Score, train: TrainConfig, task: Task, first: Recipe | None = None, together: Together = map
) -> SearchResult:
    """Find the recipe with the lowest mean loss over the folds.

    `first`, the champion's recipe, is tried first, limited to `train.families`, the fixed parameters and the spaces;
    then each family's defaults. A trial that raises, or has a loss that is not finite, is recorded as failed. A trial
    with a mean above the median of the earlier ones is stopped (the median stopping rule of Golovin et al. 2017).
    `train.max_seconds` is checked between groups of trials; one is always made. `together` runs the trials of a group.
    What it runs is compared with the trials of earlier groups only, so the result does not depend on it.

    Raises ConfigError for fixed parameters that do not exist, TrainingFailed if every trial failed, and ClusterFailed
    from `score`, which is no trial's fault.
    """
    if mistakes := problems(train.parameters, task, train.families):
        raise ConfigError("train", [str(m) for m in mistakes])
    started = time.monotonic()
    done: list[Trial] = []
    cause: Exception | None = None
    with _quiet_study(train, task, first) as study:
        while len(done) < train.trials and (not done or time.monotonic() - started <= train.max_seconds):
            # Each gets its values before the next is chosen, which keeps away from them.
            group = [
                (proposal := study.ask(), _suggest(proposal, train, task))
                for _ in range(min(train.trials_at_once, train.trials - len(done)))
            ]
            for (proposal, _), (trial, error) in zip(group, list(together(partial(_try, score), group)), strict=True):
                _finish(study, proposal, trial)
                done.append(trial)
                cause = error or cause
    value, _, best = min(((t.value, t.number, t) for t in done if t.value is not None), default=(math.nan, 0, None))
    if best is None:
        raise TrainingFailed(
            f"none of {len(done)} recipes could be fitted and scored; the last error: {done[-1].error}; check "
            "train.parameters, and that the training rows have labels and features"
        ) from cause
    return SearchResult(
        recipe=Recipe(best.family, best.parameters, train.seed),
        value=value,
        trials=tuple(done),
        stopped_by="trials" if len(done) == train.trials else "seconds",
        seconds=round(time.monotonic() - started, 3),
    )


@contextmanager
def _quiet_study(train: TrainConfig, task: Task, first: Recipe | None) -> Iterator[Any]:
    """Make a study with its first trials, without Optuna's log of every trial."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        starts = _starts(train, task, first)
        by_chance = max(len(starts), _BEFORE_PRUNING, train.trials // 3)  # TPE needs a few trials first
        study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(
                seed=train.seed, n_startup_trials=by_chance, constant_liar=train.trials_at_once > 1
            ),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_BEFORE_PRUNING),
        )
        for start in starts:
            study.enqueue_trial(start)
        yield study
    finally:
        optuna.logging.set_verbosity(before)


def _starts(train: TrainConfig, task: Task, first: Recipe | None) -> list[Parameters]:
    """The first trials' parameters under Optuna's names: of `first`, then the defaults of each family."""

    def start(family: Family, parameters: Parameters) -> Parameters:
        chosen = {
            f"{family}.{name}": parameters[name] if parameters.get(name) in varied else varied.default
            for name, varied in _varied(train, family, task).items()
        }
        return {"family": family, **chosen}

    starts = [start(first.family, first.parameters)] if first is not None and first.family in train.families else []
    starts += [start(family, {}) for family in train.families]
    return [s for number, s in enumerate(starts) if s not in starts[:number]]


def _varied(train: TrainConfig, family: Family, task: Task) -> Space:
    """The parameters of a family that the search may vary: its space without those fixed in the config."""
    fixed = train.parameters.get(family, {})
    return {name: varied for name, varied in space(family, task).items() if name not in fixed}


def _suggest(proposal: Any, train: TrainConfig, task: Task) -> Recipe:
    family: Family = proposal.suggest_categorical("family", train.families)
    chosen = {name: _draw(proposal, f"{family}.{name}", v) for name, v in _varied(train, family, task).items()}
    return Recipe(family, {**defaults(family, task), **chosen, **train.parameters.get(family, {})}, train.seed)


def _draw(proposal: Any, name: str, varied: Float | Int | Choice) -> Any:
    if isinstance(varied, Choice):
        return proposal.suggest_categorical(name, varied.values)
    suggest = proposal.suggest_int if isinstance(varied, Int) else proposal.suggest_float
    return suggest(name, varied.low, varied.high, log=varied.log)


def _try(score: Score, chosen: tuple[Any, Recipe]) -> Tried:
    """Score a recipe fold by fold, until it is done, pruned, or failed."""
    (proposal, recipe), folds = chosen, list[float]()

    def ended(state: Literal["complete", "pruned", "failed"], **more: Any) -> Trial:
        return Trial(proposal.number, recipe.family, recipe.parameters, state, folds, **more)

    try:
        for loss in score(recipe):
            if not math.isfinite(loss):
                raise ValueError(f"the loss on fold {len(folds) + 1} is {loss}")
            folds.append(float(loss))
            proposal.report(sum(folds) / len(folds), len(folds))
            if proposal.should_prune():
                return ended("pruned"), None
        if not folds:
            raise ValueError("no fold had a loss")
    except ClusterFailed:
        raise
    except Exception as error:  # any error is recorded with its trial; other recipes may work
        return ended("failed", error=f"{type(error).__name__}: {error}"), error
    return ended("complete", value=sum(folds) / len(folds)), None


def _finish(study: Any, proposal: Any, trial: Trial) -> None:
    from optuna.trial import TrialState

    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    study.tell(proposal, trial.value, state=states[trial.state])
