"""The dossier of a version: all evidence about it, as a page and JSON, for a reader who has never seen the project.

It is read from the ledger, the store and the registry each time, and compared with the ledger's digests. The dossier
decides nothing and is not evidence itself: the ledger is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trueup.adapters import cyclonedx
from trueup.adapters.git import code_facts
from trueup.audit import dossier_decision, dossier_evidence
from trueup.audit.dossiers import dossiers_folder, stem
from trueup.audit.rebuild_notes import last_rebuilt
from trueup.domain.data.digest import config_digest
from trueup.errors import UsageError, WorkError
from trueup.files import write_text
from trueup.governance.approval import final
from trueup.governance.ledger_queries import judging_entry, part_about, versions_of
from trueup.governance.recorded_inputs import config_then
from trueup.home import Home
from trueup.ledger.canonical import canonical
from trueup.ledger.entries import Entry
from trueup.ledger.record import Challenge
from trueup.model import Model
from trueup.reporting import dossier_page
from trueup.reporting.dossier_facts import RIGHT, Bill, Facts, Lineage, Measured, Need, ReadInput, Rebuild, Source
from trueup.reporting.jobs import IMPORTANCE, drawn, run_folder


@dataclass(frozen=True)
class Made:
    """The files of a dossier."""

    model: str
    version: int
    page: str
    data: str
    sbom: str | None


def make(model: Model, version: int | None = None, out: Path | None = None, bill: bool = True) -> Made:
    """Write the dossier of a version, by default the champion's, and return its paths.

    With `bill` a missing bill of materials of the environment is made, which takes a while. Raises UsageError for
    a version that the ledger does not know.
    """
    chosen = version if version is not None else _champion(model)
    folder = out or dossiers_folder(model.home.root, model.config.model)
    folder.mkdir(parents=True, exist_ok=True)
    facts, pictures = gather(model, chosen)
    name = stem(model.config.model, chosen)
    page, data = folder / f"{name}.html", folder / f"{name}.json"
    with model.home.sharing(*([folder, _bills(model.home)] if out is None else [])):
        sbom = _bill(model.home, folder, facts.environment, bill)
        text = canonical(facts.model_copy(update={"sbom": sbom}).plain())
        write_text(data, json.dumps(json.loads(text), indent=2, allow_nan=False) + "\n")
        write_text(page, dossier_page.render(Facts.model_validate_json(text), pictures, data.name))
    return Made(model.config.model, chosen, str(page), str(data), str(folder / sbom.file) if sbom.file else None)


def gather(model: Model, version: int) -> tuple[Facts, dict[str, bytes]]:
    """All facts about a version, and its pictures. Raises UsageError for a version that the ledger does not know."""
    entries, judging = model.home.ledger.entries(model.config.model), judging_entry(model, version)
    if judging is None:
        recorded = ", ".join(str(v) for v in sorted({v for e in entries for v in versions_of(e)}))
        raise UsageError(
            f"{model.config.model}: the ledger has no record of version {version}; it has {recorded or 'none'}; "
            f"`trueup ledger show {model.config.model}` lists the decisions"
        )
    about = [e for e in entries if version in versions_of(e) or (e.body.rollout and e.body.rollout.version == version)]
    decided = final(model.home, judging)
    body, own, problems = judging.challenge, part_about(judging, version), model.home.ledger.verify()
    terms = dossier_decision.terms(entries, version)
    evaluation, frame = dossier_evidence.evaluation(model.home, body.evaluation)
    batches = dossier_evidence.batches(model.home, body)
    pictures, missing = _pictures(model, body.model.run_id, evaluation)
    facts = Facts(
        dossier=1,
        made_at=model.home.now().replace(microsecond=0),
        model=model.config.model,
        version=version,
        registered_name=body.model.name,
        task=model.config.task.value,
        unit=model.config.ingest.label.unit,
        standing=dossier_decision.standing(terms, version, decided),
        purpose=dossier_decision.purpose(model.config, body),
        decision=dossier_decision.decision(decided, problems),
        proposal=dossier_decision.decision(judging, problems) if decided is not judging else None,
        history=[dossier_decision.happened(e) for e in about],
        terms=terms,
        fitted=dossier_evidence.fitted(body, own),
        data=body.data,
        gate=body.gate,
        evidence=body.evidence,
        batches=batches,
        validation=body.validation,
        evaluation=evaluation,
        calibration=dossier_evidence.calibration(model.config, evaluation.classes, frame),
        verdicts=dossier_evidence.checks(body, model.config),
        baseline=dossier_evidence.baseline(model.home, own),
        files=dossier_evidence.files(model.home, body, own),
        lineage=_lineage(model, body, own.manifest_digest),
        rebuild=_rebuild(model, judging, batches, version),
        source=Source(words=dossier_evidence.source_words(model.config)),
        timezone=model.config.ingest.timezone,
        label_words=dossier_evidence.label_words(model.config),
        served=dossier_evidence.served(model, version),
        take_back=f"trueup rollback {model.config.model}",
        environment=body.code,
        sbom=Bill(),
        pictures=missing,
    )
    return facts, pictures


def _champion(model: Model) -> int:
    if (current := model.champion()) is None:
        raise UsageError(
            f"{model.config.model} has no champion yet; name a version, or make one: trueup run {model.config.model}"
        )
    return current.version


def _lineage(model: Model, body: Challenge, manifest_digest: str) -> Lineage:
    return Lineage(
        run_id=body.model.run_id,
        format=body.model.format,
        manifest_digest=manifest_digest,
        recipe=body.model.recipe,
        search=body.search,
        config_digest=body.config_digest,
        policy_digest=body.policy_digest,
        config_is_the_same=config_digest(model.config) == body.config_digest,
        code=body.code,
        **({"received": body.received} if body.received else {}),
    )


def _rebuild(model: Model, judging: Entry, batches: list[ReadInput], version: int) -> Rebuild:
    """The things that rebuilding the version needs, and whether they are here."""
    body, now = judging.challenge, code_facts(model.home.configs)
    then = {name: str(value) for name, value in body.code.items()}
    right = sum(b.state == RIGHT for b in batches)
    clean = {"true": "files were changed and not committed", "false": "the working copy was clean"}

    def same(name: str) -> bool:
        return then.get(name) not in {None, "unknown"} and then.get(name) == now.get(name)

    def short(name: str) -> str:
        return then.get(name, "not recorded")[:12]

    needs = [
        ("the data", 0 < len(batches) == right, f"{right} of {len(batches)} revisions are here and unchanged"),
        ("the config", _config_kept(model, body), f"as it was then, digest {body.config_digest[:12]}"),
        ("the code", same("git_commit") and now["git_dirty"] == "false", f"commit {short('git_commit')}"),
        (
            "a clean working copy then",
            then.get("git_dirty") == "false",
            clean.get(then.get("git_dirty", ""), "not recorded"),
        ),
        ("the packages", same("lock_digest"), f"requirements.lock {short('lock_digest')}"),
        ("the seed", True, f"{body.model.recipe.seed}"),
    ]
    if (origin := body.received) is not None:
        there = f"they are in {origin.place}: trueup reproduce {model.config.model} {origin.version} there"
        needs.insert(0, ("the rows of its training", False, there))
    return Rebuild(
        command=f"trueup reproduce {model.config.model} {version}",
        needs=[Need(what=what, met=met, message=message) for what, met, message in needs],
        ready=all(met for _, met, _ in needs),
        home=model.home.settings.root.name,
        last=last_rebuilt(model.home, model.config.model, version),
    )


def _config_kept(model: Model, body: Challenge) -> bool:
    try:
        config_then(model.config.model, body, model.home)
    except WorkError:
        return False
    return True


def _bills(home: Home) -> Path:
    return home.root / "reports" / "sbom"


def _bill(home: Home, folder: Path, then: Mapping[str, str | int], make_it: bool) -> Bill:
    """The bill of materials of the environment that the version was made in, copied beside the page."""
    here, shelf = code_facts(home.configs)["environment_digest"], _bills(home)
    wanted = str(then.get("environment_digest", here))
    path = home.fetched(cyclonedx.kept(shelf, wanted))
    if not path.exists() and wanted != here:
        return Bill(note="the version was made in another environment than this one, and its bill was not kept")
    if not path.exists() and not make_it:
        return Bill(note="not made with this page, because it takes a while; `trueup dossier` makes both")
    try:
        cyclonedx.make(shelf, wanted)
    except WorkError as error:
        return Bill(note=str(error))
    if (folder / path.name) != path:
        shutil.copyfile(path, folder / path.name)
    return Bill(file=path.name, **cyclonedx.summary(path))


def _pictures(model: Model, run_id: str, evaluation: Measured) -> tuple[dict[str, bytes], dict[str, str]]:
    """The pictures, and why others are missing."""
    pictures, missing = dict[str, bytes](), dict[str, str]()
    if evaluation.state == RIGHT:
        pictures = drawn(model, evaluation)
    else:
        missing["gate rows"] = f"no pictures of the gate rows: the predictions for them are {evaluation.state}"
    kept = model.home.fetched(run_folder(model.home.root, model.config.model, run_id) / IMPORTANCE)
    if kept.exists():
        pictures[IMPORTANCE] = kept.read_bytes()
    else:
        missing["importance"] = "no picture of the features' importance: it was not drawn, or retention removed it"
    return pictures, missing
