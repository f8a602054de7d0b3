"""A model's data contract: written from its config and its batches, and compared with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from trueup.adapters.great_expectations import validation
from trueup.config import yaml_text
from trueup.config.contract.document import Contract, Table, read_contract, table_of
from trueup.config.contract.rules import columns_of, expectations
from trueup.config.rules import Mistake
from trueup.config.schema import ModelConfig
from trueup.config.sections.validation import ExpectationConfig, ValidateConfig
from trueup.domain.contract.differences import Finding, data_differences, differences
from trueup.domain.contract.write import Learned, contract_of
from trueup.domain.types import Batch
from trueup.errors import ConfigError
from trueup.model import Model


@dataclass(frozen=True)
class Compared:
    """A comparison: the findings, the batch whose rows were checked, and the rules that other programs have to check."""

    model: str
    contract: str
    table: str
    findings: list[Finding]
    batch: str | None
    not_checked: list[str]


def write_contract(model: Model) -> str:
    """The text of a model's contract."""
    batch, facts = _newest(model), model.landed_facts()
    stored = {} if batch is None else model.home.store.types(batch.rows)
    return yaml_text.write(contract_of(model.config, Learned(facts.kinds, stored, facts.outcomes)), None, 120)


def compare(model: Model, path: Path) -> Compared:
    """Compare a contract with a model's config, its source and its newest landed batch. Raises ConfigError, SourceError."""
    contract, table = _read(model.config, path)
    findings = differences(model.config, contract, table)
    findings += data_differences(table, model.home.source(model.config).columns(), model.landed_facts().kinds)
    batch = _newest(model)
    landed = [] if batch is None else model.home.store.columns(batch.rows)
    always = [*model.config.ingest.key, model.config.ingest.time]
    rules, others = expectations(table, landed or model.config.input_columns, always)
    unknown = {number for number, _ in _unknown(rules)}
    others += [f"{table.name}: {rules[number].type}" for number in sorted(unknown)]
    if batch is not None:
        findings += _broken(model, batch, table, [r for number, r in enumerate(rules) if number not in unknown])
    name = None if batch is None else str(batch.window)
    return Compared(model.config.model, str(path), table.name, findings, name, others)


def contradictions(model: Model, columns: list[str]) -> list[Mistake]:
    """What a config and its source have otherwise than the contract that it names: mistakes for `trueup check`."""
    if (named := model.config.ingest.contract) is None:
        return []
    at = ("ingest", "contract")
    try:
        contract, table = _read(model.config, model.home.configs / named)
    except ConfigError as error:
        return [Mistake(at, f"{named}: {problem}") for problem in error.problems]
    found = [*differences(model.config, contract, table), *data_differences(table, columns, model.landed_facts().kinds)]
    return [Mistake(at, str(finding)) for finding in found]


def _read(config: ModelConfig, path: Path) -> tuple[Contract, Table]:
    contract = read_contract(path)
    return contract, table_of(contract, path, config.model, [*config.ingest.key, config.ingest.time])


def _newest(model: Model) -> Batch | None:
    return max(model.batches(datetime.max), key=lambda b: b.window, default=None)


def _unknown(rules: list[ExpectationConfig]) -> Iterator[tuple[int, str]]:
    """Positions of rules that Great Expectations does not have or cannot read, each with the reason."""
    for mistake in validation.problems(dict(enumerate(rules))):
        if isinstance(mistake.at[2], int):
            yield mistake.at[2], mistake.what


def _broken(model: Model, batch: Batch, table: Table, rules: list[ExpectationConfig]) -> Iterator[Finding]:
    """The rules that the rows of a batch break."""
    if not rules:
        return
    judged = model.config.model_copy(update={"validation": ValidateConfig(expectations=rules, min_rows=1)})
    result = validation.check(model.home.store.landed_rows(batch.rows), judged, batch.rows.facts)
    asked = {(rule.type, tuple(columns_of(rule))) for rule in rules}
    for done in result.checks:
        columns = columns_of(ExpectationConfig(type=done.type, kwargs=done.kwargs))
        if done.success or not done.ran or (done.type, tuple(columns)) not in asked:
            continue
        at = ".".join([table.name, *columns[:1]])
        count = done.figures.get("unexpected_count")
        rows = f" in {count:,} rows" if count else ""
        yield Finding(
            "data", at, f"the batch {batch.window} breaks {done.expectation}{rows}; correct the data or the contract"
        )
