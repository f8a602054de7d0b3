"""Walks a challenger's recipe forward through the rows after the champion's training, and adds the recorded evidence.

Each fit learns from rows before its cut-off, with labels known by then, and is judged on the rows that follow. The last
cut-off is the challenger's own, followed by the gate window.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from trueup.adapters.git import code_facts
from trueup.config.own_code import source_digest
from trueup.config.schema import ModelConfig
from trueup.domain.data.digest import digest_of, unused
from trueup.domain.judging.bootstrap import Floats
from trueup.domain.judging.evidence import Evidence
from trueup.domain.judging.gates.context import CHALLENGER, CHAMPION, PRIOR, SIMPLE, Case
from trueup.domain.judging.gates.doubt import contender
from trueup.domain.judging.metrics import loss_name, row_losses
from trueup.domain.learning.learning import all_classes
from trueup.domain.learning.recipe import Recipe
from trueup.domain.types import Burden, Fold
from trueup.errors import NotEnoughData, WorkError
from trueup.handoffs import Trained, Weighed, evidence_name
from trueup.ledger.entries import Entry
from trueup.model import Champion, Model
from trueup.stages.baselines import declared, predict_beside, to_beat
from trueup.stages.features import Examples, examples, own_rows, reference_examples
from trueup.stages.train import fit_recipe, stand_in

ROLES = (CHALLENGER, CHAMPION, PRIOR, SIMPLE)
_ORIGIN = "origin"  # the key of the home that trained it; absent for a model of this home
_NOT_OF_THE_MODEL = {"min_history", "min_rows", "max_seconds"}  # settings of `train`


@dataclass(frozen=True, eq=False)
class Step:
    """One fold: the event times of its rows, each role's losses on them, and the end of the fit's training rows."""

    event_time: Any
    losses: Mapping[str, Floats]
    start: datetime
    trained_until: datetime


def steps(model: Model, trained: Trained, current: Champion | None, as_of: datetime) -> Iterator[Step]:
    """Fit the recipe at each earlier cut-off, and measure it, the champion and the baselines on the rows that follow.

    Cut-offs with too few known labels for a fit are left out.
    """
    if current is None:
        return
    champion = current.load(model.home) if trained.folds else None
    for fold in trained.folds:
        try:
            yield _step(model, trained, fold, current, champion, as_of)
        except NotEnoughData:
            continue


def _step(
    model: Model,
    trained: Trained,
    fold: Fold,
    current: Champion,
    champion: Pipeline | None,
    as_of: datetime,
) -> Step:
    learned = examples(model, fold.train, as_of, known_by=fold.judged.start)
    before = reference_examples(model, fold.judged.start, as_of)
    rows = examples(model, fold.judged, as_of)
    models = {
        CHALLENGER: fit_recipe(model.config, model.home.fits, trained.recipe, learned),
        **to_beat(model, before),
    }
    theirs = None
    if champion is not None:
        models[CHAMPION] = champion
        theirs = own_rows(model, current, rows, fold.judged, as_of)
    classes = all_classes(model.config.task, models.values(), rows.y)
    predictions = predict_beside(model, models, rows, theirs, classes)
    losses = {role: row_losses(model.config.task, rows.y, p, classes) for role, p in predictions.items()}
    return Step(rows.event_time, losses, fold.judged.start, learned.trained_until)


def gathered(config: ModelConfig, walked: list[Step], gate: Examples, losses: Mapping[str, Floats]) -> Evidence:
    """Sum the losses of all folds and of the gate rows."""
    roles = [role for role in losses if all(role in step.losses for step in walked)]
    parts = [*((s.event_time, s.losses) for s in walked), (gate.event_time, losses)]
    return Evidence.of(
        np.concatenate([np.asarray(time, dtype="datetime64[us]") for time, _ in parts]),
        {role: np.concatenate([losses_of[role] for _, losses_of in parts]) for role in roles},
        config.evaluate.block,
    )


def method(model: Model, recipe: Recipe) -> dict[str, str]:
    """Digest the family, features, config and code of a model: a challenger that differs in any of them is a change.

    The config includes `train.window` and `train.half_life`, which decide which rows count in a fit: a champion that was good
    with all history proves little about the same recipe on three weeks. The first challenger after such a change bears the
    burden of a change; the retrains after its promotion are routine. Settings that only decide whether a model is
    trained, or how long the search may take, are left out.
    """
    custom = model.config.features.custom
    facts = code_facts(model.home.configs)
    return {
        "family": recipe.family,
        "features": digest_of(model.config.features.model_dump(mode="json")),
        "config": digest_of(
            [
                model.config.train.model_dump(mode="json", exclude=_NOT_OF_THE_MODEL | unused(model.config.train)),
                model.config.ingest.label.model_dump(mode="json", exclude={"source"}),
            ]
        ),
        "code": digest_of(
            [
                custom and source_digest(custom, model.home.configs),
                facts["version.trueup"],
                facts["version.scikit-learn"],
            ]
        ),
    }


def burden(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[Burden, list[str]]:
    """Return what a challenger has to prove, and what changed since its champion was made.

    >>> burden({"family": "linear"}, {"family": "forest"})
    ('change', ['family'])
    """
    changed = [name for name, value in now.items() if name in then and then[name] != value]
    if then and then.get(_ORIGIN) != now.get(_ORIGIN):  # other data, even if all else is the same
        changed.append(_ORIGIN)
    return ("change" if changed else "routine"), changed


def attempts(model: Model, current: Champion | None) -> list[Entry]:
    """The decided attempts with evidence against a champion's artefact, oldest first, one for each training."""
    if current is None:
        return []
    loss, by_run = loss_name(model.config.task), dict[str, Entry]()
    for entry in model.home.ledger.entries(model.config.model):
        record, judged = entry.body.evidence, entry.body.judged
        if record and judged and (record.against, record.loss) == (current.manifest_digest, loss):
            by_run.setdefault(judged.run_id, entry)
    return list(by_run.values())


