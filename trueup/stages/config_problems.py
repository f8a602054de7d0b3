"""Mistakes of a config that only Great Expectations and scikit-learn can find.

Importing these takes seconds, so a config without other mistakes is checked where they are used anyway, before anything
is written. A config with other mistakes is checked completely at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from trueup.adapters.great_expectations import validation
from trueup.config.content import written
from trueup.config.load import Written, read
from trueup.config.rules import Mistake, meant
from trueup.config.schema import ModelConfig
from trueup.config.sections.training import Family, Parameters
from trueup.config.sections.validation import ExpectationConfig
from trueup.domain.learning import learning
from trueup.errors import ConfigError


def all_mistakes(config: Written) -> list[Mistake]:
    """Every mistake of a config."""
    task = meant(config.content, "task")
    fixed = [] if task is None else learning.problems(_fixed(config.content), task)
    return [*config.mistakes(), *fixed, *validation.problems(_declared(config.content))]


def refusal(configs: Path, name: str) -> ConfigError:
    """The error with every mistake of an invalid config."""
    config = read(configs, name)
    return config.refusal(all_mistakes(config))


def require_sound(config: ModelConfig, configs: Path, *, with_expectations: bool) -> None:
    """Refuse what a library would refuse later, after something was written. Raises ConfigError."""
    problems = learning.problems(config.train.parameters, config.task, config.train.families)
    if with_expectations:
        problems += validation.problems(dict(enumerate(config.validation.expectations)))
    if problems:
        raise read(configs, config.model).refusal(problems)


def _fixed(content: Mapping[str, Any]) -> dict[Family, Parameters]:
    parameters = {family: written(content, "train", "parameters", family) for family in get_args(Family)}
    return {f: {str(name): value for name, value in p.items()} for f, p in parameters.items() if isinstance(p, Mapping)}


def _declared(content: Mapping[str, Any]) -> dict[int, ExpectationConfig]:
    """The well-formed expectations, by their positions."""
    listed = written(content, "validate", "expectations")
    expectations = {}
    for position, declared in enumerate(listed if isinstance(listed, list) else ()):
        try:
            expectations[position] = ExpectationConfig.model_validate(declared)
        except ValidationError:
            continue  # the schema has reported it
    return expectations
