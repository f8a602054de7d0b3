"""Any version that the ledger knows, as the champion that it is, was or would be."""

from __future__ import annotations

from dataclasses import dataclass, replace

from trueup.errors import UsageError
from trueup.governance.ledger_queries import judging_entry, part_about
from trueup.ledger.entries import ChampionRecord, Entry
from trueup.model import Champion, Model, champion_of


@dataclass(frozen=True)
class Version:
    """A version, and the ledger entry in which it was judged."""

    made: Champion
    entry: Entry
    rows: int  # that it was trained on

    @property
    def number(self) -> int:
        """Its number in the registry."""
        return self.made.version

    @property
    def judged(self) -> int:
        """The version that predicted the gate rows: itself, or the one of which it is the refit."""
        return self.entry.challenge.judged.version

    @property
    def classes(self) -> list[str] | None:
        """The classes of the stored predictions of the gate rows, of a multiclass task."""
        return self.entry.challenge.evaluation.classes


def version_of(model: Model, number: int) -> Version:
    """A version by its number. Raises UsageError for one that no decision names."""
    entry = judging_entry(model, number)
    if entry is None:
        raise UsageError(
            f"{model.config.model}: no decision names version {number}; `trueup ledger show {model.config.model}` lists them"
        )
    part, record = part_about(entry, number), entry.challenge
    whole = ChampionRecord(entry.model, record.epoch.expected, number, part.manifest_digest, entry)
    made = replace(
        champion_of(whole),
        uri=part.uri,
        trained_from=part.trained_from,
        trained_until=part.trained_until,
        baseline_path=part.baseline_path,
    )
    return Version(made, entry, part.rows)
