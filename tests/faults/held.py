"""A flow held in the middle of its work for as long as a file lies beside its config, or made to fail by another."""

from pathlib import Path

from tests.story import PLAIN

MODULE = """
import time
from pathlib import Path

import pandas as pd


def features(rows):
    here = Path(__file__).parent
    if (here / "fail").exists():
        raise RuntimeError("the feature has failed")
    while (here / "hold").exists():
        (here / "holding").touch()
        time.sleep(0.1)
    return pd.DataFrame({"both": rows["x"] * rows["z"]}, index=rows.index)
"""


def config() -> str:
    """The toy's config with a feature that can be held."""
    return PLAIN.replace("features:\n", "features:\n  custom: held:features\n")


class Held:
    """Puts the feature beside the config, and says when it waits; what was made before is not made again."""

    def __init__(self, configs: Path) -> None:
        (configs / "held.py").write_text(MODULE)
        self._hold, self._holding, self._fail = (configs / name for name in ("hold", "holding", "fail"))

    def hold(self) -> None:
        self._holding.unlink(missing_ok=True)
        self._hold.touch()

    def holding(self) -> bool:
        return self._holding.exists()

    def release(self) -> None:
        self._hold.unlink(missing_ok=True)

    def fail(self, yes: bool) -> None:
        self._fail.touch() if yes else self._fail.unlink(missing_ok=True)
