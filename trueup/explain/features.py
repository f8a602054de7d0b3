"""The features of a row, beside those that a server used for it."""

from __future__ import annotations

import math
from dataclasses import replace

from trueup.adapters.onnx.form import encode
from trueup.domain.types import ROW_ID
from trueup.explain.case import Case, Made
from trueup.explain.explanation import Feature
from trueup.stages.monitoring.skew import inputs_of, personal_inputs


def as_used(case: Case) -> Made:
    """The features as they are computed at the row's own time; a note if a server used others."""
    features = {name: Feature(name, case.value(name)) for name in case.names}
    served = case.known.served
    if served is None or not served.online or served.version != case.version.number:
        return {"features": tuple(features.values())}, ()
    inputs = inputs_of(case.model, case.version.made, case.frame)
    if inputs is None:
        return {"features": tuple(features.values())}, (
            "the features that a server used cannot be compared: no ONNX form",
        )
    serve = case.model.config.serve
    hidden = set() if serve is None else personal_inputs(case.version.made.features, serve.personal)
    shown = [column for column in inputs if column.name not in hidden]
    names = [column.name for column in shown]
    used = case.model.home.store.read_served(case.model.config.model, case.batch.window, served.version, names)
    theirs = used[used[ROW_ID] == case.known.row_id][names].to_numpy(dtype="float64")[0]
    for name, ours, other in zip(names, encode(shown, case.frame)[0].tolist(), theirs.tolist(), strict=True):
        same = ours == other or (math.isnan(ours) and math.isnan(other))
        if not same:
            online = case.privacy.feature(name, other, case.version.made.features)
            features[name] = replace(features[name], online=online, differs=True)
    differ = [name for name, feature in features.items() if feature.differs]
    note = (f"a server used other values of {', '.join(differ)}",) if differ else ()
    return {"features": tuple(features.values())}, note
