"""Verify the ledger: its chain, the anchors outside of its table, MLflow's aliases, and the files that it names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trueup.config.schema import ModelConfig
from trueup.errors import RegistryUnavailable, UntrustedModel
from trueup.export.verify import CheckedBundle, check_bundle
from trueup.home import Home
from trueup.ledger.anchors import Anchor, AnchorFile, Place, departures
from trueup.ledger.entries import Entry
from trueup.ledger.record import Fitted
from trueup.ledger.signing import exposed
from trueup.ledger.verify import Problem
from trueup.model import Model

ANCHORS = "ledger.anchors"  # the file in the home
_EXPERIMENT = "trueup"  # MLflow's, on which the head is a tag


def tag_of(identity: str) -> str:
    """The name of MLflow's tag that holds a home's anchor."""
    return f"trueup.ledger.{identity}"


class _Tag:
    """A tag in MLflow, which holds the newest anchor of this home."""

    def __init__(self, home: Home) -> None:
        self._ports, self._key = home, tag_of(home.identity)

    @property
    def name(self) -> str:
        return f"MLflow's tag {self._key}"

    def anchors(self) -> list[Anchor]:
        anchor = Anchor.read(self._ports.tracking.noted(_EXPERIMENT, self._key) or "")
        return [] if anchor is None else [anchor]

    def write(self, anchor: Anchor) -> None:
        if not any(stored.seq >= anchor.seq for stored in self.anchors()):
            self._ports.tracking.note(_EXPERIMENT, self._key, anchor.text())


@dataclass(frozen=True)
class Verified:
    """The number of things that `verify` checked, and the problems."""

    entries: int
    anchors: int
    models: int  # with their files compared with the digests in the ledger
    problems: tuple[Problem, ...]
    bundles: tuple[CheckedBundle, ...] = ()

    @property
    def right(self) -> bool:
        """Whether there is no problem, in the home or in a bundle."""
        return not self.problems and not any(bundle.problems for bundle in self.bundles)


def anchor(home: Home) -> None:
    """Write the ledger's head to every place. Idempotent. Raises RegistryUnavailable, OSError.

    No anchor is written during a backup: the next run writes a newer one.
    """
    with home.alone_with_anchors() as alone:
        if not alone or not (newest := home.ledger.entries(limit=1)):
            return
        for place in _places(home):
            place.write(Anchor(newest[0].seq, newest[0].hash))


def verify(configs: Mapping[str, ModelConfig], home: Home, bundles: Sequence[Path] = ()) -> Verified:
    """Check chain, signatures, anchors, the aliases in MLflow, and the files of every version that an entry names.

    `bundles` are folders or archives to check, too. Raises UsageError if one does not exist.
    """
    checked = tuple(check_bundle(place, home) for place in bundles)
    entries, places = home.ledger.entries(), _places(home)
    named = {e.body.model.uri: (e, e.body.model) for e in entries if e.body.model}
    problems = [
        *home.ledger.verify(),
        *_key(home, entries),
        *departures(places, entries),
        *(p for c in configs.values() for p in _alias(Model(c, home))),
        *(p for entry, made in named.values() for p in _files(entry, made, home)),
    ]
    anchors = sum(len(place.anchors()) for place in places)
    return Verified(len(entries), anchors, len(named), tuple(sorted(problems, key=lambda p: p.seq)), checked)


def _key(home: Home, entries: list[Entry]) -> Iterator[Problem]:
    """Whether another account could have signed."""
    s = home.settings
    elsewhere = (s.ledger_key, s.ledger_key_file, s.ledger_public_keys)
    if entries and not any(elsewhere) and (exposure := exposed(home.root)) is not None:
        yield Problem(entries[-1].seq, f"is signed with a key that is not secret: {exposure}")


def _places(home: Home) -> list[Place]:
    elsewhere = home.settings.ledger_anchor
    files = [AnchorFile(home.root / ANCHORS), *([AnchorFile(elsewhere)] if elsewhere else [])]
    return [*files, _Tag(home)]


def _alias(model: Model) -> Iterable[Problem]:
    if (current := model.home.ledger.champion(model.config.model)) is None:
        return
    alias = model.home.registry.champion_alias(model.config.registered_name)
    if alias != current.version:
        named = "nothing" if alias is None else f"version {alias}"
        yield Problem(
            current.entry.seq,
            f"made version {current.version} the champion of {model.config.model}, but MLflow's alias names {named}; "
            "`trueup reconcile` sets it right",
        )


def _files(entry: Entry, made: Fitted, home: Home) -> Iterator[Problem]:
    """Whether a version's files still have the recorded digest."""
    try:
        home.registry.check(made.uri, made.manifest_digest)
    except (UntrustedModel, RegistryUnavailable) as error:
        yield Problem(entry.seq, f"names version {made.version} of {made.name}, but its files are not right: {error}")
