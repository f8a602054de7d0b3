"""The dossier of a version: all that is known of it, for somebody who has never seen the project; a page and JSON.

It is read from the ledger, the store and the registry each time it is made, and what has a digest in the ledger is
compared with it. What is gone is said to be gone. It decides nothing and is no evidence itself: the ledger is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd

from trueup.adapters import cyclonedx
from trueup.adapters.git import code_facts
from trueup.audit.dossiers import dossiers_folder, stem
from trueup.audit.rebuild_notes import last_rebuilt
from trueup.config.schema import ModelConfig
from trueup.config.sections.ingest import SourceConfig
from trueup.config.tasks import Task
from trueup.domain.data.digest import config_digest
from trueup.domain.data.types import EVENT_TIME, LABEL, ROW_ID, Metric, Window
from trueup.domain.judging import gates
from trueup.domain.judging.metrics import calibration_table
from trueup.errors import RegistryUnavailable, UntrustedModel, UsageError, WorkError
from trueup.files import write_text
from trueup.governance.four_eyes import asker
from trueup.governance.ledger_queries import judging_entry, part_about, versions_of
from trueup.governance.recorded_inputs import config_then
from trueup.handoffs import FITTED, prediction_columns, prediction_of
from trueup.home import Home
from trueup.ledger.canonical import canonical
from trueup.ledger.entries import PROMOTION, Entry
from trueup.ledger.verify import Problem
from trueup.model import MONITOR, Model
from trueup.reporting import dossier_page
from trueup.reporting.jobs import IMPORTANCE, drawn, run_folder

RIGHT, CHANGED, GONE, UNRECORDED = "right", "changed", "gone", "no digest recorded"
_MOST_CATEGORIES = 3


@dataclass(frozen=True)
class Made:
    """Where a dossier lies."""

    model: str
    version: int
    page: str
    data: str
    sbom: str | None


def make(model: Model, version: int | None = None, out: Path | None = None, bill: bool = True) -> Made:
    """Write the dossier of a version, by default the champion's, and give its paths.

    With `bill` the environment's bill of materials is made where there is none yet, which takes a while. Raises
    UsageError for a version that the ledger knows nothing about.
    """
    chosen = version if version is not None else _champion(model)
    folder = out or dossiers_folder(model.home.root, model.config.model)
    folder.mkdir(parents=True, exist_ok=True)
    facts = gather(model, chosen)
    facts["sbom"] = _bill(model.home, folder, facts["environment"], bill)
    facts["pictures"], pictures = _pictures(model, facts)
    facts = json.loads(canonical(facts))  # what JSON has no word for is null in both
    name = stem(model.config.model, chosen)
    page, data = folder / f"{name}.html", folder / f"{name}.json"
    write_text(data, json.dumps(facts, indent=2, allow_nan=False) + "\n")
    write_text(page, dossier_page.render(facts, pictures, data.name))
    beside = facts["sbom"].get("file")
    return Made(model.config.model, chosen, str(page), str(data), str(folder / beside) if beside else None)


def gather(model: Model, version: int) -> dict[str, Any]:
    """All that is known of a version, as plain values. Raises UsageError where the ledger knows nothing of it."""
    entry, every = judging_entry(model, version), model.home.ledger.entries(model.config.model)
    if entry is None:
        known = sorted({v for e in every for v in versions_of(e)})
        raise UsageError(
            f"{model.config.model}: the ledger has no record of version {version}; it knows "
            f"{', '.join(map(str, known)) or 'none'}; `trueup ledger show {model.config.model}` lists the decisions"
        )
    about, terms = [e for e in every if version in versions_of(e)], _terms(every, version)
    decision = next((e for e in about if (e.body.get("approval") or {}).get("pending") == entry.seq), entry)
    body, own = entry.body, part_about(entry, version)
    wrong = model.home.ledger.verify()
    evaluation, frame = _evaluation(model.home, body)
    batches = _batches(model.home, body)
    files = _files(model.home, body, own)
    return {
        "dossier": 1,
        "made_at": model.home.now().isoformat(timespec="seconds"),
        "model": model.config.model,
        "version": version,
        "registered_name": body["model"].get("name", model.config.registered_name),
        "task": model.config.task.value,
        "unit": model.config.ingest.label.unit,
        "standing": _standing(terms, version, decision),
        "purpose": _purpose(model.config, body),
        "decision": _decision(decision, wrong),
        "proposal": _decision(entry, wrong) if decision is not entry else None,
        "history": [_event(e) for e in about],
        "terms": terms,
        "fitted": _fitted(body, own),
        "data": body.get("data"),
        "gate": body["gate"],
        "evidence": body.get("evidence"),
        "batches": batches,
        "validation": body.get("validation"),
        "evaluation": evaluation,
        "calibration": _calibration(model.config, evaluation, frame),
        "verdicts": [_explained(v, model.config) for v in (*body["verdicts"], body.get("refit")) if v],
        "baseline": _baseline(model.home, own),
        "files": files,
        "lineage": {
            "run_id": body["model"]["run_id"],
            "format": body["model"].get("format"),
            "manifest_digest": own["manifest_digest"],
            "recipe": body["model"]["recipe"],
            "search": body.get("search"),
            "config_digest": body["config_digest"],
            "policy_digest": body.get("policy_digest"),
            "config_is_the_same": config_digest(model.config) == body["config_digest"],
            "code": body.get("code"),
        },
        "rebuild": {
            **_rebuild(model, body, batches, version),
            "home": model.home.settings.root.name,
            "last": last_rebuilt(model.home.root, model.config.model, version),
        },
        "source": _source(model.config),
        "timezone": model.config.ingest.timezone,
        "label_words": _label_words(model.config),
        "served": _served(model, version),
        "take_back": f"trueup rollback {model.config.model}",
        "environment": body.get("code") or {},
    }


def _champion(model: Model) -> int:
    if (current := model.champion()) is None:
        raise UsageError(
            f"{model.config.model} has no champion yet; name a version, or make one: trueup run {model.config.model}"
        )
    return current.version


# Who decided, and what became of it


def _decision(entry: Entry, wrong: Sequence[Problem]) -> dict[str, Any]:
    body = entry.body
    try:
        asked_by = asker(entry)
    except LookupError as unknown:
        asked_by = f"not known: {unknown}"
    return {
        "sequence": entry.seq,
        "outcome": entry.kind,
        "reasons": body["reasons"],
        "as_of": entry.as_of.isoformat(),
        "recorded_at": entry.recorded_at.isoformat(timespec="seconds"),
        "hash": entry.hash,
        "signed_with": entry.key_id,
        "problems": [str(problem) for problem in wrong if problem.seq == entry.seq],
        "trigger": body["trigger"],
        "asked_by": asked_by,
        "actor": body.get("actor"),
        "approver": body.get("approver"),
        "previous": body["previous"],
        "epoch": body.get("epoch"),
    }


def _event(entry: Entry) -> dict[str, Any]:
    return {
        "sequence": entry.seq,
        "as_of": entry.as_of.isoformat(),
        "recorded_at": entry.recorded_at.isoformat(timespec="seconds"),
        "outcome": entry.kind,
        "version": (entry.body.get("model") or {}).get("version"),
        "reasons": entry.body["reasons"],
        "hash": entry.hash,
    }


def _terms(entries: Sequence[Entry], version: int) -> list[dict[str, Any]]:
    """When the version was in office, by the model's own clock; `until` is None for the one that is still."""
    made = [e for e in entries if PROMOTION in e.body]
    found = []
    for entry, after in zip_longest(made, made[1:]):
        if entry.body[PROMOTION]["version"] == version:
            ended = None if after is None else {"by": after.kind, "version": after.body[PROMOTION]["version"]}
            until = None if after is None else after.as_of.isoformat()
            found.append({"since": entry.as_of.isoformat(), "until": until, "put_by": entry.kind, "ended": ended})
    return found


