"""Everything that a nightly job checks: ledger and files, packages, lock, approvals, and models no longer retrained."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trueup.audit import overdue, packages
from trueup.audit.finding import Finding, Unchecked
from trueup.audit.verify import Verified, verify
from trueup.config.load import load_model, model_names
from trueup.config.schema import ModelConfig
from trueup.errors import TrueupError
from trueup.home import Home
from trueup.model import Model

LEDGER, CONFIG = "ledger and files", "config"


@dataclass(frozen=True)
class Audited:
    """What an audit found, what it could not check, and what it looked at."""

    findings: tuple[Finding, ...]
    unchecked: tuple[Unchecked, ...]
    models: int
    entries: int
    packages: int

    @property
    def title(self) -> str:
        """The result in a line."""
        count = len(self.findings)
        what = "no findings" if not count else f"{count} finding{'' if count == 1 else 's'}"
        open_ = f", {len(self.unchecked)} not checked" if self.unchecked else ""
        return f"trueup audit: {what}{open_}"


def audit(home: Home, project: Path, service: str | None = None) -> Audited:
    """Check everything, and return all findings at once. Nothing is written.

    `project` is the folder with the lock and pyproject.toml, `service` another advisory service.
    """
    configs, results = dict[str, ModelConfig](), list[Finding | Unchecked]()
    for name in model_names(home.configs):
        try:
            configs[name] = load_model(home.configs, name)
        except TrueupError as error:
            results.append(Finding(CONFIG, str(error), f"trueup check {name}", name))
    verified = _ledger(configs, home)
    results += [verified] if isinstance(verified, Unchecked) else _of_ledger(verified)
    for config in configs.values():
        results += _of_model(Model(config, home))
    results += packages.holes(project, service, home.now().date())
    results += packages.drift(project)
    return Audited(
        findings=tuple(r for r in results if isinstance(r, Finding)),
        unchecked=tuple(r for r in results if isinstance(r, Unchecked)),
        models=len(configs),
        entries=0 if isinstance(verified, Unchecked) else verified.entries,
        packages=len(packages.installed()),
    )


def _ledger(configs: dict[str, ModelConfig], home: Home) -> Verified | Unchecked:
    try:
        return verify(configs, home)
    except TrueupError as error:
        return Unchecked(LEDGER, str(error))


def _of_ledger(verified: Verified) -> Iterator[Finding]:
    for problem in verified.problems:
        yield Finding(LEDGER, str(problem), "trueup ledger verify; a backup may have what was changed")


def _of_model(model: Model) -> list[Finding | Unchecked]:
    try:
        retrained = overdue.retrains(model)
        return [*overdue.approvals(model), *overdue.stopped(model), *([retrained] if retrained else [])]
    except TrueupError as error:
        return [Unchecked(overdue.RETRAINS, f"{model.config.model}: {error}", model.config.model)]


def in_markdown(audited: Audited, environment: str) -> str:
    """The result as Markdown: a title in the first line, then each finding.

    What comes from data, names and errors is in fenced blocks, where no issue tracker reads links, mentions or markup.
    """
    where = f" in {environment}" if environment else ""
    parts = [f"# {audited.title.replace('trueup audit', f'trueup audit{where}')}"]
    for finding in audited.findings:
        parts.append(f"## {finding.check}\n\n{_fenced(f'{_of(finding.model)}{finding.what}', f'next: {finding.step}')}")
    if audited.unchecked:
        parts.append("## not checked")
        parts += [_fenced(f"{each.check}: {each.why}") for each in audited.unchecked]
    parts.append(
        f"Checked: {audited.entries:,} ledger entries, {audited.models:,} models, {audited.packages:,} packages."
    )
    return "\n\n".join(parts) + "\n"


def _of(model: str | None) -> str:
    return "" if model is None else f"{model}: "


def _fenced(*lines: str) -> str:
    """A fenced block that its content cannot end."""
    body = "\n".join(lines)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", body)), default=0))
    return f"{fence}text\n{body}\n{fence}"
