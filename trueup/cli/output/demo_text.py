"""Prints the result of the demo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trueup.cli.output import number, out, say, table, word

if TYPE_CHECKING:
    from trueup.cli.demo import Demo


def demo(result: Demo) -> None:
    """Print the table of the demo, and further paths."""
    rows = [
        [
            m.month,
            f"{m.rows:,}",
            f"{m.quarantined:,}",
            "–" if m.late_rate is None else f"{m.late_rate:.1%}",
            "–" if m.champion is None else f"v{m.champion} {number(m.champion_age_days, 0)}d",
            number(m.log_loss),
            number(m.log_loss_frozen),
            number(m.auc),
            number(m.auc_frozen),
            word(m.diagnosis),
            word(m.decision),
        ]
        for m in result.months
    ]
    figures = ["rows", "quar.", "late", "served", "loss", "kept", "AUC", "kept "]
    columns = ["month", *figures, "diagnosis", "decision"]  # 80 characters wide, as a plain terminal is
    out.print(table(columns, rows, figures))
    out.print(
        "[dim]quar.: rows in quarantine; late: share of late flights;\n"
        "served: the champion's version and its age in days; loss: realised log-loss;\n"
        "kept: the same of the first champion, had it been kept[/]\n"
    )
    for m in result.months:
        out.print(f"{m.month} {word(m.decision)}: {m.reasons[0] if m.reasons else ''}", highlight=False)
    mean = result.mean
    out.print(
        f"\nmean from March: log-loss [bold]{number(mean['log_loss'], 4)}[/] "
        f"(frozen in February {number(mean['log_loss_frozen'], 4)}), "
        f"AUC [bold]{number(mean['auc'], 4)}[/] (frozen {number(mean['auc_frozen'], 4)}); {result.seconds:.0f} s\n"
    )
    for name, place in result.paths.items():
        say(f"{name.replace('_', ' '):<16} {place}")
