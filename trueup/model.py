"""One model: a config in a home, with its batches, champion and results. Stage functions take a `Model`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from trueup.adapters.git import code_digest
from trueup.adapters.store.results import Result
from trueup.config.schema import ModelConfig
from trueup.config.sections.features import FeaturesConfig
from trueup.domain.data.clock import Span, at_most
from trueup.domain.data.digest import config_digest, digest_of
from trueup.domain.data.labels import oddities
from trueup.domain.data.outcome_values import LandedFacts
from trueup.domain.data.periods import period_of
from trueup.domain.data.values import ColumnKind
from trueup.domain.learning.recipe import Recipe
from trueup.domain.monitoring.diagnosis import DATA_BROKEN, UNKNOWN, Skill
from trueup.domain.monitoring.result import Look
from trueup.domain.types import KNOWN_AT, LABEL, ROW_ID, Batch, Status, Window
from trueup.errors import NoData
from trueup.handoffs import Checked, Validated
from trueup.home import Home
from trueup.ledger.entries import ChampionRecord, Entry

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

T = TypeVar("T")
VALIDATE, MONITOR, RUN = "validate", "monitor", "run"  # the stages that store results
READ = "read"  # and the records of what ingests have read
DEPENDENCIES = "dependencies"  # and of the packages and source columns of each turn
RETRAIN = "retrain"  # and of what retrains by themselves took, under the sequence of their decision
SILENT = frozenset({UNKNOWN, DATA_BROKEN})  # diagnoses without a statement about the champion


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
    features: FeaturesConfig  # the features it was trained on; the config's may have changed since
    baseline_path: str  # a sample of its training rows
    evaluation_path: str  # its predictions on the gate rows when it was judged
    sample_path: str  # features, labels and its predictions of some of them
    gate_skill: Skill | None  # its paired skill there; None if the reference made no error
    method: dict[str, str]  # digests of its family, features, config and code, see `walk.method`
    put_by: str  # the kind of the entry that put it there: promoted, rolled_back, override

    def lacks(self, home: Home, batch: Batch) -> list[str]:
        """Columns of this version that a batch does not have, so that it cannot predict the batch."""
        return sorted(set(self.features.columns) - set(home.store.columns(batch.rows)))

    def load(self, home: Home) -> Pipeline:
        """The fitted pipeline, its files checked against the ledger. Raises UntrustedModel."""
        return home.registry.load(self.uri, self.manifest_digest)


@dataclass(frozen=True)
class SourceRead:
    """What an ingest found in a source."""

    span: Span | None


@dataclass(frozen=True)
class Model:
    """A model's config, and the home that holds its data, its versions and its decisions."""

    config: ModelConfig
    home: Home

    def champion(self) -> Champion | None:
        """The version that serves, or None before the first promotion."""
        record = self.home.ledger.champion(self.config.model)
        return None if record is None else champion_of(record)

    def champion_at(self, as_of: datetime) -> Champion | None:
        """The version that served at `as_of`, or None."""
        record = self.home.ledger.champion_at(self.config.model, as_of)
        return None if record is None else champion_of(record)

    def first_champion(self) -> Champion | None:
        """The first version that ever served, or None."""
        record = self.home.ledger.champion(self.config.model, epoch=1)
        return None if record is None else champion_of(record)

    def succession(self) -> list[Champion]:
        """Every version that ever served, in the order of epochs; a version that came back is listed again."""
        return [
            champion_of(champion_record(e)) for e in self.home.ledger.entries(self.config.model) if e.body.promotion
        ]

    def batches(self, as_of: datetime) -> list[Batch]:
        """The newest landed revision of each window that ended by `as_of`, in time order."""
        labels = {ref.window: ref for ref in self.home.store.batches(self.config.labels_dataset)}
        rows = self.home.store.batches(self.config.rows_dataset)
        return [Batch(ref, labels[ref.window]) for ref in rows if ref.window.end <= as_of and ref.window in labels]

    def newest_complete(self) -> datetime:
        """End of the newest complete batch of the source: the data's own clock. Raises NoData for an empty source."""
        if (until := self.complete_until()) is None:
            raise NoData(
                f"{self.config.model}: the source holds no rows; check `ingest.source` with `trueup check {self.config.model}`"
            )
        return until

    def complete_until(self) -> datetime | None:
        """End of the newest complete batch of the source, None for an empty one.

        The period of the newest row counts as complete if that row is within the period's last day (the last hour for
        daily batches). Rows with an implausible or future time do not count.
        """
        read = self.read_before(self.reading_key())
        span = self.home.source(self.config).span() if read is None else read.body.span
        if span is None:
            return None
        newest = at_most(span.last, self.home.local_now(self.config), span.first)
        window = period_of(newest, self.config.ingest.period)
        slack = timedelta(hours=1) if self.config.ingest.period == "day" else timedelta(days=1)
        return window.end if newest >= window.end - slack else window.start

    def reading_key(self) -> str | None:
        """Digest of all that an ingest depends on; None if the source cannot know whether it was written.

        The code is part of it, because other code or packages may read the same source differently. Outcomes of a separate source may become known without any write, so there is none for them.
        """
        if self.config.label_reading is not None or (state := self.home.source(self.config).state()) is None:
            return None
        current = self.champion()
        epoch = None if current is None else current.epoch
        return digest_of([code_digest(), state, config_digest(self.config), epoch])

    def read_before(self, key: str | None) -> Result[SourceRead] | None:
        """The record of the last ingest, if it had the same key; its window is the newest batch that was landed then."""
        if key is None:
            return None
        listed = self.home.store.results(self.config.model, READ, NoneType)
        last = max(listed, key=lambda r: r.revision, default=None)
        if last is None or last.basis != key:
            return None
        records = self.home.store.results(self.config.model, READ, SourceRead, last.window)
        return next(r for r in records if r.revision == last.revision and r.basis == key)

    def remember_read(self, key: str | None, span: Span | None, newest: Window, as_of: datetime) -> None:
        """Record that an ingest is complete, unless the last one was the same."""
        if key is None or ((read := self.read_before(key)) is not None and read.window == newest):
            return
        listed = self.home.store.results(self.config.model, READ, NoneType)
        number = 1 + max((r.revision for r in listed), default=0)
        self.home.store.record(self.config.model, READ, newest, number, as_of, SourceRead(span), key)

    def landed_facts(self) -> LandedFacts:
        """The kinds of columns and the outcomes that the landings have fixed, from the last landing."""
        kinds: dict[str, ColumnKind] = _fact(self.home, self.config.rows_dataset, "kinds") or {}
        outcomes: list[str] | None = _fact(self.home, self.config.labels_dataset, "outcomes")
        return LandedFacts(kinds, None if outcomes is None else tuple(outcomes))

    def validated(self, batch: Batch) -> Checked | None:
        """The recorded validation of this revision by the current rules, or None."""
        return self.validations([batch]).get(batch.window)

    def validations(self, landed: list[Batch]) -> dict[Window, Checked]:
        """The recorded validation, by window, of each batch by the current rules."""
        recorded = self.validation_results(Validated, landed[0].window if len(landed) == 1 else None)
        of_batch = {b.window: (b, recorded.get((b.window, b.rows.revision))) for b in landed}
        judgements = self.home.store.judgements([batch.rows for batch, _ in of_batch.values()])
        return {
            window: checked_from(batch, validated)
            for (window, (batch, validated)), judgement in zip(of_batch.items(), judgements, strict=True)
            if validated is not None and validated.judgement == judgement
        }

    def validation_results(self, kind: type[T], window: Window | None = None) -> dict[tuple[Window, int], T]:
        """The newest result of the current rules for each window and revision."""
        basis = rules(self.config)
        recorded = self.home.store.results(self.config.model, VALIDATE, kind, window)
        return {(r.window, r.revision): r.body for r in recorded if r.basis == basis}

    def usable_batches(self, as_of: datetime) -> list[Batch]:
        """Validated batches that are not broken, in time order."""
        recorded = self.validation_results(Validated)
        return [
            b
            for b in self.batches(as_of)
            if (validated := recorded.get((b.window, b.rows.revision))) is not None and validated.status != Status.FAIL
        ]

    def looks(self) -> list[Result[Look]]:
        """All monitoring results, ordered by window and `as_of`, with the fields that later ones need."""
        return self.home.store.results(self.config.model, MONITOR, Look)

    def last_looks(self) -> dict[Window, Result[Look]]:
        """The newest result for each batch of the current champion: `revision` is what had landed by then, see `Batch`."""
        current = self.champion()
        version = current.version if current else None
        return {r.window: r for r in self.looks() if r.body.champion == version}

    def decisive_look(self, as_of: datetime) -> tuple[Result[Look] | None, datetime]:
        """The champion's newest monitoring result for the batch that decides, and the `as_of` of its first one there.

        Only results up to `as_of` count. A corrected batch is another batch.
        """
        if (current := self.champion()) is None:
            return None, as_of
        looks = [r for r in self.looks() if r.body.champion == current.version and r.as_of <= as_of]
        conclusive = [r for r in looks if r.body.diagnosis not in SILENT] or looks
        if not conclusive:
            return None, as_of
        decisive = max(conclusive, key=lambda r: (r.window, r.as_of))
        about = (decisive.window, decisive.revision)
        return decisive, min(r.as_of for r in looks if (r.window, r.revision) == about)

    def scored_labels(self, batch: Batch, as_of: datetime, role: str = "champion") -> pd.DataFrame:
        """The predictions that were served for a batch, with the newest labels known at `as_of`."""
        served = self.home.store.read_predictions(self.config.model, batch.window, role)
        if served.empty:
            return served
        labels = self.home.store.read(batch.labels, [ROW_ID, LABEL, KNOWN_AT])
        labels = labels[labels[KNOWN_AT] <= pd.Timestamp(as_of)]
        return served.merge(labels[[ROW_ID, LABEL]], on=ROW_ID, how="inner")


