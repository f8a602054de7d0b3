"""The champion, as the ledger tells it: which version serves, and what its promotion recorded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sklearn.pipeline import Pipeline

from trueup.config.schema import FeaturesConfig
from trueup.domain.data.types import Batch
from trueup.domain.learning.learning import Recipe
from trueup.domain.monitoring.diagnosis import Skill
from trueup.errors import RegistryUnavailable
from trueup.home import Home
from trueup.ledger.entries import PROMOTION, ChampionRecord, Entry
from trueup.model import Model


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
    features: FeaturesConfig  # those it was trained on; the config's may have changed since
    baseline_path: str  # a sample of its training rows
    evaluation_path: str  # what it said about the gate rows when it was judged
    gate_skill: Skill | None  # its paired skill there; None where the reference made no error
    method: dict[str, str]  # digests of what makes it the kind of model that it is, see `walk.method`
    put_by: str  # the kind of the entry that put it there: promoted, rolled_back, override

    def lacks(self, home: Home, batch: Batch) -> list[str]:
        """Columns that this version is made of and that a batch does not have: without them it cannot predict it."""
        return sorted(set(self.features.columns) - set(home.store.columns(batch.rows)))

    def load(self, home: Home) -> Pipeline:
        """The fitted pipeline, its files checked against the ledger. Raises UntrustedModel."""
        return home.registry.load(self.uri, self.manifest_digest)


def champion(model: Model) -> Champion | None:
    """The version in office, or None before the first promotion."""
    found = model.home.ledger.champion(model.config.model)
    return None if found is None else _from_record(found)


def champion_at(model: Model, as_of: datetime) -> Champion | None:
    """The version that was in office at a moment of the model's own clock."""
    found = model.home.ledger.champion_at(model.config.model, as_of)
    return None if found is None else _from_record(found)


def first_champion(model: Model) -> Champion | None:
    """The first version ever in office."""
    found = model.home.ledger.champion(model.config.model, epoch=1)
    return None if found is None else _from_record(found)


def succession(model: Model) -> list[Champion]:
    """Everyone who was ever in office, in the order of their epochs; a version that came back stands there again."""
    return [_from_record(in_office(e)) for e in model.home.ledger.entries(model.config.model) if PROMOTION in e.body]


def in_office(entry: Entry) -> ChampionRecord:
    """The champion that an entry made."""
    p = entry.body[PROMOTION]
    return ChampionRecord(entry.model, p["epoch"], p["version"], p["manifest_digest"], entry)


def align(model: Model) -> None:
    """Set the registry's alias to what the ledger says. Doing it twice changes nothing.

    The ledger is read under a lock that is held until the alias is written: else one who read it before a newer
    decision could write after that decision's own writer. Raises RegistryUnavailable when another writer hangs.
    """
    with model.home.aligning(model.config.model) as alone:
        if not alone:
            raise RegistryUnavailable(
                f"{model.config.model}: another process has been writing the champion's alias for a minute, so MLflow hardly "
                "answers; the decision stands in the ledger, and the next run sets the alias"
            )
        found = model.home.ledger.champion(model.config.model)
        if found is not None and not model.home.registry.alias_agrees(model.config.registered_name, found.version):
            model.home.registry.set_champion_alias(model.config.registered_name, found.version)


def _from_record(found: ChampionRecord) -> Champion:
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
        features=FeaturesConfig.model_validate(model["features"]),
        baseline_path=model["baseline_path"],
        evaluation_path=found.entry.body["evaluation"]["path"],
        gate_skill=None if measured is None else Skill.from_dict(measured),
        method=model.get("method") or {},
        put_by=found.entry.kind,
    )
