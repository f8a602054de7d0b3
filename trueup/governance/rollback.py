"""Rollback and override: another version is put into office, by a person or by a probation that failed.

Nothing is trained or judged here. The new entry carries what the ledger recorded of the version when it was judged, so
that scoring, monitoring and the next challenge find what they need.
"""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any, Literal

from trueup.config.schema import ModelConfig
from trueup.errors import StaleDecision, UsageError
from trueup.governance.approval import decided, named, person, reasoned, settle, standing
from trueup.governance.champion import Champion, align, champion, succession
from trueup.governance.decision_record import REQUEST, circumstances, epochs, previous
from trueup.governance.four_eyes import require_another, require_two
from trueup.governance.ledger_queries import judging_entry
from trueup.handoffs import Decided
from trueup.home import Ports
from trueup.ledger.entries import ChampionRecord, Decision, Entry, Promotion, of_decision

Kind = Literal["rolled_back", "override"]
_CARRIED = ("judged", "refit", "gate", "search", "evaluation", "inputs", "data", "validation")


def roll_back(
    config: ModelConfig,
    ports: Ports,
    to: int | None,
    by: str,
    why: str,
    figures: dict[str, Any] | None = None,
    asked_at: datetime | None = None,
) -> Decided:
    """Put the last good champion back into office, or the version named, and set the alias.

    The last good one is the newest in office before that was not itself rolled back. In the same words again it gives
    the recorded decision. `asked_at` (wall clock, with offset) is for who may ask again later, after others have decided:
    who came into office since is not the one that was meant. Raises UsageError when there is nobody to go back to, StaleDecision when the champion changed
    meanwhile, UntrustedModel when the old version's files are not what they were.
    """
    by, why = named(by), reasoned(why)
    current = _current(config, ports)
    if (same := _repeated(config, ports, "rolled_back", to, by, why)) is not None:
        align(config, ports)
        return decided(same)
    if asked_at is not None and (since := ports.ledger.champion(config.model)) and since.entry.recorded_at > asked_at:
        return _overtaken(ports, since, asked_at, by, why)
    version = to if to is not None else last_good(config, ports)
    if version is None:
        raise UsageError(
            f"{config.model}: there is no earlier champion to go back to from version {current.version}; name a "
            "registered version with --to, or train a new one with `trueup retrain`"
        )
    return _put(config, ports, "rolled_back", version, current, by, why, figures)


def override(config: ModelConfig, ports: Ports, version: int, by: str, why: str, asked_by: str = "") -> Decided:
    """Make a registered version the champion by hand, whatever its verdicts were, and set the alias.

    `asked_by` is who wanted it, where that is another than who decides; `four_eyes` demands it. Raises UsageError without
    that and for a version the ledger knows nothing about, StaleDecision, UntrustedModel.
    """
    by, why = named(by), reasoned(why)
    if (same := _repeated(config, ports, "override", version, by, why)) is not None:
        align(config, ports)
        return decided(same)
    eyes = require_two(config, version, by, asked_by.strip())
    if (judging := judging_entry(config, ports, version)) is not None:
        require_another(config, ports, judging, by)
    return _put(config, ports, "override", version, champion(config, ports), by, why, eyes=eyes)


def last_good(config: ModelConfig, ports: Ports) -> int | None:
    """The newest version that was in office before the current one and was not rolled back since it last came in."""
    terms, bad = succession(config, ports), set[int]()
    for before, after in pairwise(terms):
        if after.put_by == "rolled_back":
            bad.add(before.version)
        bad.discard(after.version)
    current = terms[-1].version if terms else None
    return next((t.version for t in reversed(terms) if t.version != current and t.version not in bad), None)


