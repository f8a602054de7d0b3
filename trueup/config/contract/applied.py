"""The data contract that a config names: its rules become expectations of the config."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trueup.config.content import items, written
from trueup.config.contract.document import read_contract, table_of
from trueup.config.contract.rules import expectations, is_checked
from trueup.config.rules import Mistake, inputs, meant
from trueup.config.sections.validation import ExpectationConfig
from trueup.errors import ConfigError

_AT = ("ingest", "contract")


def with_contract(content: dict[str, Any], configs: Path) -> tuple[dict[str, Any], tuple[Mistake, ...]]:
    """A config's content with the rules of its contract among its expectations, and the mistakes of the contract.

    Only rules about columns that the config uses count, and only those that it does not check already: so the content
    of a recorded config stays the same when it is read again.
    """
    named = written(content, *_AT)
    if not isinstance(named, str):
        return content, ()
    path, key = configs / named, [name for _, name in items(content, "ingest", "key") if isinstance(name, str)]
    time, model = written(content, "ingest", "time"), str(written(content, "model"))
    try:
        contract = read_contract(path)
        table = table_of(contract, path, model, [*key, *([time] if isinstance(time, str) else [])])
    except ConfigError as error:
        return content, tuple(Mistake(_AT, f"{named}: {problem}") for problem in error.problems)
    label = {written(content, "ingest", "label", name) for name in ("column", "known_at")}
    used = {name for _, name in inputs(content, configs) if isinstance(name, str)} - label
    rules, _ = expectations(table, used, [*key, time])
    own, missing = _own(content), meant(content, "validate", "max_missing") or {}
    more = [rule.model_dump(exclude_defaults=True) for rule in rules if not is_checked(rule, own, missing)]
    return (_with_expectations(content, more) if more else content), ()


def _own(content: Mapping[str, Any]) -> list[ExpectationConfig]:
    """The expectations of the config that have no mistakes."""
    found = []
    for _, declared in items(content, "validate", "expectations"):
        with suppress(ValidationError):
            found.append(ExpectationConfig.model_validate(declared))
    return found


def _with_expectations(content: dict[str, Any], more: list[dict[str, Any]]) -> dict[str, Any]:
    validate = content.get("validate", {})
    listed = validate.get("expectations", []) if isinstance(validate, Mapping) else None
    if not isinstance(listed, list):
        return content  # a mistake, which is reported as it is
    return {**content, "validate": {**validate, "expectations": [*listed, *more]}}
