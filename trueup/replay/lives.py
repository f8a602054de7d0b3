"""What a policy came to, kept in its home: a policy that has lived through a history is not asked to do so again."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from trueup.adapters import frames
from trueup.replay.play import Life, Tried
from trueup.replay.policies import Policy

_FACTS, _LOSSES, _PROGRESS = "life.json", "life.parquet", "progress"


def keep(life: Life, home: Path) -> None:
    """Write it down, the facts last: they say that it is whole."""
    frames.write(frames.to_table(life.losses), home / _LOSSES, durable=False)
    facts = {
        "tried": [{**asdict(t), "as_of": t.as_of.isoformat()} for t in life.tried],
        "looks": life.looks,
    }
    with frames.whole(home / _FACTS, durable=False) as file:
        file.write(json.dumps(facts).encode())


def kept(policy: Policy, home: Path) -> Life | None:
    """What was written down, or None."""
    if not (home / _FACTS).exists():
        return None
    facts = json.loads((home / _FACTS).read_text())
    tried = [Tried(**{**t, "as_of": datetime.fromisoformat(t["as_of"])}) for t in facts["tried"]]
    return Life(policy, frames.to_pandas(frames.read(home / _LOSSES)), tried, facts["looks"])


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
