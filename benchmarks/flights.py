"""The whole year of flights through `run`, beside a bare model frozen in February.

Every promotion after the first is judged again on the month that followed: the new champion, which served, against the
replaced one, on the same rows. `python -m benchmarks.flights [--json]`; the home is TRUEUP_HOME.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import datetime
from itertools import pairwise
from typing import Any

from trueup.model import Model
from trueup.orchestration.environment import prepare

prepare()  # before Prefect is imported

from benchmarks import frozen_reference  # noqa: E402
from trueup.cli.demo import MODEL, demo  # noqa: E402
from trueup.config.load import load_model  # noqa: E402
from trueup.domain.judging.bootstrap import paired_interval  # noqa: E402
from trueup.domain.judging.metrics import row_losses  # noqa: E402
from trueup.domain.types import EVENT_TIME, LABEL, ROW_ID, Batch  # noqa: E402
from trueup.home import Home  # noqa: E402
from trueup.model import Champion  # noqa: E402
from trueup.stages.score import shadow  # noqa: E402

END = datetime(2014, 1, 1)


def promotions(model: Model) -> list[dict[str, Any]]:
    """Each promotion but the first: mean loss of the new champion minus that of the old one on the following month."""
    moments = [e.as_of for e in model.home.ledger.entries(model.config.model) if e.kind == "promoted"]
    after = {b.window.start: b for b in model.usable_batches(END)}
    differences = []
    for before, moment in pairwise(moments):
        old, batch = model.champion_at(before), after.get(moment)
        if old is not None and batch is not None:
            differences.append({"month": f"{moment:%Y-%m}", **_difference(model, batch, old)})
    return differences


def _difference(model: Model, batch: Batch, old: Champion) -> dict[str, Any]:
    served = model.scored_labels(batch, END)
    other = model.scored_labels(batch, END, shadow(model, batch, old, END))
    both = served.merge(other[[ROW_ID, "prediction"]], on=ROW_ID, suffixes=("", "_old"))
    new, before = (row_losses(model.config.task, both[LABEL], both[c]) for c in ("prediction", "prediction_old"))
    e = model.config.evaluate
    bounds = paired_interval(new - before, both[EVENT_TIME], e.block, e.confidence)
    return {"difference": bounds.mean, "low": bounds.low, "high": bounds.high, "worse": bounds.low > 0}


def main() -> None:
    """Run, count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    result = demo(datetime(2013, 12, 1), quiet=as_json)
    home = Home()
    differences = promotions(Model(load_model(home.configs, MODEL), home))
    home.close()
    bare = frozen_reference.evaluate()
    if as_json:
        sys.stdout.write(json.dumps({"loop": asdict(result), "bare": bare, "promotions": differences}) + "\n")
        return
    mean, still = result.mean, bare["mean"]
    sys.stdout.write(
        f"mean of March to December: log-loss {mean['log_loss']:.4f}, AUC {mean['auc']:.4f}\n"
        f"first champion, frozen:    log-loss {mean['log_loss_frozen']:.4f}, AUC {mean['auc_frozen']:.4f}\n"
        f"bare reference, frozen:    log-loss {still['log_loss']:.4f}, AUC {still['auc']:.4f}\n"
    )
    for p in differences:
        verdict = "significantly worse" if p["worse"] else "not significantly worse"
        sys.stdout.write(
            f"promoted for {p['month']}: {p['difference']:+.4f} against the old champion "
            f"(95 % {p['low']:+.4f} to {p['high']:+.4f}), {verdict}\n"
        )


if __name__ == "__main__":
    main()
