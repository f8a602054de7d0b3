"""The page of a retrain: what decides comes first, and figures can be read."""

import re

from trueup.reporting.run_report import render

MINUTES = {"mse": 8593.506, "mae": 70.7192, "rmse": 92.7012, "r2": -0.00002}
FACTS = {
    "name": "air_time",
    "unit": "minutes",
    "as_of": "2013-04-01T00:00:00",
    "sequence": 3,
    "outcome": "rejected",
    "reasons": ["squared error"],
    "verdicts": [],
    "trigger": {"reason": "stale"},
    "judged": {"version": 3, "trained_from": "2013-01-01T00:00:00", "trained_until": "2013-03-14T00:00:00"},
    "gate": {"start": "2013-03-16T00:00:00", "end": "2013-03-30T00:00:00"},
    "model": {
        "version": 3,
        "trained_from": "2013-01-01T00:00:00",
        "trained_until": "2013-03-14T00:00:00",
        "recipe": {"family": "linear", "parameters": {"alpha": 413.59973938398906}, "seed": 0},
    },
    "evaluation": {
        "rows": 100,
        "metrics": {"challenger": dict(sorted(MINUTES.items()))},  # canonical JSON sorts
        "intervals": [{"name": name, "value": value, "low": 1.0, "high": 9999.0} for name, value in MINUTES.items()],
    },
}


def cells(page):
    """The metrics' rows, as text."""
    rows = re.findall(r"<tr><td>(.*?)</td></tr>", page.split("Metrics on")[1])
    return [re.split(r"</td><td[^>]*>", row) for row in rows]


def test_the_deciding_loss_comes_first_with_its_unit():
    assert [row[0] for row in cells(render(FACTS, {}))] == ["mse (minutes²)", "mae (minutes)", "rmse (minutes)", "r2"]


def test_figures_have_the_places_they_need():
    assert [row[1] for row in cells(render(FACTS, {}))] == ["8,593.5", "70.719", "92.701", "0.0000"]
    assert "alpha 413.6," in render(FACTS, {})


def test_the_refitted_model_is_not_shown_as_the_one_judged():
    """It was trained on the gate rows: a page that says only that looks like a gate that cheats."""
    refitted = {**FACTS["model"], "version": 4, "trained_until": "2013-03-30T00:00:00"}
    page = render({**FACTS, "model": refitted}, {})
    assert "<td>trained on</td><td>2013-01-01 00:00</td><td>2013-03-14 00:00</td>" in page
    assert "version 4 on</td><td>2013-01-01 00:00</td><td>2013-03-30 00:00</td>" in page


def test_what_was_not_measured_leaves_an_empty_table():
    assert cells(render({**FACTS, "evaluation": {"rows": 0, "metrics": {}, "intervals": []}}, {})) == []


def slices_of(page):
    """The table of slices, as text."""
    table = page.split("Slices of the gate rows")[1].split("</table>")[0]
    return [re.split(r"</t[dh]><t[dh][^>]*>", row) for row in re.findall(r"<tr><t[dh]>(.*?)</t[dh]></tr>", table)]


def test_the_declared_slices_are_shown_with_their_intervals():
    alone = {"slice": "origin=JFK", "rows": 9876, "challenger": 81.25, "low": 70.0, "high": 92.5, "confidence": 0.9}
    both = {**alone, "champion": 90.0, "difference": -8.75, "difference_low": -11.0, "difference_high": -6.5}
    untold = {**both, "slice": "origin=<x>", "low": None, "high": None, "difference_low": None, "difference_high": None}

    def page(*slices):
        return render({**FACTS, "evaluation": {**FACTS["evaluation"], "slices": list(slices)}}, {})

    assert slices_of(page(alone)) == [
        ["slice", "rows", "challenger", "its 90 %"],
        ["origin=JFK", "9,876", "81.25", "70 to 92.5"],
    ]
    head, first, second = slices_of(page(both, untold))
    assert head == ["slice", "rows", "challenger", "its 90 %", "champion", "difference", "its 90 %"]
    assert first[4:] == ["90", "-8.75", "-11 to -6.5"]
    assert second == ["origin=&lt;x&gt;", "9,876", "81.25", "–", "90", "-8.75", "–"]
    assert "mse (minutes²)" in page(alone).split("Slices of the gate rows")[1].split("</h2>")[0]
    assert "Slices" not in render(FACTS, {})


def test_what_groups_of_features_are_worth_is_shown():
    worth = {"group": "numeric", "with": 0.5, "without": 0.61, "difference": 0.11, "answer": "earns its place"}
    page = render(
        {**FACTS, "evaluation": {**FACTS["evaluation"], "ablation": [{**worth, "low": 0.09, "high": 0.13}]}}, {}
    )
    assert "What groups of features are worth" in page
    assert ">0.6100</td>" in page
    assert "earns its place" in page
    assert "What groups" not in render(FACTS, {})
