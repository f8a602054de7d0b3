"""Stores the result of a policy in its home, so that it is not played again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from trueup import files
from trueup.adapters import parquet
from trueup.config.policies import Policy
from trueup.domain.records import from_json, to_plain
from trueup.replay.policy_run import Look, PolicyRun, Tried

_FACTS, _LOSSES, _PROGRESS = "life.json", "life.parquet", "progress"
FILES = (_LOSSES, _FACTS)  # of a result, the mark of its end last


@dataclass(frozen=True)
class _Facts:
    """A policy's result without its losses."""

    tried: list[Tried]
    looks: list[Look]


def keep(run: PolicyRun, home: Path) -> None:
    """Store the result, the facts last: they mark it as complete."""
    parquet.write(parquet.to_table(run.losses), home / _LOSSES, durable=False)
    files.write_text(home / _FACTS, json.dumps(to_plain(_Facts(run.tried, run.looks))))


def ended(home: Path) -> bool:
    """Whether a policy was played to its end and stored."""
    return (home / _FACTS).exists()


def kept(policy: Policy, home: Path) -> PolicyRun:
    """The stored result of a finished policy."""
    facts = from_json(_Facts, (home / _FACTS).read_text())
    losses = parquet.to_pandas(parquet.read(home / _LOSSES))
    return PolicyRun(policy, losses, facts.tried, facts.looks)


def note_progress(home: Path, done: int, of: int) -> None:
    """Store the progress."""
    (home / _PROGRESS).write_text(f"{done} {of}")


def progress(home: Path) -> float:
    """The finished share."""
    try:
        done, of = map(int, (home / _PROGRESS).read_text().split())
        return done / of
    except (OSError, ValueError):
        return 0.0
