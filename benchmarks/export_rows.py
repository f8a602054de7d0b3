"""Every version of a home in its ONNX form, on every row of every batch that is not broken.

`python -m benchmarks.export_rows [MODEL ...] [--json]`; the home is TRUEUP_HOME, the configs are TRUEUP_CONFIGS. The form is
written anew from the version's files and runs in a process without scikit-learn; `largest` is the largest difference from the
pipeline, relative to max(1, |prediction|), `limit` the tolerance of the form, `beyond` the number of rows beyond it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np

from trueup.adapters.onnx.exporter import to_onnx
from trueup.adapters.onnx.form import differences, dtypes_of, encode
from trueup.adapters.onnx.runner import onnx_process, written
from trueup.config.load import load_model, model_names
from trueup.config.sections.features import FeaturesConfig
from trueup.domain.learning.learning import predict
from trueup.home import Home
from trueup.ledger.record import Made
from trueup.model import Model
from trueup.stages.features import features


def versions(model: Model) -> Iterator[tuple[Made, FeaturesConfig]]:
    """Every version that an entry names, with the features that it was trained on."""
    listed = {}
    for entry in model.home.ledger.entries(model.config.model):
        if (fitted := entry.body.model) is not None:
            of = FeaturesConfig.model_validate(fitted.features)
            listed |= {made.version: (made, of) for made in (fitted, entry.body.judged) if made is not None}
    yield from (listed[version] for version in sorted(listed))


def compared(model: Model, made: Made, of: FeaturesConfig) -> dict[str, Any]:
    """The largest difference over all rows of one version."""
    fitted = model.home.registry.load(made.uri, made.manifest_digest)
    rows, beyond, largest, form = 0, 0, 0.0, None
    for batch in model.usable_batches(datetime.max):
        frame = model.home.store.read_features([features(model, batch, datetime.max, of)])
        form = form or to_onnx(fitted, dtypes_of(frame), model.config.task)
        with written(form.graph) as graph:
            there = onnx_process().predict(graph, encode(form.inputs, frame))
        by_row = differences(there, predict(fitted, frame, model.config.task))
        rows, largest = rows + len(frame), float(np.max([largest, by_row.max(initial=0)]))  # NaN stays NaN
        beyond += int((~(by_row <= form.tolerance)).sum())
    assert form is not None
    return {
        "version": made.version,
        "estimator": type(fitted[-1]).__name__,
        "rows": rows,
        "largest": largest,
        "limit": form.tolerance,
        "beyond": beyond,
        "kib": len(form.graph) / 1024,
    }


def main() -> int:
    """Compare and print; 1 if a row differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    home, result = Home(), {}
    for name in arguments.models or model_names(home.configs):
        model = Model(load_model(home.configs, name), home)
        result[name] = [compared(model, made, of) for made, of in versions(model)]
    if arguments.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        for name, listed in result.items():
            for v in listed:
                sys.stdout.write(
                    f"{name} version {v['version']}, {v['estimator']}, {v['kib']:.0f} KiB: {v['rows']:,} rows, "
                    f"largest difference {v['largest']:.1e} (limit {v['limit']:.0e}), {v['beyond']} beyond\n"
                )
    return int(any(v["beyond"] for listed in result.values() for v in listed))


if __name__ == "__main__":
    sys.exit(main())
