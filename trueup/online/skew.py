"""The share of served rows with other features offline, for servers to show."""

from __future__ import annotations

from types import NoneType
from typing import Final

from trueup.domain.monitoring.result import SkewLook
from trueup.model import MONITOR, Model

_LAST: Final = 12  # batches in which a compared one is looked for


def newest_skew(model: Model, version: int) -> dict[str, float]:
    """`rows` and `share` of the newest batch in which served features of a version were compared; empty without one."""
    store, name = model.home.store, model.config.model
    windows = list(dict.fromkeys(r.window for r in reversed(store.results(name, MONITOR, NoneType))))
    for window in windows[:_LAST]:
        for result in reversed(store.results(name, MONITOR, SkewLook, window)):
            if (skew := result.body.skew) is not None and skew.version == version:
                return {"rows": float(skew.rows), "share": skew.share}
    return {}
