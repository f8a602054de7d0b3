"""Writes the tables of `docs/gates-evidence.md` from the measurements of `benchmarks/gates.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gate_measures import summary
from benchmarks.gate_streams import CHOOSING, REPORTED

_BEGIN, _END = "<!-- {} begin -->", "<!-- {} end -->"


def table(results: Mapping[str, Any]) -> str:
    """All measurements, as Markdown."""
    return "\n\n".join(f"## {name}\n\n{text}" for name, text in _parts(results).items())


def write(page: Path, results: Mapping[str, Any]) -> None:
    """Put the tables between the markers of a page. Raises ValueError without a marker."""
    text = page.read_text()
    for name, part in _parts(results).items():
        begin, end = _BEGIN.format(name), _END.format(name)
        if begin not in text or end not in text:
            raise ValueError(f"{page} lacks {begin} or {end}")
        head, rest = text.split(begin, 1)
        text = f"{head}{begin}\n{part}\n{end}{rest.split(end, 1)[1]}"
    page.write_text(text)


def _parts(results: Mapping[str, Any]) -> dict[str, str]:
    return {
        "choosing": _rules(results["rules"], CHOOSING),
        "reported": _rules(results["rules"], REPORTED),
        "kept": _kept(results["kept"]),
        "planted": _planted(results),
    }


def _rules(rules: Sequence[Mapping[str, Any]], half: str) -> str:
    rows = []
    for rule in rules:
        of = rule[half]
        kept = summary(of)
        twins, planted = of.get("twins", {}), of.get("planted", {})
        rows.append([
            rule["rule"], _share(kept["mean"]), _share(kept["least"]), f"{kept['below']} of {kept['counted']}",
            of["promotions"], of["wrong"], of["wrong_shown"],
            of["refusals"], f"{of['refused_wrongly']} ({of['refused_wrongly_shown']})",
            f"{_share(twins.get('per_attempt'))} / {_share(twins.get('over_ten'))}",
            " / ".join(_share(planted.get(level), 3) for level in ("1%", "5%", "20%")),
        ])  # fmt: skip
    return _markdown(
        ["rule", "kept, mean", "least", "shown below .97", "promotions", "wrong", "shown", "rejections",
         "wrongly (shown)", "twins: an attempt / ten", "planted 1 / 5 / 20 %"], rows
    )  # fmt: skip


def _kept(kept: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [name, k["kind"], k["half"], k["seeds"], f"{k['attainable']:.1%}",
         _share(k["kept"], 3) if k["counts"] else "–", "yes" if k["upper_below"] and k["counts"] else "",
         f"{k['above_ungated'][0]:+.2%} ({k['above_ungated'][1]:+.2%} to {k['above_ungated'][2]:+.2%})"]
        for name, k in sorted(kept.items(), key=lambda item: (item[1]["kind"], item[0]))
    ]  # fmt: skip
    return _markdown(
        [
            "stream or table",
            "kind",
            "half",
            "seeds",
            "attainable gain",
            "kept",
            "shown below .97",
            "loss above ungated",
        ],
        rows,
    )


def _planted(results: Mapping[str, Any]) -> str:
    rows = [
        [kind, *(_share(of[level], 3) for level in ("1%", "5%", "20%"))]
        for kind, of in results["planted_by_kind"].items()
    ]
    return _markdown(["planted, routine", "1 % worse", "5 % worse", "20 % worse"], rows)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _share(value: float | None, digits: int = 2) -> str:
    """A share without its leading zero; – where there is none."""
    return "–" if value is None else f"{value:.{digits}f}".replace("0.", ".", 1) if value < 1 else f"{value:.{digits}f}"
