"""What a policy came to, kept in its home: a policy that has lived through a history is not asked to do so again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from trueup import files
from trueup.adapters import parquet
from trueup.config.policies import Policy
from trueup.domain.records import from_json, to_plain
from trueup.replay.policy_run import Life, Look, Tried

_FACTS, _LOSSES, _PROGRESS = "life.json", "life.parquet", "progress"


@dataclass(frozen=True)
class _Facts:
    """A life without its losses."""

    tried: list[Tried]
    looks: list[Look]


def keep(life: Life, home: Path) -> None:
    """Write it down, the facts last: they say that it is whole."""
    parquet.write(parquet.to_table(life.losses), home / _LOSSES, durable=False)
    files.write_text(home / _FACTS, json.dumps(to_plain(_Facts(life.tried, life.looks))))


def ended(home: Path) -> bool:
    """Whether a life there came to its end, and was written down."""
    return (home / _FACTS).exists()


def kept(policy: Policy, home: Path) -> Life:
    """What was written down of a life that has ended."""
    facts = from_json(_Facts, (home / _FACTS).read_text())
    losses = parquet.to_pandas(parquet.read(home / _LOSSES))
    return Life(policy, losses, facts.tried, facts.looks)


def note_progress(home: Path, done: int, of: int) -> None:
    """Say how far it is."""
    (home / _PROGRESS).write_text(f"{done} {of}")


def progress(home: Path) -> float:
    """The share that is done."""
    try:
        done, of = map(int, (home / _PROGRESS).read_text().split())
        return done / of
    except (OSError, ValueError):
        return 0.0
