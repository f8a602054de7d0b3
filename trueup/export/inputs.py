"""The inputs of a bundle: how each column of the graph's input comes from a row, and how derived ones are defined."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trueup.adapters.onnx.form import Form, Input
from trueup.config.sections.features import FeaturesConfig
from trueup.domain.features.history import definitions
from trueup.export.manifest import InputFacts


def input_facts(
    form: Form, features: FeaturesConfig, function: str | None, units: Mapping[str, str]
) -> tuple[InputFacts, ...]:
    """The facts about each input of a form, in order.

    `features` are those that the version was trained on, `function` is the digest of the module with the custom function,
    `units` are the units by input. Inputs that the config does not name come from the custom function.
    """
    sources = _sources(features)
    custom = {"of": "custom", "definition": {"function": features.custom, "module_sha256": function}}
    return tuple(
        InputFacts(**_common(column, form.infinite, units), **sources.get(column.name, custom))
        for column in form.inputs
    )


def _sources(features: FeaturesConfig) -> dict[str, dict[str, Any]]:
    """Where each feature that the config names comes from."""
    sources: dict[str, dict[str, Any]] = {name: {"of": "numeric"} for name in features.numeric}
    sources |= {name: {"of": "categorical"} for name in features.categorical}
    for column, parts in features.calendar.items():
        sources |= {f"{column}_{part}": {"of": "calendar", "column": column, "part": part} for part in parts}
    named = definitions(features.history).items()
    return sources | {name: {"of": "history", "definition": definition} for name, definition in named}


def _common(column: Input, infinite: bool, units: Mapping[str, str]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": column.name,
        "kind": column.kind,
        "dtype": column.dtype,
        "missing": None if math.isnan(column.missing) else column.missing,
        "unknown": None if math.isnan(column.unknown) else column.unknown,
        "infinite": infinite and column.kind == "number",
    }
    facts |= {"categories": column.categories} if column.kind == "category" else {}
    return facts | ({"unit": units[column.name]} if column.name in units else {})
