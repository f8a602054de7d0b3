"""The library's files stay small: at most 20 modules in a folder, 400 lines in a file, and 60 lines in a function.

Run as `python -m tools.sizes`; prints what is larger and exits with 1.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MODULES, LINES, LINES_OF_A_FUNCTION = 20, 400, 60
SHIPPED: Final = "templates"  # files of projects that `trueup init` makes


def too_large(root: Path) -> Iterator[str]:
    """Each folder, file and function below `root` that is larger than its limit, in words."""
    files = [f for f in sorted(root.rglob("*.py")) if SHIPPED not in f.parts]
    for folder in sorted({f.parent for f in files}):
        modules = sum(f.parent == folder and f.name != "__init__.py" for f in files)
        if modules > MODULES:
            yield f"{folder}: {modules} modules; at most {MODULES}, so group some in a folder"
    for file in files:
        text = file.read_text(encoding="utf-8")
        if (lines := text.count("\n")) > LINES:
            yield f"{file}: {lines} lines; at most {LINES}, so divide it"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LINES_OF_A_FUNCTION:
                    yield f"{file}:{node.lineno}: {node.name} has {length} lines; at most {LINES_OF_A_FUNCTION}"


def main() -> int:
    """Look at the library."""
    found = list(too_large(Path("trueup")))
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
