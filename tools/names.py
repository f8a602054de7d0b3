"""Imports of the project's own names are not renamed: `from trueup.x import y as z` hides what z is.

Run as `python -m tools.names`; prints each renamed import and exits with 1.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

OWN = ("trueup", "trueup_edge", "edge", "flows", "tasks", "configs", "benchmarks", "tests", "tools", "docs")


def renamed(file: Path) -> Iterator[str]:
    """Each renamed import of an own name in a file, as `file:line: text`."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        for alias in node.names:
            own = (module or alias.name).split(".")[0] in OWN
            if own and alias.asname not in (None, alias.name):
                yield f"{file}:{node.lineno}: {alias.name} is imported as {alias.asname}; use its own name"


def main() -> int:
    """Look at all Python files of the project."""
    lines = [line for name in OWN for file in sorted(Path(name).rglob("*.py")) for line in renamed(file)]
    print(*lines, sep="\n", end="\n" if lines else "")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
