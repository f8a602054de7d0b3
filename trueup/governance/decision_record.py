"""The parts of a decision's record; `stages.promote.promote` adds verdicts and reasons and writes the entry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from trueup.adapters.git import code_facts
from trueup.config.durations import write_duration
from trueup.config.schema import ModelConfig
from trueup.domain.data.digest import config_digest, digest_of, policy_digest
from trueup.domain.events import ModelDecayed, ModelStale, interval
from trueup.domain.judging.metrics import loss_name
from trueup.domain.learning.training_windows import reference_window
from trueup.domain.records import to_plain
from trueup.domain.types import Window
from trueup.handoffs import Attempt, Candidate, Evaluation, Exported, OnnxForm, Trained, Weighed
from trueup.home import Home
from trueup.ledger.form_record import ExportRecord, FormRecord
from trueup.ledger.record import (
    Announced,
    Cutoff,
    Data,
    Diagnosed,
    Epochs,
    Evaluated,
    EvidenceRecord,
    Fitted,
    Governance,
    Input,
    Labels,
    Made,
    Record,
    Rows,
    Serving,
    Slice,
    Trigger,
    ValidatedBatch,
    Validation,
)
from trueup.model import Champion, Model

REQUEST = "request"  # the kind of a trigger with a person behind it
_TRIGGER_KINDS = {"automation": "event", "schedule": "schedule", "person": REQUEST, "process": REQUEST}
_TOPICS = {"decayed": ModelDecayed.topic, "stale": ModelStale.topic}


def circumstances(model: Model, asked_by: str | None = None) -> Record:
    """The parts of every record: the actor, the rules and the code in force, and the governance section of the config.

    `asked_by` is the person who requested it, if that is another than the caller.
    """
    actor = model.home.actor
    return Record(
        actor=replace(actor, name=asked_by) if asked_by else actor,
        config_digest=config_digest(model.config),
        policy_digest=policy_digest(model.config),
        code={**code_facts(model.home.configs), "seed": model.config.train.seed},
        governance=governance(model.config),
        retention=model.config.retention.model_dump(mode="json"),
    )


def governance(config: ModelConfig) -> Governance:
    """The governance section of the config."""
    return Governance(about=config.about, **config.governance.model_dump(mode="json"))


def trigger(model: Model, attempt: Attempt) -> Trigger:
    """The reason of a retrain, with the diagnosis at that moment and the event that announced it, if any."""
    look, _ = model.decisive_look(attempt.as_of)
    event, diagnosis = None, None
    if look is not None:
        announced = [
            message
            for message in model.home.ledger.announced(model.config.model, _TOPICS.get(attempt.reason, ""))
            if message.payload["batch"] == interval(look.window)
        ]
        if announced:
            last = announced[-1]
            event = Announced(id=last.event_id, topic=last.topic, announced_at=last.created_at)
        diagnosis = Diagnosed(
            name=look.body.diagnosis,
            reasons=look.body.reasons,
            start=look.window.start,
            end=look.window.end,
            as_of=look.as_of,
        )
    return Trigger(
        reason=attempt.reason,
        kind="loop" if attempt.in_loop else _TRIGGER_KINDS[model.home.actor.kind],
        as_of=attempt.as_of,
        asked_at=attempt.asked_at,
        event=event,
        diagnosis=diagnosis,
    )


def previous(current: Champion | None) -> Serving | None:
    """The champion at the time of a decision."""
    if current is None:
        return None
    return Serving(version=current.version, manifest_digest=current.manifest_digest, epoch=current.epoch)


def epochs(expected: int, promoted: bool) -> Epochs:
    """The epoch of the champion that was judged against, and the one that the decision leads to."""
    return Epochs(expected=expected, resulting=expected + promoted)


def evidence(model: Model, attempt: Attempt, served: Candidate | None) -> Record:
    """The parts about how a challenger was made and judged; empty if no challenger was trained."""
    if attempt.trained is None or attempt.evaluation is None or attempt.judged is None:
        return Record()
    refitted = attempt.refitted.trained if attempt.refitted and served and served.role == "refitted" else None
    trained, judged = refitted or attempt.trained, attempt.judged
    inputs = [
        Input.model_validate({k: v for k, v in i.plain().items() if v is not None}) for i in attempt.trained.inputs
    ]
    exported = _exported(model.config, attempt)
    return (Record() if exported is None else Record(export=exported)) | Record(
        model=_model(model, trained, attempt.evaluation, (served or judged).version),
        judged=_made(model.home, attempt.trained, judged.version),
        refit=None if attempt.refitted is None else attempt.refitted.verdict,
        gate=attempt.trained.gate,
        attempt=attempt.digest,
        inputs=inputs,
        data=_data(model.config, attempt, attempt.trained, attempt.evaluation, inputs),
        validation=_validation(model, inputs),
        search=to_plain(attempt.trained.search),
        evaluation=_evaluation(model, attempt.evaluation),
        evidence=_weighed(model, attempt.evaluation.weighed),
    )


def _exported(config: ModelConfig, attempt: Attempt) -> ExportRecord | None:
    """The ONNX forms; None without `export`, or if the gates decided before a form was checked."""
    if config.export is None or attempt.exported is None:
        return None
    refit = attempt.refitted.exported if attempt.refitted else None
    return ExportRecord(
        format=config.export.format,
        required=config.export.required,
        judged=_form(attempt.exported),
        **({} if refit is None else {"refit": _form(refit)}),
    )


def _form(exported: Exported) -> FormRecord:
    made = exported.form or OnnxForm()
    return FormRecord(sha256=made.sha256, bytes=made.bytes, seconds=exported.seconds, verdicts=exported.verdicts)


def _weighed(model: Model, weighed: Weighed) -> EvidenceRecord:
    return EvidenceRecord(
        against=weighed.against,
        loss=loss_name(model.config.task),
        path=weighed.path,
        digest=model.home.store.evaluation_digest(weighed.path),
        block=model.config.evaluate.block.total_seconds(),
        start=weighed.start,
        end=weighed.end,
        rows=weighed.rows,
        folds=[Cutoff(start=start, trained_until=until) for start, until in weighed.folds],
        earlier=weighed.earlier,
        attempt=weighed.attempt,
        burden=weighed.burden,
        changed=weighed.changed,
        contender=weighed.contender,
        missing=weighed.missing,
    )


def _model(model: Model, trained: Trained, evaluation: Evaluation, version: int) -> Fitted:
    from trueup.adapters.mlflow.model_files import FORMAT

    return Fitted(
        name=model.config.registered_name,
        format=FORMAT,
        recipe=trained.recipe,
        features=model.config.features.model_dump(mode="json"),
        method=evaluation.weighed.method,
        **_made(model.home, trained, version).plain(),
    )


def _made(home: Home, trained: Trained, version: int) -> Made:
    return Made(
        version=version,
        uri=trained.uri,
        manifest_digest=trained.manifest_digest,
        run_id=trained.run_id,
        baseline_path=trained.baseline_path,
        baseline_digest=home.store.evaluation_digest(trained.baseline_path),
        trained_from=trained.train.start,
        trained_until=trained.trained_until,
        rows=trained.rows,
        data_digest=trained.data_digest,
        gone=trained.gone,
    )


def _training(trained: Trained, read: Rows) -> Rows:
    """The rows of the training: those read here, or for a model from elsewhere those that the sender recorded."""
    if trained.received is None:
        return read
    return Rows(start=trained.train.start, end=trained.train.end, rows=trained.rows, digest=trained.data_digest)


def _data(
    config: ModelConfig, attempt: Attempt, trained: Trained, evaluation: Evaluation, inputs: Iterable[Input]
) -> Data:
    """The windows that the challenger was trained and judged on and compared over, each with count and digest."""
    label, delay = config.ingest.label, config.ingest.label.known_after

    def rows(window: Window, count: int | None) -> Rows:
        read = sorted([i.dataset, i.sha256] for i in inputs if i.window.overlaps(window))
        return Rows(start=window.start, end=window.end, rows=count, digest=digest_of(read))

    return Data(
        training=_training(trained, rows(trained.train, trained.rows)),
        gate=rows(trained.gate, evaluation.rows),
        reference=rows(reference_window(trained.gate.start, config.monitor.decay), evaluation.reference_rows),
        overlap=next((v for v in attempt.verdicts if v.check == "overlap"), None),
        label=Labels(
            column=label.column,
            known_after=None if delay is None else write_duration(delay),
            known_at=label.known_at,
        ),
    )


def _validation(model: Model, inputs: Iterable[Input]) -> Validation:
    """How each batch that was read had been judged, and a digest over these judgements in full."""
    read = {(i.window, i.revision) for i in inputs}
    batches = [
        ValidatedBatch(
            start=window.start,
            end=window.end,
            revision=revision,
            status=body["status"],
            quarantined=body["quarantined"],
            digest=digest_of(body),
        )
        for (window, revision), body in sorted(model.validation_results(dict).items(), key=lambda item: item[0])
        if (window, revision) in read
    ]
    return Validation(digest=digest_of([b.digest for b in batches]), batches=batches)


def _evaluation(model: Model, evaluation: Evaluation) -> Evaluated:
    return Evaluated(
        loss=loss_name(model.config.task),
        rows=evaluation.rows,
        path=evaluation.path,
        digest=model.home.store.evaluation_digest(evaluation.path),
        sample_path=evaluation.sample_path,
        sample_digest=model.home.store.evaluation_digest(evaluation.sample_path),
        predicted=evaluation.predicted,
        classes=evaluation.classes,
        feature_schema=evaluation.schema,
        metrics=evaluation.metrics,
        intervals=evaluation.intervals,
        skill=evaluation.skill,
        slices=[Slice(**vars(s)) for s in evaluation.slices],
        ablation=evaluation.ablation,
    )
