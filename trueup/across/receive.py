"""Receives a model that another environment trained: checks the bundle, judges the model here, and decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from trueup.across.bundle import BASELINE, Parcel, open_parcel, require_loadable
from trueup.across.receipt import write_receipt
from trueup.adapters.onnx import ONNX_FILE
from trueup.config.own_code import source_digest
from trueup.config.sections.features import FeaturesConfig
from trueup.config.settings import Settings
from trueup.domain.learning.learning import class_names
from trueup.domain.learning.training_windows import Hold, gate_of_received
from trueup.domain.types import Window
from trueup.errors import Busy, NotEnoughData, UsageError, WorkError
from trueup.governance.approval import upkeep
from trueup.governance.probation import carry_out
from trueup.governance.rollouts import require_none
from trueup.handoffs import Attempt, Decided, OnnxForm, Trained, baseline_name
from trueup.home import HOME_TAG
from trueup.ledger.entries import Entry
from trueup.ledger.signing import verifier
from trueup.loop.decide import judge_and_decide
from trueup.loop.following.followed import concluded
from trueup.loop.following.listeners import followed
from trueup.loop.turn import Steps, up_to_date
from trueup.model import Model
from trueup.online.publish import publish_after_turn
from trueup.online.rollout import check
from trueup.stages.promote import received_decision
from trueup.stages.train import inputs_of, matured_span, without_labels

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


@dataclass(frozen=True)
class Received:
    """A bundle that was judged, now or before."""

    model: str
    sender: str  # its environment, or else the id of its key
    sent_version: int
    outcome: str
    reasons: tuple[str, ...]
    version: int | None  # in this registry
    sequence: int
    again: bool  # it had been decided before, and was not judged again
    receipt: str


def opened_parcel(place: Path, settings: Settings, model: str | None = None) -> Parcel:
    """Open a bundle by the keys that TRUEUP_SENDERS names. Nothing is written.

    Raises UsageError without such keys or without a bundle there, WorkError for a bundle that is not right, or not about
    `model` if that is given.
    """
    if (believed := verifier(settings.senders, "TRUEUP_SENDERS")) is None:
        raise UsageError(
            "TRUEUP_SENDERS names no key, so no bundle is believed; set it to the public key of the sender, which "
            "`trueup ledger key` prints there"
        )
    parcel = open_parcel(place, believed)
    if model is not None and parcel.manifest.model != model:
        raise WorkError(f"{place}: nothing was received: it is about {parcel.manifest.model}, not about {model}")
    return parcel


def receive(do: Steps, model: Model, place: Path, parcel: Parcel, as_of: datetime, receipt: Path) -> Received:
    """Judge a received model on the newest rows here, promote, hold or reject it, and write the receipt.

    The data is first brought up to `as_of`. The rows are from after the training of the model and of the champion. A
    bundle that was promoted, rejected or proposed before is not judged again. Raises UsageError if the config does not
    allow it or a rollout is under way, WorkError if model and config do not fit together, and Busy during a retrain.
    """
    _require_allowed(model)
    fitted = require_loadable(place, parcel)
    if problems := list(_mismatches(model, parcel)):
        raise WorkError(f"{place}: nothing was received: {'; '.join(problems)}")
    before = received_decision(model, parcel.origin)
    decided = _decided_before(before) if before else _judged(do, model, parcel, fitted, as_of)
    entry = before or model.home.ledger.entry(decided.sequence or 0)
    assert entry is not None
    write_receipt(model.home, entry, parcel.origin, receipt)
    return Received(
        model.config.model,
        parcel.origin.place,
        parcel.manifest.version,
        decided.outcome,
        decided.reasons,
        decided.version,
        entry.seq,
        before is not None,
        str(receipt),
    )


def _require_allowed(model: Model) -> None:
    if model.config.promote.across != "bundle":
        raise UsageError(
            f"{model.config.model}: `promote.across` is {model.config.promote.across}, so it is trained here and none is received; "
            "set `promote.across: bundle` in the config, or in the overrides of this environment"
        )


def _decided_before(entry: Entry) -> Decided:
    return Decided(entry.kind, entry.body.reasons, entry.body.version, entry.seq)  # type: ignore[arg-type]  # ours


def _mismatches(model: Model, parcel: Parcel) -> Iterator[str]:
    """What differs between the model and this project, so that it could not predict here what it predicts there."""
    config, manifest, body = model.config, parcel.manifest, parcel.entry.challenge
    own = model.home.ledger.entry(parcel.entry.seq)
    if own is not None and own.hash == parcel.entry.hash:
        yield "it was sent from this home; receive it in another environment"
    pairs = (
        ("task", manifest.task.value, config.task.value),
        ("ingest.timezone", manifest.timezone, config.ingest.timezone),
        ("ingest.label.column", body.data.label.column, config.ingest.label.column),
    )
    for name, there, here in pairs:
        if there != here:
            yield f"{name} is {there} there and {here} here; use the same commit of the project on both sides"
    if FeaturesConfig.model_validate(body.model.features) != config.features:
        yield "it was trained on other `features` than this config has; use the same commit of the project on both sides"
    elif (custom := config.features.custom) is not None and source_digest(
        custom, model.home.configs
    ) != manifest.function:
        yield f"the code of {custom} is another one here; use the same commit of the project on both sides"


def _judged(do: Steps, model: Model, parcel: Parcel, fitted: Pipeline, as_of: datetime) -> Decided:
    with followed(do, model, "receive", as_of) as do:
        return concluded(do, _followed(do, model, parcel, fitted, as_of))


def _followed(do: Steps, model: Model, parcel: Parcel, fitted: Pipeline, as_of: datetime) -> Decided:
    upkeep(model)
    carry_out(model)
    check(model, as_of)
    up_to_date(do, model, as_of)
    attempt = Attempt("received", as_of, received=parcel.origin, asked_at=model.home.now())
    with model.home.retraining(model.config.model) as alone:
        if not alone:
            raise Busy(f"{model.config.model}: a retrain is at work; receive the bundle again when it has ended")
        if (before := received_decision(model, parcel.origin)) is not None:  # by another, just now
            return _decided_before(before)
        require_none(model)
        gate = _gate(model, parcel, as_of)
        if isinstance(gate, Hold):
            decided = do.promote(model, replace(attempt, hold=gate.reason))
        else:
            try:
                decided = judge_and_decide(do, model, attempt, _adopted(model, parcel, fitted, gate, as_of))
            except NotEnoughData as few:
                decided = do.promote(model, replace(attempt, hold=str(few)))
    publish_after_turn(model)
    return decided


def _gate(model: Model, parcel: Parcel, as_of: datetime) -> Window | Hold:
    """The rows that judge the model, or why there are none yet."""
    if (matured := matured_span(model, as_of)) is None:
        return without_labels(model, as_of)
    current = model.champion()
    seen = [parcel.entry.challenge.model.trained_until, *([current.trained_until] if current else [])]
    return gate_of_received(matured, max(seen), model.config.promote, model.config.evaluate.block)


def _adopted(model: Model, parcel: Parcel, fitted: Pipeline, gate: Window, as_of: datetime) -> Trained:
    """Put the model's files and the sample of its training rows into this home, beside a run of its own."""
    made, name, origin = parcel.entry.challenge.model, model.config.model, parcel.origin
    tags = {
        HOME_TAG: model.home.identity,
        "trueup.as_of": as_of.isoformat(),
        "trueup.gate": str(gate),
        "trueup.received_from": origin.key_id,
        "trueup.received_version": origin.version,
    }
    run_id = model.home.tracking.start(name, f"received {as_of:%Y-%m-%d}", tags)
    with model.home.tracking.closing_on_error(run_id), TemporaryDirectory(prefix="trueup-parcel-") as private:
        parcel.write_model(Path(private))
        logged = model.home.registry.adopt(Path(private), made.manifest_digest, model.config.task, run_id)
        baseline = model.home.store.adopt_evaluation(baseline_name(logged.manifest_digest), parcel.contents[BASELINE])
        model.home.tracking.log(run_id, params={"family": made.recipe.family, "seed": made.recipe.seed})
    return Trained(
        recipe=made.recipe,
        train=Window(made.trained_from, made.trained_until),
        gate=gate,
        trained_until=made.trained_until,
        rows=made.rows,
        data_digest=made.data_digest,
        uri=logged.uri,
        manifest_digest=logged.manifest_digest,
        run_id=run_id,
        baseline_path=baseline,
        inputs=inputs_of(model, None, gate, as_of),
        classes=class_names(model.config.task, fitted),
        gone=made.gone,
        form=_form(parcel.contents.get(ONNX_FILE)),
        received=origin,
    )


def _form(graph: bytes | None) -> OnnxForm | None:
    return None if graph is None else OnnxForm(sha256(graph).hexdigest(), len(graph))