def champion_record(entry: Entry) -> ChampionRecord:
    """The champion that a ledger entry promoted."""
    promotion = entry.body.promotion
    assert promotion is not None
    return ChampionRecord(entry.model, promotion.epoch, promotion.version, promotion.manifest_digest, entry)


def rules(config: ModelConfig) -> str:
    """Digest of the validation rules of a batch: expectations, and the columns that must exist or be numeric."""
    judged_by = [config.validation.model_dump(mode="json"), config.input_columns, config.numeric_columns]
    return digest_of(judged_by)[:32]


def checked_from(batch: Batch, validated: Validated) -> Checked:
    """A validated batch, from its recorded result."""
    return Checked(
        batch,
        validated.status,
        validated.reasons,
        validated.quarantined,
        (*validated.warnings, *oddities(batch.labels.facts)),
        f"{validated.status} {validated.judgement[:32]}".strip(),
    )


def _fact(home: Home, dataset: str, name: str) -> Any:
    last = home.store.last(dataset)
    return None if last is None else last.facts.get(name)


def champion_of(record: ChampionRecord) -> Champion:
    """A version as champion, from the entry with its whole record."""
    body = record.entry.challenge
    model = body.model
    return Champion(
        version=record.version,
        epoch=record.epoch,
        uri=model.uri,
        manifest_digest=record.manifest_digest,
        promoted_as_of=record.entry.as_of,
        trained_from=model.trained_from,
        trained_until=model.trained_until,
        recipe=model.recipe,
        features=FeaturesConfig.model_validate(model.features),
        baseline_path=model.baseline_path,
        evaluation_path=body.evaluation.path,
        sample_path=body.evaluation.sample_path,
        gate_skill=body.evaluation.skill,
        method=model.method,
        put_by=record.entry.kind,
    )