def _put(
    config: ModelConfig,
    ports: Ports,
    kind: Kind,
    version: int,
    current: Champion | None,
    by: str,
    why: str,
    figures: dict[str, Any] | None = None,
    eyes: dict[str, Any] | None = None,
) -> Decided:
    if current is not None and current.version == version:
        raise UsageError(f"{config.model}: version {version} is the champion already; nothing was changed")
    source, model = _evidence(config, ports, version)
    ports.registry.load(model["uri"], model["manifest_digest"])  # its files are checked, and that they load
    epoch = current.epoch if current else 0
    moment = standing(config, ports)
    reason = f"{'rolled back' if kind == 'rolled_back' else 'promoted by hand'} by {by}: {why}"
    body = {
        "outcome": kind,
        "reasons": [reason],
        "trigger": {"reason": "probation" if figures else "manual", "kind": "loop" if figures else REQUEST},
        "verdicts": [],
        "previous": previous(current),
        "epoch": epochs(epoch, promoted=True),
        **circumstances(config, ports, asked_by=(eyes or {}).get("asked_by")),
        "approver": person(ports, by, why, eyes),
        "model": model,
        "evidence_of": source.seq,
        **{key: source.body.get(key) for key in _CARRIED},
        **({"probation": figures} if figures else {}),
    }
    identity = f"{config.model}:{kind}:epoch {epoch + 1}:version {version}"
    entry = ports.ledger.append(
        Decision(
            decision_id=identity,
            model=config.model,
            kind=kind,
            as_of=moment,
            body=body,
            promotion=Promotion(version, model["manifest_digest"], epoch),
            events=of_decision(kind, identity, config.model, moment, version, [reason]),
        )
    )
    if entry.body["approver"]["name"] != by:
        raise StaleDecision(
            f"{config.model}: not needed any more (ledger entry {entry.seq}): {entry.body['reasons'][0]}"
        )
    settle(config, ports)
    align(config, ports)
    return decided(entry)


def _current(config: ModelConfig, ports: Ports) -> Champion:
    if (current := champion(config, ports)) is None:
        raise UsageError(f"{config.model} has no champion yet; next: trueup run {config.model}")
    return current


def _repeated(config: ModelConfig, ports: Ports, kind: Kind, version: int | None, by: str, why: str) -> Entry | None:
    """The entry that put the champion there, if it was this very decision: a retry must not go one version further."""
    found = ports.ledger.champion(config.model)
    if found is None or found.entry.kind != kind or version not in {None, found.version}:
        return None
    return found.entry if _said(found.entry) == (by, why) else None


def _said(entry: Entry) -> tuple[str, str]:
    """By whom, and why."""
    approver = entry.body["approver"]
    return approver["name"], approver["why"]


def _overtaken(ports: Ports, current: ChampionRecord, asked_at: datetime, by: str, why: str) -> Decided:
    """The rollback that was recorded before the present champion came, if it was this one. Raises StaleDecision."""
    for entry in reversed(ports.ledger.entries(current.model)):
        if entry.kind == "rolled_back" and entry.recorded_at > asked_at and _said(entry) == (by, why):
            return decided(entry)
    raise StaleDecision(
        f"{current.model}: version {current.version} came into office after this rollback was asked for (ledger entry "
        f"{current.entry.seq}); nothing was changed; ask again if it is to go, too"
    )


def _evidence(config: ModelConfig, ports: Ports, version: int) -> tuple[Entry, dict[str, Any]]:
    """The newest entry about a version, and the version's model section. Raises UsageError when there is none."""
    for entry in reversed(ports.ledger.entries(config.model)):
        model, judged = entry.body.get("model") or {}, entry.body.get("judged") or {}
        if model.get("version") == version:
            return entry, model
        if judged.get("version") == version:
            return entry, model | _judged_facts(config, ports, version, judged["manifest_digest"])
    known = ", ".join(str(v.version) for v in ports.registry.versions(config.registered_name)) or "none"
    raise UsageError(
        f"{config.model}: the ledger has no record of version {version} (registered: {known}), so nothing says what it "
        "was trained and judged on; name another, or train one with `trueup retrain`"
    )


def _judged_facts(config: ModelConfig, ports: Ports, version: int, manifest_digest: str) -> dict[str, Any]:
    """What tells a judged model from its refit. That it also keeps the refit's later end of training is the safe side."""
    found = next((v for v in ports.registry.versions(config.registered_name) if v.version == version), None)
    if found is None:
        raise UsageError(f"{config.model}: MLflow has no version {version} any more; name another")
    facts = {"version": version, "uri": found.uri, "run_id": found.run_id, "manifest_digest": manifest_digest}
    return facts | {"rows": int(found.tags["trueup.rows"]), "data_digest": found.tags["trueup.data_digest"]}
