"""What a person reads on a terminal of the usual width."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from rich.console import Console

from trueup.cli import output
from trueup.cli.demo import Demo, Month
from trueup.cli.output import demo_text
from trueup.domain.types import Status


def test_the_demos_table_keeps_every_column_on_a_terminal_of_80_characters(monkeypatch, capsys):
    month = Month(
        month="2013-12",
        rows=28_135,
        quarantined=1_089,
        late_rate=0.313,
        champion=11,
        champion_age_days=131.0,
        log_loss=0.5123,
        log_loss_frozen=0.5,
        auc=0.7,
        auc_frozen=0.7,
        diagnosis="decayed",
        decision="promoted",
        reasons=["better"],
    )
    mean = {"log_loss": 0.48, "log_loss_frozen": 0.49, "auc": 0.73, "auc_frozen": 0.72}
    monkeypatch.setattr(output, "out", Console(width=80))

    demo_text.demo(Demo([month], mean, {}, 72.0))

    head, row = capsys.readouterr().out.splitlines()[:2]
    assert head.split()[-2:] == ["diagnosis", "decision"]
    assert row.split() == [
        "2013-12",
        "28,135",
        "1,089",
        "31.3%",
        "v11",
        "131d",
        "0.512",
        "0.500",
        "0.700",
        "0.700",
        "decayed",
        "promoted",
    ]


def test_spans_moments_and_paths_have_a_plain_form():
    given = {"takes": timedelta(hours=36), "at": datetime(2024, 1, 2, 3), "where": Path("a/b"), "kind": Status.FAIL}
    assert output.plain(given) == {"takes": 129600.0, "at": "2024-01-02T03:00:00", "where": "a/b", "kind": "fail"}


def test_without_a_terminal_progress_is_a_line_now_and_then(monkeypatch, capsys):
    moments = iter([0.0, 10.0, 31.0, 50.0, 92.0])
    monkeypatch.setattr(output.time, "monotonic", lambda: next(moments))
    monkeypatch.setattr(output, "err", Console(stderr=True, force_terminal=False, width=200))
    with output.progress("6 policies") as tell:
        for share in (0.0, 0.25, 0.3, 0.5):
            tell(share)
    assert capsys.readouterr().err.splitlines() == [
        "6 policies: 25% after about 30 s, about 2 min left",
        "6 policies: 50% after about 2 min, about 2 min left",
    ]
