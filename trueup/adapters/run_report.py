"""The report of a retrain: what was decided and why, with its pictures, in one HTML file that opens offline."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from trueup.domain.metrics import figure

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
  table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .35rem .8rem .35rem 0; vertical-align: top; }
  th { border-bottom: 2px solid #d9dee4; } td { border-bottom: 1px solid #e8ebef; } .n { text-align: right; font-variant-numeric: tabular-nums; }
  .promoted, .pass { color: #18794e; } .rejected, .fail { color: #c62a2f; } .held, .inconclusive { color: #8a6100; }
  .muted { color: #66727f; } img { max-width: 100%; height: auto; margin: .5rem 0; } .outcome { font-weight: 600; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="muted">as of {{ as_of }} · reason: {{ reason }} · ledger entry {{ sequence }}</p>
<p class="outcome {{ outcome }}">{{ outcome }}{% if version %}: version {{ version }}{% endif %}</p>
<ul>{% for r in reasons %}<li>{{ r }}</li>{% endfor %}</ul>
<h2>Windows</h2>
<table><tr><th>window</th><th>from</th><th>to</th></tr>
{% for name, start, end in windows %}<tr><td>{{ name }}</td><td>{{ start }}</td><td>{{ end }}</td></tr>{% endfor %}</table>
<h2>Checks</h2>
<table><tr><th>check</th><th>verdict</th><th>why</th></tr>
{% for v in verdicts %}<tr><td>{{ v.check }}</td><td class="{{ v.status }}">{{ v.status }}</td><td>{{ v.reasons | join("; ") }}</td></tr>{% endfor %}</table>
<h2>Metrics on the gate rows ({{ "{:,}".format(rows) }} rows)</h2>
<table><tr><th>metric</th>{% for role in roles %}<th class="n">{{ role }}</th>{% endfor %}<th class="n">challenger's {{ percent }} interval</th></tr>
{% for name, values, interval in metrics %}<tr><td>{{ name }}</td>{% for v in values %}<td class="n">{{ v }}</td>{% endfor %}<td class="n">{{ interval }}</td></tr>{% endfor %}</table>
{% if slices %}<h2>Slices of the gate rows: {{ loss }}</h2>
<table><tr><th>slice</th><th class="n">rows</th>{% for column in slice_columns %}<th class="n">{{ column }}</th>{% endfor %}</tr>
{% for name, size, values in slices %}<tr><td>{{ name }}</td><td class="n">{{ size }}</td>{% for v in values %}<td class="n">{{ v }}</td>{% endfor %}</tr>{% endfor %}</table>
<p class="muted">Each interval speaks of its slice alone: among many, some lie off by chance. The slices check takes account of that.</p>{% endif %}
<h2>Recipe</h2>
<p>{{ recipe }}</p>
{% for name, png in pictures %}<h2>{{ name }}</h2><img alt="{{ name }}" src="data:image/png;base64,{{ png }}">{% endfor %}
</body>
</html>
"""


def render(facts: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """Fill the page. `facts` is the body of the ledger's entry with what `stages.report.show_run` adds to it."""
    from jinja2 import Environment

    evaluation, model = facts["evaluation"], facts["model"]
    roles = list(evaluation["metrics"])
    bounds = {m["name"]: m for m in evaluation["intervals"]}
    # In the order of the measuring, the deciding loss first; the ledger's canonical JSON sorts the names of the others.
    names = list(bounds) or list(evaluation["metrics"].get("challenger", {}))
    units = _units(facts.get("unit", ""))
    slices = evaluation.get("slices", [])
    percent = _percent([*bounds.values(), *slices])
    encoded = [(_title(name), base64.b64encode(png).decode()) for name, png in pictures.items()]
    return (
        Environment(autoescape=True)
        .from_string(_PAGE)
        .render(
            title=f"{facts['name']}: challenger of {facts['as_of'][:10]}",
            as_of=_minute(facts["as_of"]),
            sequence=facts["sequence"],
            reason=facts["trigger"]["reason"],
            outcome=facts["outcome"],
            version=model["version"],
            reasons=facts["reasons"],
            verdicts=facts["verdicts"],
            windows=_windows(facts),
            rows=evaluation["rows"],
            roles=roles,
            metrics=[
                (n + units.get(n, ""), [_cell(evaluation["metrics"][r][n]) for r in roles], _interval(bounds.get(n)))
                for n in names
            ],
            percent=percent,
            loss=names[0] + units.get(names[0], "") if names else "",
            slice_columns=_slice_columns(slices, percent),
            slices=[(s["slice"], f"{s['rows']:,}", _slice_cells(s)) for s in slices],
            recipe=", ".join(f"{k} {figure(v) if type(v) is float else v}" for k, v in _flat(model["recipe"])),
            pictures=encoded,
        )
    )


def write(folder: Path, facts: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Path:
    """Write the page beside its pictures, and give its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    path.write_text(render(facts, pictures), encoding="utf-8")
    return path


def _windows(facts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What was trained and judged on which span. A refitted model has seen the gate rows; it is not the one judged."""
    model, judged = facts["model"], facts["judged"]
    spans = [
        ("trained on", judged["trained_from"], judged["trained_until"]),
        ("judged on", facts["gate"]["start"], facts["gate"]["end"]),
    ]
    if model["version"] != judged["version"]:
        refitted = f"passed, and fitted again as version {model['version']} on"
        spans.append((refitted, model["trained_from"], model["trained_until"]))
    return [(name, _minute(start), _minute(end)) for name, start, end in spans]


def _slice_columns(slices: Sequence[Mapping[str, Any]], percent: str) -> list[str]:
    compared = ["champion", "difference", percent] if any("champion" in s for s in slices) else []
    return ["challenger", percent, *compared]


def _slice_cells(row: Mapping[str, Any]) -> list[str]:
    """A slice's figures in the order of the columns."""
    cells = [_cell(row["challenger"]), _interval(row)]
    if "champion" in row:
        apart = {"low": row["difference_low"], "high": row["difference_high"]}
        cells += [_cell(row["champion"]), _cell(row["difference"]), _interval(apart)]
    return cells


def _percent(intervals: Sequence[Mapping[str, Any]]) -> str:
    """How sure the intervals are: the same for all of an evaluation."""
    return next((f"{100 * i['confidence']:g} %" for i in intervals if i.get("confidence")), "95 %")


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")


def _interval(metric: Mapping[str, Any] | None) -> str:
    if metric is None or metric["low"] is None:
        return "–"
    return f"{_cell(metric['low'])} to {_cell(metric['high'])}"


def _cell(value: float) -> str:
    """Four places for what lies between 0 and 1, as most metrics do, and as many digits for what is larger."""
    written = figure(value, 5) if abs(value) >= 1 else f"{value:.4f}"
    return "0.0000" if written == "-0.0000" else written


def _units(unit: str) -> dict[str, str]:
    return {"mse": f" ({unit}²)", "mae": f" ({unit})", "rmse": f" ({unit})"} if unit else {}


def _flat(recipe: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [("family", recipe["family"]), *recipe["parameters"].items(), ("seed", recipe["seed"])]


def _title(name: str) -> str:
    return name.removesuffix(".png").replace("_", " ").capitalize()
