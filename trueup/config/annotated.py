"""Write a config as commented YAML, in stage order, with every guess marked."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trueup.config import yaml_text

GUESS, CHECK = "guessed", "CHECK"  # an inferred value, and one that a person must check
_WIDTH = 120


@dataclass
class Draft:
    """Lines of commented YAML."""

    lines: list[str] = field(default_factory=list)

    def section(self, name: str, why: str = "", apart: bool = False) -> None:
        """Start a section, after a blank line if `apart`. A short comment goes beside the key, a long one below it."""
        self.lines += [""] if apart else []
        line = f"{name}:  # {why}" if why else f"{name}:"
        if len(line) <= _WIDTH:
            self.lines.append(line)
            return
        self.lines.append(f"{name}:")
        self.say(why, 1)

    def say(self, text: str, depth: int = 0) -> None:
        indent = "  " * depth
        self.lines += [f"{indent}# {line}" for line in textwrap.wrap(" ".join(text.split()), _WIDTH - len(indent))]

    def put(self, key: str, value: Any, depth: int = 1, why: str = "", mark: str = GUESS) -> None:
        """Add a key with a plain value. A short reason goes beside it, a long one above it."""
        line = f"{'  ' * depth}{key}: {flow(value)}"
        reason = f"{mark}: {why}" if why else ""
        if reason and len(line) + len(reason) + 4 <= _WIDTH:
            self.lines.append(f"{line}  # {reason}")
            return
        if reason:
            self.say(reason, depth)
        self.lines += _wrapped(line, depth)

    def items(self, key: str, values: Iterable[tuple[Mapping[str, Any], str]], depth: int = 1) -> None:
        """Add a list of small maps, one per line, each with its reason."""
        self.lines.append(f"{'  ' * depth}{key}:")
        for value, why in values:
            comment = f"  # {why}" if why else ""
            line = f"{'  ' * (depth + 1)}- {flow(dict(value))}"
            if len(line) + len(comment) > _WIDTH:
                self.lines += ([f"{'  ' * (depth + 1)}{comment.strip()}"] if comment else []) + _wrapped(
                    line, depth + 1
                )
            else:
                self.lines.append(line + comment)

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def flow(value: Any) -> str:
    """A value on one line, as YAML."""
    return yaml_text.write(value, flow=True, width=10**6).strip().removesuffix("...").strip()


def _wrapped(line: str, depth: int) -> list[str]:
    """Break a long line after the commas of its lists. A line with quotes stays whole: a comma may be part of a text."""
    if len(line) <= _WIDTH or "[" not in line or '"' in line or "'" in line:
        return [line]
    lines, indent = [""], "  " * (depth + 2)
    for part in line.split(", "):
        longer = f"{lines[-1]}, {part}" if lines[-1] else part
        if len(longer) < _WIDTH or not lines[-1]:
            lines[-1] = longer
        else:
            lines[-1] += ","
            lines.append(f"{indent}{part}")
    return lines
