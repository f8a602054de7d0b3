"""The policies that a replay compares. Each is a change of the model's config, so that the best one can be pasted into it.

A policy is clauses with commas between them. Values in braces make a policy each: `margin {0.002, 0.004}`.
"""

from __future__ import annotations

import itertools
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from trueup.config import yaml_text
from trueup.config.durations import parse_calendar, parse_duration, write_duration
from trueup.config.plugins import ROOT, root_of
from trueup.config.schema import ModelConfig
from trueup.config.sections.retraining import PolicyConfig
from trueup.errors import UsageError

Changes = dict[str, Any]


@dataclass(frozen=True)
class Policy:
    """A name, and the changes of a config: sections within sections, as in the YAML."""

    name: str
    changes: Changes
    family: str = ""  # its text, if values in braces made several policies of it

    @property
    def frozen(self) -> bool:
        """Whether no retrain ever starts, whatever the other clauses."""
        starts = self.changes.get("retrain", {})
        return not any(starts.get(name) for name in ("findings", "every", "new_rows"))


class CustomPolicy(PolicyConfig):
    """A policy of your own for `replay.policies`. Fields are its config keys."""

    @abstractmethod
    def changes(self) -> Changes:
        """Its changes of a config: sections within sections, as in the YAML. Omitted triggers start no retrain."""

    @property
    def name(self) -> str:
        """Its unique name in reports."""
        keys = (f", {key} {value}" for key, value in self.model_dump(mode="json", exclude={"kind"}).items())
        return type(self).__name__ + "".join(keys)

    def policy(self) -> Policy:
        """The policy. Raises UsageError for an error of the class."""
        try:
            return Policy(self.name, merged(_NOTHING, self.changes()))
        except Exception as error:
            raise UsageError(
                f"policy {self.kind} raised {type(error).__name__}: {error}; fix the class, then run again"
            ) from error


# Each policy begins from "no retrain at all": it has no trigger that it does not name.
_NOTHING: Changes = {
    "retrain": {"findings": [], "every": None, "new_rows": None, "cooldown": "0 days"},
    "monitor": {"stale_after": None},
}
_SPAN = r"(?P<span>\d+(?:\.\d+)? ?[a-z]+)"
_SHARE = r"(?P<share>\d*\.?\d+)"


@dataclass(frozen=True)
class _Clause:
    form: str  # as a person writes it
    pattern: str
    changes: Callable[[re.Match[str]], Changes]


def _span(match: re.Match[str]) -> str:
    """A span as a config writes it."""
    return write_duration(parse_duration(match["span"]))


def _calendar(match: re.Match[str]) -> str:
    """A span as a config writes it, possibly of calendar months."""
    return write_duration(parse_calendar(match["span"]))


def _paired(key: str, group: str, kind: type) -> Callable[[re.Match[str]], Changes]:
    """A change of the paired gate, which is found by its kind among the gates."""
    return lambda m: {"promote": {"gates": {"paired": {key: kind(m[group])}}}}


def _finding(name: str) -> Callable[[re.Match[str]], Changes]:
    return lambda _: {"retrain": {"findings": [name]}}


