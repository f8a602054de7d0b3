"""The champion, as the ledger tells it: which version serves, and what its promotion recorded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from trueup.config.schema import ModelConfig
from trueup.domain.diagnosis import Skill
from trueup.domain.learning import Model, Recipe
from trueup.ledger.entries import Champion as InOffice
from trueup.stages.ports import Ports


@dataclass(frozen=True)
class Champion:
    """A version that serves or served, and the record of its promotion."""

    version: int
    epoch: int
    uri: str
    manifest_digest: str
    promoted_as_of: datetime
    trained_from: datetime
    trained_until: datetime
    recipe: Recipe
    baseline_path: str  # a sample of its training rows
    evaluation_path: str  # what it said about the gate rows when it was judged
    gate_skill: Skill | None  # its paired skill there; None where the reference made no error

    def load(self, ports: Ports) -> Model:
        """The fitted pipeline, its files checked against the ledger. Raises UntrustedModel."""
        return ports.registry.load(self.uri, self.manifest_digest)


def champion(config: ModelConfig, ports: Ports) -> Champion | None:
    """The version in office, or None before the first promotion."""
    found = ports.ledger.champion(config.model)
    return None if found is None else _from_record(found)


def champion_at(config: ModelConfig, ports: Ports, as_of: datetime) -> Champion | None:
    """The version that was in office at a moment of the model's own clock."""
    found = ports.ledger.champion_at(config.model, as_of)
    return None if found is None else _from_record(found)


def first_champion(config: ModelConfig, ports: Ports) -> Champion | None:
    """The first version ever in office."""
    found = ports.ledger.champion(config.model, epoch=1)
    return None if found is None else _from_record(found)


def _from_record(found: InOffice) -> Champion:
    model, measured = found.entry.body["model"], found.entry.body["evaluation"]["skill"]
    return Champion(
        version=found.version,
        epoch=found.epoch,
        uri=model["uri"],
        manifest_digest=found.manifest_digest,
        promoted_as_of=found.entry.as_of,
        trained_from=datetime.fromisoformat(model["trained_from"]),
        trained_until=datetime.fromisoformat(model["trained_until"]),
        recipe=Recipe.from_dict(model["recipe"]),
        baseline_path=model["baseline_path"],
        evaluation_path=found.entry.body["evaluation"]["path"],
        gate_skill=None if measured is None else Skill.from_dict(measured),
    )