def _standing(terms: Sequence[Mapping[str, Any]], version: int, decision: Entry) -> str:
    """Where the version stands today, in words."""
    if terms and terms[-1]["until"] is None:
        return f"in office since {terms[-1]['since'][:10]}"
    if terms:
        ended = terms[-1]["ended"]
        how = "rolled back" if ended["by"] == "rolled_back" else "replaced"
        return f"out of office: {how} on {terms[-1]['until'][:10]} by version {ended['version']}"
    served = decision.body["model"]["version"]
    if served != version:
        return f"judged only: its recipe was fitted again on more rows as version {served}, which was {decision.kind}"
    words = {"pending": "waits for a person's approval", "held": "never in office: held"}
    return words.get(decision.kind, f"never in office: {decision.kind}")


def _purpose(config: ModelConfig, body: Mapping[str, Any]) -> dict[str, Any]:
    """What people answer for: as recorded with the decision, else as the config says today."""
    recorded = body.get("governance")
    today = {"about": config.about, **config.governance.model_dump(mode="json")}
    found = dict(recorded or today)
    found["source"] = (
        "the record of the decision" if recorded else "today's config: the decision is older than this record"
    )
    found["changed_since"] = bool(recorded) and recorded != today
    return found


# On what it rests


def _fitted(body: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """On which rows this version was fitted, and which one was judged."""
    names = ("trained_from", "trained_until", "rows", "data_digest")
    return {
        **{name: own.get(name) for name in names},
        "refitted": own["version"] != body["judged"]["version"],
        "judged_version": body["judged"]["version"],
        "judged": {name: body["judged"].get(name) for name in names},
        "features": body["model"]["features"],
    }


def _batches(home: Home, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The revisions that training or judging read, and whether each is still what it was."""
    return [
        {**i, "state": home.store.state(i["dataset"], Window.from_dict(i), i["revision"], i["sha256"])}
        for i in body.get("inputs", [])
    ]


def _source(config: ModelConfig) -> dict[str, str]:
    """Where the rows come from, as today's config has it: nothing of it is secret, for a config holds no passwords."""
    label = config.ingest.label.source
    apart = "" if label is None else f"; the outcomes, joined by key, from {_source_words(label)}"
    return {"words": f"{_source_words(config.ingest.source)}{apart}"}


def _source_words(source: SourceConfig) -> str:
    """The kind of a source and what was said of it: what is as it always is says nothing to a reader."""
    said = source.model_dump(mode="json", exclude_defaults=True)
    others = ", ".join(f"{k} {v}" for k, v in said.items() if k != "kind" and isinstance(v, str))
    return f"a source of kind {source.kind}" + (f" ({others})" if others else "")


def _label_words(config: ModelConfig) -> str:
    """What makes a label of the column, where that is not the value itself."""
    label = config.ingest.label
    unit = f" {label.unit}" if label.unit else ""
    if label.above is not None:
        return f", 1 where it is above {label.above:g}{unit}"
    return f", 1 where it is {label.positive!r}" if label.positive is not None else unit and f" ({label.unit})"


@dataclass(frozen=True)
class _Served:
    """The part of a monitoring result that a dossier shows."""

    champion: int | None
    diagnosis: str
    matured: int
    metrics: tuple[Metric, ...]


def _served(model: Model, version: int) -> list[dict[str, Any]]:
    """What the newest look at each batch found while the version was in office."""
    every = model.home.store.results(model.config.model, MONITOR, _Served)
    by_window = {r.window: r.body for r in every if r.body.champion == version}
    return [
        {
            **window.to_dict(),
            "diagnosis": body.diagnosis,
            "labels": body.matured,
            **{k: getattr(body.metrics[0], k) if body.metrics else None for k in ("value", "low", "high")},
        }
        for window, body in sorted(by_window.items())
    ]


def _files(home: Home, body: Mapping[str, Any], own: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What else the record names, and whether it is still what it was."""
    evaluation = body["evaluation"]
    named = [
        ("predictions for the gate rows", evaluation["path"], evaluation.get("digest")),
        ("sample of the gate rows", evaluation.get("sample_path"), evaluation.get("sample_digest")),
    ]
    named.append(("sample of the training rows", own.get("baseline_path"), own.get("baseline_digest")))
    found = [
        {"what": what, "digest": digest, "state": _state(home, path, digest)} for what, path, digest in named if path
    ]
    return [{"what": "the model's files", "digest": own["manifest_digest"], "state": _model_state(home, own)}, *found]


def _model_state(home: Home, model: Mapping[str, Any]) -> str:
    if "uri" not in model:
        return "not looked at: where they lie is not part of this record"
    try:
        home.registry.check(model["uri"], model["manifest_digest"])
    except RegistryUnavailable as error:
        return f"could not be looked at: {error}"
    except UntrustedModel as error:
        return f"{CHANGED}: {error}"
    return RIGHT


def _state(home: Home, path: str, digest: str | None) -> str:
    found = home.store.evaluation_digest(path)
    if found is None:
        return GONE
    if digest is None:
        return UNRECORDED
    return RIGHT if found == digest else CHANGED


def _explained(verdict: dict[str, Any], config: ModelConfig) -> dict[str, Any]:
    """A verdict with its heading and its rule in words."""
    check, configured = verdict["check"], config.promote.gates
    rule = gates.rule(check, verdict["figures"], configured)
    return {**verdict, "heading": gates.heading(check, configured), "rule": rule}


def _evaluation(home: Home, body: Mapping[str, Any]) -> tuple[dict[str, Any], pd.DataFrame | None]:
    """The figures of the judgement, and the rows behind them where they are still what they were."""
    recorded = dict(body["evaluation"])
    recorded.pop("schema", None)
    state = _state(home, recorded["path"], recorded.get("digest"))
    frame = None
    if state in {RIGHT, UNRECORDED}:
        try:
            frame = home.store.read_evaluation(recorded["path"])
        except WorkError:
            state = CHANGED
    recorded["state"] = state
    recorded["worse"] = _worse(recorded)
    return recorded, frame


def _worse(evaluation: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Slices in which the model surely loses more than on all rows, or more than the champion; and those too small to tell."""
    metrics = evaluation["metrics"].get("challenger") or {}
    overall = metrics.get(evaluation.get("loss") or ("log_loss" if "log_loss" in metrics else "mse"))
    found: dict[str, list[dict[str, Any]]] = {"than_average": [], "than_champion": [], "too_small": []}
    for row in sorted(evaluation["slices"], key=lambda s: -s["challenger"]):
        if row["low"] is None:
            found["too_small"].append(row)
        elif overall is not None and row["low"] > overall:
            found["than_average"].append(row)
        if (row.get("difference_low") or 0) > 0:
            found["than_champion"].append(row)
    return found


def _calibration(
    config: ModelConfig, evaluation: Mapping[str, Any], frame: pd.DataFrame | None
) -> list[dict[str, Any]] | None:
    """Predicted against observed shares on the gate rows; None where the task has none or the rows are gone."""
    if config.task is not Task.BINARY or frame is None:
        return None
    table = calibration_table(frame[LABEL], prediction_of(frame, "challenger", evaluation.get("classes")))
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def _baseline(home: Home, own: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """What each feature looked like in training: what drift is measured against. None when the sample is not to be had."""
    path = own.get("baseline_path")
    if path is None or _state(home, path, own.get("baseline_digest")) not in {RIGHT, UNRECORDED}:
        return None
    frame = home.store.read_evaluation(path)
    said = tuple(prediction_columns(FITTED, None))  # what the model said of the rows, of each class if there are such
    others = [name for name in frame if name not in {ROW_ID, EVENT_TIME, LABEL} and not str(name).startswith(said)]
    return [_column(frame[name]) for name in others]


def _column(values: pd.Series[Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"feature": str(values.name), "rows": len(values), "missing": float(values.isna().mean())}
    if pd.api.types.is_numeric_dtype(values):
        low, middle, high = (float(q) if pd.notna(q) else None for q in values.quantile([0.05, 0.5, 0.95]))
        return {**said, "low": low, "middle": middle, "high": high}
    shares = values.astype(str).value_counts(normalize=True)
    return {
        **said,
        "categories": len(shares),
        "most": {str(k): float(v) for k, v in shares.head(_MOST_CATEGORIES).items()},
    }


def _rebuild(model: Model, body: dict[str, Any], batches: list[dict[str, Any]], version: int) -> dict[str, Any]:
    """What rebuilding the version takes, and whether it is at hand here."""
    then, now = body.get("code") or {}, code_facts(model.home.configs)
    lost = [b for b in batches if b["state"] != RIGHT]
    needs = [
        _need("the data", not lost and bool(batches), f"{len(batches) - len(lost)} of {len(batches)} revisions are here and unchanged"),
        _need("the config", _kept_config(model, body), f"as it was then, digest {body['config_digest'][:12]}"),
        _need("the code", _same(then, now, "git_commit") and now["git_dirty"] == "false", f"commit {then.get('git_commit', 'not recorded')[:12]}"),
        _need("a clean working copy then", then.get("git_dirty") == "false", {"true": "files were changed and not committed", "false": "the working copy was clean"}.get(then.get("git_dirty", ""), "not recorded")),
        _need("the packages", _same(then, now, "lock_digest"), f"requirements.lock {then.get('lock_digest', 'not recorded')[:12]}"),
        _need("the seed", "seed" in body["model"]["recipe"], f"{body['model']['recipe'].get('seed')}"),
    ]  # fmt: skip
    return {
        "command": f"trueup reproduce {model.config.model} {version}",
        "needs": needs,
        "ready": all(n["met"] for n in needs),
    }


def _kept_config(model: Model, body: dict[str, Any]) -> bool:
    """Whether the config of then can be read, whatever today's says."""
    try:
        config_then(model.config.model, body, model.home)
    except WorkError:
        return False
    return True


def _need(what: str, met: bool, said: str) -> dict[str, Any]:
    return {"what": what, "met": met, "said": said}


def _same(then: Mapping[str, str], now: Mapping[str, str], name: str) -> bool:
    return then.get(name) not in {None, "unknown"} and then.get(name) == now.get(name)


# Beside the page


def _bill(home: Home, folder: Path, then: Mapping[str, str], make_it: bool) -> dict[str, Any]:
    """The bill of materials of the environment that the version was made in, copied beside the page."""
    here, shelf = code_facts(home.configs)["environment_digest"], home.root / "reports" / "sbom"
    wanted = then.get("environment_digest", here)
    path = cyclonedx.kept(shelf, wanted)
    if not path.exists() and wanted != here:
        return {"note": "the version was made in another environment than this one, of which no bill was kept"}
    if not path.exists() and not make_it:
        return {"note": "not made with this page, for it takes a while; trueup dossier makes both"}
    try:
        cyclonedx.make(shelf, wanted)
    except WorkError as error:
        return {"note": str(error)}
    if (folder / path.name) != path:
        shutil.copyfile(path, folder / path.name)
    same = "environment_digest" in then
    return {
        "file": path.name,
        **cyclonedx.summary(path),
        "note": "" if same else "of the environment here; that of the training was not recorded",
    }


def _pictures(model: Model, facts: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, bytes]]:
    """The pictures, and what is to be said of those that there are none of."""
    notes, found = dict[str, str](), dict[str, bytes]()
    evaluation = facts["evaluation"]
    if evaluation["state"] in {RIGHT, UNRECORDED}:
        found = drawn(model, evaluation)
    else:
        notes["gate rows"] = f"no pictures of the gate rows: the predictions for them are {evaluation['state']}"
    kept = run_folder(model.home.root, model.config.model, facts["lineage"]["run_id"]) / IMPORTANCE
    if kept.exists():
        found[IMPORTANCE] = kept.read_bytes()
    else:
        notes["importance"] = (
            "no picture of the features' importance: the report of the retrain is gone or was never made"
        )
    return notes, found