_CLAUSES = (
    _Clause("frozen", "frozen|never", lambda _: {}),
    _Clause("every SPAN", f"every {_SPAN}", lambda m: {"retrain": {"every": _calendar(m)}}),
    _Clause("on decay", "on decay", _finding("decayed")),
    _Clause("on drift", "on drift|on shift", _finding("shifted")),
    _Clause("stale SPAN", f"(?:when )?stale(?: after)? {_SPAN}", lambda m: {"retrain": {"findings": ["stale"]}, "monitor": {"stale_after": _calendar(m)}}),
    _Clause("new rows N", r"new rows (?P<rows>[\d_,]+)", lambda m: {"retrain": {"new_rows": int(re.sub("[_,]", "", m["rows"]))}}),
    _Clause("cooldown SPAN", f"cooldown {_SPAN}", lambda m: {"retrain": {"cooldown": _span(m)}}),
    _Clause("budget N per SPAN", rf"budget (?P<starts>\d+) per {_SPAN}", lambda m: {"retrain": {"budget": {"starts": int(m["starts"]), "per": _span(m)}}}),
    _Clause("expanding", "expanding", lambda _: {"train": {"window": "expanding"}}),
    _Clause("trailing SPAN", f"trailing {_SPAN}", lambda m: {"train": {"window": _calendar(m)}}),
    _Clause("half-life SPAN", f"half-?life {_SPAN}", lambda m: {"train": {"half_life": _span(m)}}),
    _Clause("no gate", "no gates?", lambda _: {"promote": {"gates": []}}),
    _Clause("no refit", "no refit", lambda _: {"promote": {"refit": False}}),
    _Clause("gate on METRIC", r"gate on (?P<metric>[a-z_]+)", _paired("metric", "metric", str)),
    _Clause("margin SHARE", f"margin {_SHARE}", _paired("margin", "share", float)),
    _Clause("gain SHARE", f"gain {_SHARE}", _paired("min_gain", "share", float)),
    _Clause("gate window SPAN", f"gate window {_SPAN}", lambda m: {"promote": {"gate_window": _span(m)}}),
    _Clause("new days N", r"new days (?P<days>\d*\.?\d+)", lambda m: {"promote": {"min_new_days": float(m["days"])}}),
    _Clause("drop SHARE", f"drop {_SHARE}", lambda m: {"monitor": {"decay": {"min_drop": float(m["share"])}}}),
    _Clause("N of M batches", r"(?P<n>\d+) of (?P<m>\d+) batches", lambda m: {"monitor": {"decay": {"batches": int(m["n"]), "of_last": int(m["m"])}}}),
    _Clause("drifted SHARE", f"drifted {_SHARE}", lambda m: {"monitor": {"drift": {"share": float(m["share"])}}}),
    _Clause("labels after SPAN", f"labels after {_SPAN}", lambda m: {"ingest": {"label": {"known_after": _span(m)}}}),
    _Clause("blocks of SPAN", f"blocks of {_SPAN}", lambda m: {"evaluate": {"block": _span(m)}}),
    _Clause("batches of a PERIOD", "batches of an? (?P<period>hour|day|week|month)", lambda m: {"ingest": {"period": m["period"]}}),
)  # fmt: skip


def parse(text: str) -> Policy:
    """Read a policy as a person writes it: clauses with commas between them. Raises UsageError with all unknown clauses.

    >>> parse("every 1 week, no gate").changes["retrain"]["every"]
    '7 days'
    """
    changes, wrong, forms = _NOTHING, list[str](), list[str]()
    if "no gate" in text.lower() and re.search(r"gate on|margin|gain", text.lower()):
        raise UsageError(f"policy {text!r}: `no gate` leaves nothing for the gate's metric, margin or gain")
    for clause in (c.strip().lower() for c in text.split(",") if c.strip()):
        try:
            form, change = _read(clause)
            changes = merged(changes, change)
            forms.append(form)
        except (LookupError, ValueError):
            wrong.append(clause)
    if wrong or not text.strip():
        raise UsageError(
            f"policy {text!r}: {', '.join(map(repr, wrong)) or 'nothing'} is not a clause; there are "
            + ", ".join(f"`{c.form}`" for c in _CLAUSES)
        )
    if twice := sorted({form for form in forms if forms.count(form) > 1}):
        raise UsageError(f"policy {text!r}: `{twice[0]}` occurs twice, and one would silently win; write it once")
    return Policy(" ".join(text.split()), changes)


def parse_all(texts: Iterable[str | PolicyConfig]) -> list[Policy]:
    """Read policies; a text with values in braces is several. Raises UsageError, also for one given twice.

    >>> [p.name for p in parse_all(["frozen", "on decay, cooldown {7, 30} days"])]
    ['frozen', 'on decay, cooldown 7 days', 'on decay, cooldown 30 days']
    """
    policies = []
    for text in texts:
        if isinstance(text, CustomPolicy):
            policies.append(text.policy())
            continue
        assert isinstance(text, str)
        each = [replace(parse(name), family=text if "{" in text else "") for name in _expanded(text)]
        policies += each
    names = [p.name for p in policies]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise UsageError(f"the policy {twice[0]!r} is given twice; each once is enough")
    return policies