def with_record(model: Model, fresh: Evidence, earlier: list[Entry]) -> tuple[Evidence, str]:
    """Add the older rows of the newest earlier attempt, which include those of the attempts before it.

    Also returns the reason if they cannot be added, else "". Raises WorkError if the file is not the recorded one.
    """
    if not earlier:
        return fresh, ""
    record, judged = earlier[-1].body.evidence, earlier[-1].body.judged
    assert record is not None
    assert judged is not None
    digest = model.home.store.evaluation_digest(record.path)
    if digest is None:
        return fresh, f"the evidence of {len(earlier)} earlier attempts is gone ({record.path}), and does not count"
    if record.block != model.config.evaluate.block.total_seconds():
        return (
            fresh,
            f"the evidence of {len(earlier)} earlier attempts is in blocks of another length, and does not count",
        )
    if digest != record.digest:
        raise WorkError(
            f"{model.config.model}: the evidence of an earlier attempt, {record.path}, is not what entry {earlier[-1].seq} of "
            "the ledger recorded; see `trueup ledger verify`"
        )
    before = Evidence.from_frame(model.home.store.read_evaluation(record.path), fresh.block, record.earlier)
    return fresh.carrying(before, judged.run_id), ""


def weigh(
    model: Model,
    trained: Trained,
    gate: Examples,
    before: Examples,
    predictions: Mapping[str, Floats],
    classes: list[str] | None,
    compared: Champion | None,
    as_of: datetime,
) -> tuple[Weighed, Trained | None]:
    """Gather all evidence about a challenger, and replace it by a baseline that does better.

    `predictions` has those of the gate rows by role; `compared` is the champion. Returns the record of the evidence,
    and the baseline that takes the challenger's place, if one does.
    """
    y, roles = gate.y.to_numpy(), [role for role in predictions if role in ROLES]
    losses = {role: row_losses(model.config.task, y, predictions[role], classes) for role in roles}
    walked = list(steps(model, trained, compared, as_of))
    earlier = attempts(model, compared)
    # Older rows judged recipes that were fitted here. They say nothing about a model from elsewhere, nor its rows about them.
    own = [] if trained.received else [e for e in earlier if e.body.received is None]
    evidence, missing = with_record(model, gathered(model.config, walked, gate, losses), own)
    evidence = evidence.fading(model.config.promote.recency, trained.gate.end - trained.gate.start)
    case = Case(
        model.config.task, y, gate.event_time.to_numpy(), predictions, {}, {}, model.config.evaluate, classes=classes,
        seed=model.config.train.seed, walked=evidence,
    )  # fmt: skip
    # A policy without gates promotes every sound challenger, so none is replaced.
    # A model from elsewhere is judged as it is.
    replaceable = (model.config.promote.gates or compared is None) and not trained.received
    role = contender(case) if replaceable else CHALLENGER
    substitute = None
    if role != CHALLENGER:
        columns = declared(model.config, before.schema).names
        substitute = stand_in(model, trained, "simple" if role == SIMPLE else "prior", before, columns)
        evidence = evidence.standing_in(role, CHALLENGER)
        model.home.store.drop_evaluation(trained.baseline_path)  # of the replaced challenger
    now = method(model, (substitute or trained).recipe)
    now |= {_ORIGIN: trained.received.key_id} if trained.received else {}
    required, changed = burden(compared.method if compared else {}, now)
    weighed = Weighed(
        path=model.home.store.put_evaluation(evidence_name(trained.run_id), evidence.to_frame()),
        start=evidence.start,
        end=evidence.end,
        rows=int(evidence.rows.sum()),
        folds=tuple((step.start, step.trained_until) for step in walked),
        against=compared.manifest_digest if compared else None,
        earlier=evidence.attempts,
        attempt=len(earlier) + 1,
        burden=required,
        changed=tuple(changed),
        method=now,
        contender=role,
        missing=missing,
    )
    return weighed, substitute
