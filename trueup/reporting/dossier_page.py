"""The page of a dossier: one HTML file that opens offline, written for somebody who has never seen the project."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any, Final

from trueup.domain.judging.gates.phrases import evidence_words
from trueup.domain.judging.metrics import figure
from trueup.reporting.dossier_rules import rule
from trueup.reporting.html import (
    HEAD,
    STYLE,
    cell,
    interval,
    minute,
    percent,
    recipe_words,
    slice_cells,
    slice_columns,
    units,
)

# What each kind of check asks, by the first word of its name; a new check stands under "Further checks" until it is named.
_GROUPS: Final = {
    "Is the comparison sound?": {"overlap", "rows", "finite", "identical"},
    "Is it better?": {"paired", "baseline", "absolute"},
    "Is it fair, and does it harm nobody?": {"slices", "fairness"},
    "Does it behave?": {"behaviour", "invariance", "direction", "calibration"},
    "Does it run as it should?": {"budget", "size", "latency", "infra", "reload", "refit"},
}
_OTHERS: Final = "Further checks"
_PICTURES: Final = {
    "challenger_against_champion.png": "Against the champion, day by day",
    "reliability.png": "Calibration: do predicted probabilities come true?",
    "roc_pr.png": "Telling the classes apart",
    "residuals.png": "Predicted against actual",
    "importance.png": "What the model relies on",
}
_WORDS: Final = {
    "log_loss": "log-loss (nats; lower is better)",
    "brier": "Brier score (lower is better)",
    "auc": "AUC (0.5 is chance, 1 is perfect)",
    "average_precision": "average precision (higher is better)",
    "ece": "calibration error (share; lower is better)",
    "mse": "mean squared error",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "r2": "R² (1 is perfect)",
    "accuracy": "accuracy (share; higher is better)",
    "auc_ovr": "AUC, each class against the rest",
}
_ENDINGS: Final = defaultdict(
    lambda: "a decision for",
    {
        "promoted": "the promotion of",
        "rolled_back": "going back to",
        "approved": "the approval of",
        "overridden": "an override for",
    },
)
_DUTIES: Final = (
    ("Article 11 and Annex IV (1): general description, intended purpose", "What it is for"),
    ("Annex IV (2): development, data, training and validation", "Data; Validation; Lineage"),
    ("Annex IV (2) (g), (3): metrics, accuracy, limits, groups it is worse for", "How good it is; For whom it is worse; Checks; What it is for (limitations)"),
    ("Annex IV (3), Article 14: human oversight", "Decision (who asked, who approved, how it is taken back)"),
    ("Annex IV (6): changes through the lifecycle", "What became of it"),
    ("Article 12: automatic recording of events", "Decision and What became of it, each with its ledger entry and hash"),
    ("Article 12 (2), Article 72: monitoring after it went into service", "How it did in office; Drift baseline"),
    ("Annex IV (4): why these metrics", "How good it is names them; why they are right for the use is yours to write"),
    ("Annex IV (5), (7) to (9): risk management, standards, declaration, plan of monitoring", "Nothing here: these are yours to write"),
)  # fmt: skip

_PAGE: Final = (
    HEAD
    + """
  .short td:first-child { width: 13rem; font-weight: 600; } .wrap { overflow-wrap: anywhere; } code { font-size: .88em; overflow-wrap: anywhere; }
  .bad { color: #c62a2f; } .good { color: #18794e; } h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; } .key td:first-child { width: 13rem; color: #66727f; }
  summary { cursor: pointer; color: #66727f; } nav a { margin-right: .9rem; } details table { font-size: .92em; } ul { padding-left: 1.2rem; }
  .checks { table-layout: fixed; } .checks th:nth-child(1) { width: 17%; } .checks th:nth-child(2) { width: 11%; } .checks th:nth-child(3) { width: 38%; }
  .date { white-space: nowrap; } img { max-width: min(100%, 40rem); }
  td.figures { font-size: .88em; color: #66727f; } .rule { color: #66727f; font-size: .92em; } @media print { nav { display: none; } details::details-content { content-visibility: visible; } }
</style>
</head>
<body>
<h1>{{ d.model }}, version {{ d.version }}</h1>
<p class="muted">Model dossier, made {{ minute(d.made_at) }} UTC · {{ d.task }} · <a href="{{ data_file }}">the same as JSON</a></p>
<p>{{ d.purpose.about }}</p>
<p class="outcome">{{ d.standing }}</p>

<h2>In short</h2>
<table class="short">{% for name, said in short %}<tr><td>{{ name }}</td><td>{{ said }}</td></tr>{% endfor %}</table>
<p class="muted">A <i>champion</i> is the version in office, a <i>challenger</i> one that is judged against it. The <i>gate window</i> is the span whose rows judge both, and the <i>gates</i> are the checks below. A <i>slice</i> is the rows with one value of a column. <i>As of</i> is a moment of the data's own time{% if d.decision.as_of[:10] != d.decision.recorded_at[:10] %}; here it is other than that of the clock, by which the decision was recorded on {{ d.decision.recorded_at[:10] }}{% endif %}.</p>
<nav><p>{% for id, name in sections %}<a href="#{{ id }}">{{ name }}</a> {% endfor %}</p></nav>

<h2 id="purpose">What it is for</h2>
<table class="key">
<tr><td>Intended use</td><td>{{ d.purpose.intended_use or "not stated" }}</td></tr>
<tr><td>Limitations</td><td>{% if d.purpose.limitations %}<ul>{% for l in d.purpose.limitations %}<li>{{ l }}</li>{% endfor %}</ul>{% else %}not stated{% endif %}</td></tr>
<tr><td>Owner</td><td>{{ d.purpose.owner or "not stated" }}</td></tr>
<tr><td>Risk tier</td><td>{{ d.purpose.risk_tier or "not stated" }} <span class="muted">(as its owner puts it; nothing here assesses it)</span></td></tr>
</table>
<p class="muted">From {{ d.purpose.source }}.{% if d.purpose.changed_since %} The config says something else today.{% endif %}</p>

<h2 id="data">Data</h2>
<table><tr><th>window</th><th>from</th><th>to</th><th class="n">labelled rows</th><th>digest</th></tr>
{% for w in windows %}<tr><td>{{ w.name }}</td><td>{{ minute(w.start) }}</td><td>{{ minute(w.end) }}</td><td class="n">{{ count(w.rows) }}</td><td><code>{{ (w.digest or "not recorded")[:12] }}</code></td></tr>{% endfor %}</table>
<p>{% if d.source %}Read from {{ d.source.words }}. {% endif %}Times are {{ d.timezone }}.{% if gap %} {{ gap }}{% endif %}</p>
{% if d.data %}<p>Label: <code>{{ d.data.label.column }}</code>{{ d.label_words }}; it counts {% if d.data.label.known_after %}{{ d.data.label.known_after }} after its row's time{% else %}from the moment in column {{ d.data.label.known_at }}{% endif %}.
{% if d.data.overlap %}Overlap of training and judging: <span class="{{ d.data.overlap.status }}">{{ d.data.overlap.status }}</span>, {{ d.data.overlap.reasons | join("; ") }}.{% endif %}</p>{% endif %}
<p>Features: {{ features }}</p>
<details><summary>{{ d.batches | length }} revisions of batches that training or judging read: {{ batch_words }}</summary>
<table><tr><th>dataset</th><th>from</th><th>to</th><th class="n">revision</th><th class="n">rows</th><th>SHA-256</th><th>today</th></tr>
{% for b in d.batches %}<tr><td>{{ b.dataset }}</td><td>{{ b.start[:10] }}</td><td>{{ b.end[:10] }}</td><td class="n">{{ b.revision }}</td><td class="n">{{ count(b.rows) }}</td><td><code>{{ b.sha256 }}</code></td><td class="{{ "good" if b.state == "right" else "bad" }}">{{ b.state }}</td></tr>{% endfor %}</table></details>

<h2 id="validation">Validation</h2>
{% if d.validation %}<p>{{ validation_words }} <span class="muted">Digest over all results: <code>{{ d.validation.digest[:12] }}</code></span></p>
<details><summary>by batch</summary><table><tr><th>batch from</th><th>to</th><th>verdict</th><th class="n">rows in quarantine</th></tr>
{% for b in d.validation.batches %}<tr><td>{{ b.start[:10] }}</td><td>{{ b.end[:10] }}</td><td class="{{ b.status }}">{{ b.status }}</td><td class="n">{{ count(b.quarantined) }}</td></tr>{% endfor %}</table></details>
{% else %}<p>Not part of this record, which is from before it was kept.</p>{% endif %}

<h2 id="metrics">How good it is</h2>
<p>Measured on the {{ count(e.rows) }} rows of the gate window ({{ d.gate.start[:10] }} to {{ d.gate.end[:10] }}), on which no judged model was trained.{% if d.fitted.refitted %} What was measured is version {{ d.fitted.judged_version }}; this version is its recipe, fitted again with the gate window included, and was not measured itself.{% endif %}</p>
<table><tr><th>metric</th>{% for role in roles %}<th class="n">{{ role }}</th>{% endfor %}<th class="n">challenger's {{ sure }} interval</th></tr>
{% for name, values, bounds in metrics %}<tr><td>{{ name }}</td>{% for v in values %}<td class="n">{{ v }}</td>{% endfor %}<td class="n">{{ bounds }}</td></tr>{% endfor %}</table>
<p class="muted">The challenger is {% if d.fitted.refitted %}the judged form of {% endif %}this version; the champion was {% if d.decision.previous %}version {{ d.decision.previous.version }}{% else %}nobody yet{% endif %}; the prior always says the mean; simple is a linear model of the declared columns; reference is a linear model of all features. Intervals are from resampling blocks of time.</p>
{% for said in remarks %}<p>{{ said }}</p>{% endfor %}
{% for name, png in pictures[:-1] %}<h3>{{ name }}</h3><img alt="{{ name }}" src="data:image/png;base64,{{ png }}">{% endfor %}
{% if calibration %}<details><summary>calibration as a table</summary><table><tr><th class="n">rows</th><th class="n">predicted share</th><th class="n">observed share</th></tr>
{% for c in calibration %}<tr><td class="n">{{ count(c.rows) }}</td><td class="n">{{ share(c.predicted) }}</td><td class="n">{{ share(c.observed) }}</td></tr>{% endfor %}</table></details>{% endif %}
{% for name, png in pictures[-1:] %}<h3>{{ name }}</h3><img alt="{{ name }}" src="data:image/png;base64,{{ png }}">{% endfor %}
{% for note in d.pictures.values() %}<p class="muted">{{ note }}</p>{% endfor %}

<h2 id="slices">For whom it is worse</h2>
<p>{{ worse }}</p>
{% if slices %}<table><tr><th>slice: mean {{ loss }}</th><th class="n">rows</th>{% for column in slice_columns %}<th class="n">{{ column }}</th>{% endfor %}</tr>
{% for name, size, values in slices %}<tr><td>{{ name }}</td><td class="n">{{ size }}</td>{% for v in values %}<td class="n">{{ v }}</td>{% endfor %}</tr>{% endfor %}</table>
<p class="muted">The worst first. Each interval speaks of its slice alone: among many, some lie off by chance; the check <code>slices</code> takes account of that. A dash: too few rows to tell.</p>{% endif %}

<h2 id="checks">Checks</h2>
{% for group, rows in groups %}<h3>{{ group }}</h3>
<table class="checks"><tr><th>check</th><th>verdict</th><th>why</th><th>figures</th></tr>
{% for v in rows %}<tr><td>{{ v.check }}</td><td class="{{ v.status }}">{{ v.status }}</td><td>{% for r in v.reasons %}{{ r }}{% if not loop.last %}<br>{% endif %}{% endfor %}{% if v.rule %}<br><span class="rule">{{ v.rule }}</span>{% endif %}</td><td class="figures wrap">{% if v.plain | length > 90 %}<details><summary>figures</summary>{{ v.plain }}</details>{% else %}{{ v.plain }}{% endif %}</td></tr>{% endfor %}</table>{% endfor %}
{% if not groups %}<p>None: nothing was judged.</p>{% endif %}
{% if ablation %}<h3>Does each group of features earn its place?</h3><table><tr>{% for c in ablation[0] %}<th>{{ c }}</th>{% endfor %}</tr>
{% for row in ablation %}<tr>{% for v in row.values() %}<td>{{ plain(v) }}</td>{% endfor %}</tr>{% endfor %}</table><p class="muted">For information; it decides nothing.</p>{% endif %}

<h2 id="decision">Decision</h2>
<table class="key">
<tr><td>Outcome</td><td class="{{ d.decision.outcome }}">{{ d.decision.outcome }}</td></tr>
<tr><td>Why</td><td>{% for r in d.decision.reasons %}{{ r }}{% if not loop.last %}<br>{% endif %}{% endfor %}</td></tr>
<tr><td>Asked for by</td><td>{{ asked }}{% if d.decision.trigger.diagnosis %}<details><summary>the diagnosis in full</summary>{{ d.decision.trigger.diagnosis.reasons | join("; ") }}</details>{% endif %}</td></tr>
<tr><td>Approved by</td><td>{{ approved }}</td></tr>
<tr><td>When</td><td>as of {{ minute(d.decision.as_of) }} (the model's own clock), recorded {{ minute(d.decision.recorded_at) }} UTC</td></tr>
<tr><td>Ledger</td><td>entry {{ d.decision.sequence }}, hash <code>{{ d.decision.hash }}</code>{% if d.decision.signed_with %}, signed with key <code>{{ d.decision.signed_with }}</code>{% endif %}:
{% if d.decision.problems %}<span class="bad">{{ d.decision.problems | join("; ") }}</span>{% else %}<span class="good">hash, place in the chain and signature are right</span>{% endif %}</td></tr>
<tr><td>Taking it back</td><td><code>{{ d.take_back }}</code> puts an earlier version back into office within seconds; that is recorded too</td></tr>
</table>
<h3 id="history">What became of it</h3>
<table><tr><th>as of</th><th>ledger entry</th><th>what</th><th>why</th></tr>
{% for h in d.history %}<tr><td class="date">{{ h.as_of[:10] }}</td><td class="date">{{ h.sequence }} <code>{{ h.hash[:10] }}</code></td><td class="{{ h.outcome }}">{{ h.outcome.replace("_", " ") }}{% if h.version != d.version %}: version {{ h.version }}{% endif %}</td><td>{% if h.sequence == d.decision.sequence %}as above{% else %}{{ h.reasons | join("; ") }}{% endif %}</td></tr>{% endfor %}</table>
<p>{% for t in d.terms %}In office from {{ minute(t.since) }} {% if t.until %}to {{ minute(t.until) }}, ended by {{ endings[t.ended.by] }} version {{ t.ended.version }}{% else %}until now{% endif %}.<br>{% else %}It was never in office.{% endfor %}</p>

<h3>How it did in office</h3>
{% if d.served %}<table><tr><th>batch from</th><th>to</th><th>diagnosis</th><th class="n">labels by then</th><th class="n">{{ loss }}</th><th class="n">{{ sure }}</th></tr>
{% for s in d.served %}<tr><td>{{ s.start[:10] }}</td><td>{{ s.end[:10] }}</td><td>{{ s.diagnosis }}</td><td class="n">{{ count(s.labels) }}</td><td class="n">{{ cell(s.value) }}</td><td class="n">{{ interval(s) }}</td></tr>{% endfor %}</table>{% else %}<p>Nothing was measured of it in office.</p>{% endif %}

<h2 id="baseline">Drift baseline</h2>
{% if d.baseline %}<p>What the inputs looked like in training ({{ count(d.baseline[0].rows) }} rows sampled); the monitor compares new batches with it. Each in the unit in which the source has it.</p>
<details><summary>{{ d.baseline | length }} features</summary><table><tr><th>feature</th><th class="n">missing</th><th class="n">5th percentile</th><th class="n">median</th><th class="n">95th percentile</th><th>most frequent</th></tr>
{% for b in d.baseline %}<tr><td>{{ b.feature }}</td><td class="n">{{ share(b.missing) }}</td><td class="n">{{ plain(b.low) }}</td><td class="n">{{ plain(b.middle) }}</td><td class="n">{{ plain(b.high) }}</td><td>{% if b.most is defined %}{% for k, v in b.most.items() %}{{ k }} {{ share(v) }}{% if not loop.last %}, {% endif %}{% endfor %} ({{ b.categories }} in all){% endif %}</td></tr>{% endfor %}</table></details>
{% else %}<p>The sample of the training rows is gone or was changed; see the files below.</p>{% endif %}

<h2 id="lineage">Lineage</h2>
<table class="key">
<tr><td>Model files</td><td>{% if l.format %}format {{ l.format }}, {% endif %}manifest <code>{{ l.manifest_digest }}</code></td></tr>
<tr><td>Recipe</td><td>{{ recipe }}</td></tr>
<tr><td>MLflow</td><td>run <code>{{ l.run_id }}</code>, registered as {{ d.registered_name }} version {{ d.version }}</td></tr>
<tr><td>Config</td><td>digest <code>{{ l.config_digest }}</code>{% if l.policy_digest %}; of the rules for promoting, retraining and watching <code>{{ l.policy_digest }}</code>{% endif %}. {{ "Today's config decides by the same." if l.config_is_the_same else "Today's config is another." }}</td></tr>
<tr><td>Code</td><td>{% if l.code %}commit <code>{{ l.code.git_commit }}</code>{% if l.code.git_dirty == "true" %}, with changes that were not committed{% endif %}; lock <code>{{ l.code.lock_digest[:12] }}</code>; Python {{ l.code["version.python"] }}; {{ packages }}{% else %}not recorded{% endif %}</td></tr>
</table>
<table><tr><th>file</th><th>digest recorded</th><th>today</th></tr>
{% for f in d.files %}<tr><td>{{ f.what }}</td><td><code>{{ (f.digest or "none")[:16] }}</code></td><td class="{{ "good" if f.state == "right" else "bad" }}">{{ f.state }}</td></tr>{% endfor %}</table>

<h2 id="rebuild">How to rebuild it</h2>
<p><code>{{ d.rebuild.command }}</code> {{ "Everything that it takes is here and unchanged." if d.rebuild.ready else "Not everything that it takes is here as it was:" }} It is said in a copy of the code, against the home in which this page was made ({{ d.rebuild.home }}), and compares predictions and metrics one by one.</p>
<p>{% if d.rebuild.last %}Rebuilt on {{ minute(d.rebuild.last.at) }} UTC: {{ d.rebuild.last.said }}{% else %}Nobody has rebuilt it here so far.{% endif %}</p>
<table><tr><th>needed</th><th>here as it was</th><th></th></tr>
{% for n in d.rebuild.needs %}<tr><td>{{ n.what }}</td><td class="{{ "good" if n.met else "bad" }}">{{ "yes" if n.met else "no" }}</td><td>{{ n.said }}</td></tr>{% endfor %}</table>

<h2 id="sbom">Environment</h2>
{% if d.sbom.file %}<p><a href="{{ d.sbom.file }}">{{ d.sbom.file }}</a> lists all {{ count(d.sbom.packages) }} packages ({{ d.sbom.format }}). Licences declared: {{ licences }}.</p>{% endif %}
{% if d.sbom.note %}<p class="muted">Bill of materials: {{ d.sbom.note }}.</p>{% endif %}

<h2 id="duties">Record-keeping duties</h2>
<p>This page supports record-keeping such as that of the EU AI Act (Regulation (EU) 2024/1689). It is no statement that any duty is met, or applies: that takes people who know the use and the law.</p>
<table><tr><th>what is asked</th><th>which part helps to answer</th></tr>
{% for asked, part in duties %}<tr><td>{{ asked }}</td><td>{{ part }}</td></tr>{% endfor %}</table>
</body>
</html>
"""
)
_SECTIONS: Final = (
    ("purpose", "What it is for"), ("data", "Data"), ("validation", "Validation"), ("metrics", "How good"),
    ("slices", "For whom worse"), ("checks", "Checks"), ("decision", "Decision"), ("baseline", "Drift baseline"),
    ("lineage", "Lineage"), ("rebuild", "Rebuild"), ("sbom", "Environment"), ("duties", "Duties"),
)  # fmt: skip


def render(facts: Mapping[str, Any], pictures: Mapping[str, bytes], data_file: str) -> str:
    """Fill the page. `facts` is what `stages.dossier` gathers; `data_file` is its JSON beside the page."""
    from jinja2 import Environment
    from markupsafe import Markup

    e, lineage = facts["evaluation"], facts["lineage"]
    of_unit, loss = units(facts["unit"]), _loss(e)
    bounds = {m["name"]: m for m in e["intervals"]}
    roles = list(e["metrics"])
    names = list(bounds) or list(e["metrics"].get("challenger", {}))
    sure = percent([*bounds.values(), *e["slices"]])
    ordered = sorted(e["slices"], key=lambda s: -s["challenger"])
    return (
        Environment(autoescape=True)
        .from_string(_PAGE)
        .render(
            d=facts,
            e=e,
            l=lineage,
            style=Markup(STYLE),
            title=f"{facts['model']} version {facts['version']}: dossier",
            data_file=data_file,
            sections=_SECTIONS,
            short=_short(facts),
            windows=list(_windows(facts)),
            features=_features(facts["fitted"]["features"]),
            batch_words=_states(facts["batches"]),
            validation_words=_validation(facts["validation"]),
            roles=roles,
            metrics=[
                (
                    _WORDS.get(n, n) + of_unit.get(n, ""),
                    [cell(e["metrics"][r].get(n)) for r in roles],
                    interval(bounds.get(n)),
                )
                for n in names
            ],
            sure=sure,
            loss=loss + of_unit.get(loss, ""),
            slices=[(s["slice"], f"{s['rows']:,}", slice_cells(s)) for s in ordered],
            slice_columns=slice_columns(ordered, sure),
            worse=_worse(e),
            groups=_grouped(facts["verdicts"]),
            ablation=e.get("ablation"),
            asked=_asked(facts["decision"]),
            approved=_approved(facts["decision"]),
            recipe=recipe_words(lineage["recipe"]),
            packages=_packages(lineage["code"] or {}),
            licences=_counted(facts["sbom"].get("licences", {})),
            calibration=facts["calibration"],
            pictures=[(_PICTURES[n], base64.b64encode(pictures[n]).decode()) for n in _PICTURES if n in pictures],
            duties=_DUTIES,
            count=_count,
            share=_share,
            plain=_plain,
            minute=minute,
            cell=cell,
            interval=interval,
            remarks=list(_remarks(facts)),
            gap=_gap(facts),
            endings=_ENDINGS,
        )
    )


# The five questions


def _short(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("What data?", _data(facts)),
        ("How good?", _good(facts)),
        ("For whom worse?", _worse(facts["evaluation"])),
        ("Who approved?", _approved(facts["decision"])),
        ("Can I rebuild it?", _rebuild(facts["rebuild"])),
    ]


def _data(facts: Mapping[str, Any]) -> str:
    own = facts["fitted"]
    if own["rows"] is None:
        return "See below; on how many rows this version was fitted is not part of its record."
    gate = f"{facts['evaluation']['rows']:,} rows from {facts['gate']['start'][:10]} to {facts['gate']['end'][:10]}"
    span = f"{own['trained_from'][:10]} to {own['trained_until'][:10]}"
    if not own["refitted"]:
        return f"Fitted on {own['rows']:,} labelled rows from {span}; judged on {gate}."
    before = own["judged"]["trained_until"]
    known = f", fitted until {before[:10]}," if before else ""
    return (
        f"Judged was version {own['judged_version']}{known} on {gate}. This version is the same recipe fitted again, gate "
        f"window included, on {own['rows']:,} labelled rows from {span}; it was not measured itself."
    )


def _good(facts: Mapping[str, Any]) -> str:
    """The deciding metric, with its interval and beside the others."""
    e, loss = facts["evaluation"], _loss(facts["evaluation"])
    metrics = e["metrics"]
    if loss not in metrics.get("challenger", {}):
        return "It could not be measured; see the checks."
    unit = units(facts["unit"]).get(loss, "")
    bounds = next((m for m in e["intervals"] if m["name"] == loss), None)
    said = f"{loss.replace('_', '-')}{unit} {cell(metrics['challenger'][loss])}"
    if bounds is not None and bounds["low"] is not None:
        said += f" ({percent([bounds])} {interval(bounds)})"
    others = [
        f"{role} {cell(metrics[role][loss])}"
        for role in ("champion", "prior", "simple", "reference")
        if role in metrics
    ]
    more = next((m for m in e["intervals"] if m["name"] in {"auc", "r2", "accuracy"}), None)
    extra = f"; {more['name'].upper()} {cell(more['value'])} ({interval(more)})" if more else ""
    of = f" Measured on version {facts['fitted']['judged_version']}." if facts["fitted"]["refitted"] else ""
    return f"{said}, against {', '.join(others)}{extra}. Lower loss is better.{_unbeaten(metrics, loss)}{of}"


def _unbeaten(metrics: Mapping[str, Any], loss: str) -> str:
    """Who of the models that it was held against loses less."""
    better = [r for r, m in metrics.items() if r != "challenger" and m.get(loss, inf) < metrics["challenger"][loss]]
    return f" Not beaten: {', '.join(better)}." if better else ""


def _remarks(facts: Mapping[str, Any]) -> Iterator[str]:
    """What a table does not say aloud: which rows decided, who is not beaten, and where the calibration is worst."""
    if facts["evidence"]:
        yield from evidence_words(facts["evidence"])
    metrics, loss = facts["evaluation"]["metrics"], _loss(facts["evaluation"])
    if loss in metrics.get("challenger", {}) and (said := _unbeaten(metrics, loss)):
        yield f"By {loss.replace('_', '-')}:{said.lower()}"
    if table := facts["calibration"]:
        worst = max(table, key=lambda row: abs(row["observed"] - row["predicted"]))
        yield (
            f"Where predictions are furthest from what happened it says {_share(worst['predicted'])} and "
            f"{_share(worst['observed'])} came true ({worst['rows']:,} rows)."
        )


def _gap(facts: Mapping[str, Any]) -> str:
    """Why rows lie in no window: those whose labels were not known when the gate window began."""
    until = facts["fitted"]["judged"]["trained_until"]
    if not until or until[:10] >= facts["gate"]["start"][:10]:
        return ""
    return "Rows between training and gate window are left out where their labels were not known when it began."


def _worse(evaluation: Mapping[str, Any]) -> str:
    """For whom it is worse, in words."""
    found, slices = evaluation["worse"], evaluation["slices"]
    if not slices:
        return "Not known: no slices are declared (`evaluate.slices`), or none were measured."
    said = []
    average = cell((evaluation["metrics"].get("challenger") or {}).get(_loss(evaluation)))
    if found["than_average"]:
        said.append(
            f"Its loss is above its average, with its whole {percent(slices)} interval, for {_named(found['than_average'])}, against {average} on all rows"
        )
    if found["than_champion"]:
        said.append(
            f"its loss is above the champion's, with the whole interval of the difference, for {_named(found['than_champion'])}"
        )
    if not said:
        said.append(f"For none of {len(slices)} slices, as far as their intervals tell")
    if found["too_small"]:
        said.append(f"{len(found['too_small'])} of {len(slices)} slices are too small to tell")
    return "; ".join(said) + "."


def _named(rows: Sequence[Mapping[str, Any]], most: int = 6) -> str:
    more = f" and {len(rows) - most} more" if len(rows) > most else ""
    return ", ".join(f"{r['slice']} ({cell(r['challenger'])})" for r in rows[:most]) + more


def _asked(decision: Mapping[str, Any]) -> str:
    """Why it was trained, and who asked for that."""
    trigger, actor = decision["trigger"], decision["actor"] or {}
    said = [f"reason: {trigger['reason']}"]
    if trigger.get("kind") == "request":
        said.append(f"asked for by {decision['asked_by']}")
    elif trigger.get("kind"):
        said.append(
            f"no person asked: {({'loop': 'the run itself found it', 'event': 'an event', 'schedule': 'a schedule'})[trigger['kind']]}"
        )
    else:
        said.append(f"who asked is {decision['asked_by']}")
    if event := trigger.get("event"):
        said.append(f"event {event['topic']} {event['id']}")
    if found := trigger.get("diagnosis"):
        said.append(f"diagnosis of {found['start'][:10]} to {found['end'][:10]}: {found['name']}")
    if actor:
        said.append(f"run under the account {actor['account']} by way of {actor['via']}")
    return "; ".join(said) + "."


def _approved(decision: Mapping[str, Any]) -> str:
    """Who agreed, in words."""
    by = decision["approver"]
    if by is None:
        how = {
            "promoted": "The gates alone promoted it",
            "rejected": "The gates alone refused it",
            "pending": "Nobody yet",
        }
        return f"{how.get(decision['outcome'], 'Nobody: ' + decision['outcome'])}; no person decided (ledger entry {decision['sequence']})."
    said = f"{by['name']}, {minute(by['decided_at'])} UTC: {by['why'] or 'no remark'} (ledger entry {decision['sequence']})."
    eyes = by.get("four_eyes") or {}
    if eyes.get("demanded"):
        said += " Four eyes were demanded" + (
            f"; {eyes['asked_by']} had asked." if eyes.get("asked_by") else "; no person had asked."
        )
    return said


def _rebuild(rebuild: Mapping[str, Any]) -> str:
    if rebuild["ready"]:
        last = rebuild["last"]
        done = f"rebuilt on {last['at'][:10]}: {last['said']}" if last else "nobody has done it here so far"
        return f"All that it takes is here as it was ({rebuild['command']}); {done}."
    lacking = ", ".join(n["what"] for n in rebuild["needs"] if not n["met"])
    return f"Not with certainty: {rebuild['command']} would find other than then: {lacking}."


# The parts


def _windows(facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    own, data = facts["fitted"], facts["data"] or {}
    judged = own["judged"] if own["judged"]["trained_from"] else None
    if own["refitted"]:
        yield {"name": "this version was fitted on", "start": own["trained_from"], "end": own["trained_until"], "rows": own["rows"], "digest": own["data_digest"]}  # fmt: skip
    if judged:
        name = f"version {own['judged_version']}, which was judged, was fitted on" if own["refitted"] else "fitted on"
        digest = (data.get("training") or {}).get("digest") or judged["data_digest"]
        yield {"name": name, "start": judged["trained_from"], "end": judged["trained_until"], "rows": judged["rows"], "digest": digest}  # fmt: skip
    yield {"name": "judged on (gate window)", **facts["gate"], "rows": facts["evaluation"]["rows"], "digest": (data.get("gate") or {}).get("digest")}  # fmt: skip
    if reference := data.get("reference"):
        yield {"name": "prior, simple and reference model fitted on", **reference}


def _features(features: Mapping[str, Any]) -> str:
    said = [f"{kind} {', '.join(features[kind])}" for kind in ("numeric", "categorical") if features.get(kind)]
    said += [f"{', '.join(parts)} of {column}" for column, parts in features.get("calendar", {}).items()]
    for h in features.get("history", []):
        keys = ", ".join(" × ".join(by) if isinstance(by, list) else by for by in h["by"])
        said.append(f"history {h['name']} ({h['aggregate']} of {h['of']}) by {keys} over {', '.join(h['windows'])}")
    if features.get("custom"):
        said.append(f"those that {features['custom']} makes")
    return "; ".join(said) + "."


def _states(rows: Sequence[Mapping[str, Any]]) -> str:
    states = [r["state"] for r in rows]
    return ", ".join(f"{states.count(s)} {s}" for s in ("right", "changed", "gone") if s in states) or "none recorded"


def _validation(validation: Mapping[str, Any] | None) -> str:
    if validation is None:
        return ""
    found = validation["batches"]
    passed = sum(b["status"] == "pass" for b in found)
    aside = sum(b["quarantined"] for b in found)
    return f"{passed} of {len(found)} batches that were read passed all checks of the data; {aside:,} rows were set aside in quarantine and not used."


def _grouped(verdicts: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Verdicts under the question that they answer, in the order of the questions."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in (*_GROUPS, _OTHERS)}
    for v in verdicts:
        word = v["check"].split()[0].split(":")[0].split("_")[0]
        group = next((name for name, words in _GROUPS.items() if word in words), _OTHERS)
        found[group].append({**v, "plain": _figures(v["figures"]), "rule": rule(v)})
    return [(name, rows) for name, rows in found.items() if rows]


def _figures(figures: Mapping[str, Any], before: str = "") -> str:
    """A check's figures in a line, without lists: those stand in the JSON."""
    said = []
    for name, value in figures.items():
        label = f"{before}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            said.append(_figures(value, f"{name}: "))
        elif isinstance(value, list):
            continue
        elif value is not None:
            said.append(f"{label} {_plain(value)}")
    return ", ".join(filter(None, said))


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return figure(value)
    return minute(value) if isinstance(value, str) and "T00:" in value else str(value)


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _loss(evaluation: Mapping[str, Any]) -> str:
    known = evaluation["metrics"].get("challenger") or {}
    return str(evaluation.get("loss") or ("mse" if "mse" in known else "log_loss"))


def _packages(code: Mapping[str, Any]) -> str:
    named = {
        k.removeprefix("version."): v for k, v in code.items() if k.startswith("version.") and k != "version.python"
    }
    return ", ".join(f"{name} {version}" for name, version in named.items())


def _counted(licences: Mapping[str, int], most: int = 6) -> str:
    found = sorted(licences.items(), key=lambda item: -item[1])
    rest = sum(n for _, n in found[most:])
    return ", ".join(f"{name} {n}" for name, n in found[:most]) + (f", others {rest}" if rest else "")