def usual(config: ModelConfig) -> list[Policy]:
    """Default policies: those of the config, or else a set derived from its spans."""
    if config.replay.policies:
        return parse_all(config.replay.policies)
    own = f"{config.promote.min_new_days:g} days"
    # what a window or a half-life keeps of the past
    recent = 3 * max(config.train.min_history, config.promote.gate_window)
    texts = ["frozen", f"every {own}", f"every {own}, no gate", "on decay", "on drift", f"on decay, stale {own}"]
    texts += [f"every {own}, trailing {write_duration(recent)}", f"every {own}, half-life {write_duration(recent / 2)}"]
    return parse_all(texts)


def _expanded(text: str) -> list[str]:
    """Each way to choose one of the values in each pair of braces."""
    parts = re.split(r"\{([^{}]*)\}", text)
    choices = [[part] if k % 2 == 0 else [v.strip() for v in part.split(",")] for k, part in enumerate(parts)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def _read(clause: str) -> tuple[str, Changes]:
    for rule in _CLAUSES:
        if match := re.fullmatch(rule.pattern, clause):
            return rule.form, rule.changes(match)
    raise LookupError(clause)


def merged(into: Mapping[str, Any], changes: Mapping[str, Any]) -> Changes:
    """Changes upon changes: sections are merged, findings are added, everything else is replaced.

    >>> merged({"retrain": {"findings": ["decayed"]}}, {"retrain": {"findings": ["stale"], "every": "7 days"}})
    {'retrain': {'findings': ['decayed', 'stale'], 'every': '7 days'}}
    """
    done = dict(into)
    for key, value in changes.items():
        old = done.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            done[key] = merged(old, value)
        elif key == "findings" and isinstance(old, list):
            done[key] = [*old, *(v for v in value if v not in old)]
        else:
            done[key] = value
    return done


def applied(config: ModelConfig, policy: Policy) -> ModelConfig:
    """The config under a policy. Raises UsageError if the result is no valid config."""
    written = config.model_dump(mode="json", by_alias=True)
    try:
        return ModelConfig.model_validate(_over(written, policy.changes), context={ROOT: root_of(*config.named)})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise UsageError(f"policy {policy.name!r} makes no config of {config.model}: {problems}") from None


def changed(config: ModelConfig, policy: Policy) -> Changes:
    """The changes of a policy in the form of the config's YAML: with all gates if it changes one of them."""
    written = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    gates = policy.changes.get("promote", {}).get("gates")
    if not isinstance(gates, Mapping):
        return policy.changes
    own = written.get("promote", {}).get("gates") or [{"kind": g.kind} for g in config.promote.gates]
    return merged(policy.changes, {"promote": {"gates": _in_list(own, gates)}})


def block(config: ModelConfig, policy: Policy) -> str:
    """The changes as YAML, to be pasted into the config."""
    return yaml_text.write(changed(config, policy), flow=None)


def _over(into: Mapping[str, Any], changes: Mapping[str, Any]) -> Changes:
    """Changes over a config: lists are replaced, too, but in a list of gates one gate may be changed."""
    done = dict(into)
    for key, value in changes.items():
        old = done.get(key)
        if isinstance(value, Mapping) and isinstance(old, list):
            done[key] = _in_list(old, value)
        else:
            done[key] = _over(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return done


def _in_list(gates: Sequence[Mapping[str, Any]], changes: Mapping[str, Any]) -> list[Any]:
    """The gates with changes by kind; a gate that is not among them is put before the others."""
    kinds = {gate["kind"] for gate in gates}
    new = [{"kind": kind, **change} for kind, change in changes.items() if kind not in kinds]
    return [*new, *({**gate, **changes.get(gate["kind"], {})} for gate in gates)]
