"""The fenced blocks of the documentation, and which of them are commands."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
WRITTEN = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
SAYING = re.compile(
    r"(\$ )?([A-Z_]+=\S* )*(trueup|make|python|prefect|dask|docker|git|createdb|cp|mv|export) ", re.MULTILINE
)


def blocks(page: Path) -> list[tuple[str, str]]:
    """The word behind the fence, and what stands in the block."""
    return FENCE.findall(page.read_text(encoding="utf-8"))


def commands(page: Path) -> list[str]:
    """The blocks of a page that are commands to be said."""
    return [body for kind, body in blocks(page) if kind in {"", "sh", "bash", "console"} and SAYING.match(body)]


def lines(block: str) -> list[str]:
    """The commands of a block, without what is said of them."""
    return [said for line in block.splitlines() if (said := re.split(r"\s#", f"{line} ")[0].strip())]
