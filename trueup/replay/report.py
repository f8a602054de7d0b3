"""The report of a replay, as a page and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from trueup.adapters import replay_page
from trueup.adapters.frames import whole
from trueup.replay.compare import Compared
from trueup.stages.ports import Ports


def write(found: Compared, ports: Ports) -> Path:
    """Write both among the reports of the home, and give the page's path. The same lives give the same bytes."""
    model, span = found.facts["model"], found.facts["span"]
    page: Path = ports.root / "reports" / "replays" / model / f"{span['start'][:10]}_{span['end'][:10]}.html"
    texts = {
        page.with_suffix(".json"): json.dumps(found.facts, indent=2, allow_nan=False) + "\n",
        page: replay_page.render(found.facts, found.by_batch),
    }
    for path, text in texts.items():
        with whole(path, durable=False) as file:
            file.write(text.encode())
    return page
