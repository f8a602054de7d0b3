"""The runtime makes the same numbers of a row of plain values as Trueup makes of a feature frame."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from tests.edge import bundles
from trueup.adapters.onnx.form import Input, encode
from trueup.domain.data.values import as_text
from trueup_edge.bundle import open_bundle
from trueup_edge.inputs import Encoder
from trueup_edge.trust import read_anchor

COLUMNS = (
    Input("plain", "number"),
    Input("small", "number", "float32"),
    Input("trees", "category", categories=("", "1", "a", "true")),
    Input("linear", "category", categories=("2.5", "b", "false"), missing=3.0, unknown=4.0),
)
NUMBERS = st.none() | st.floats() | st.integers(-(2**63), 2**63) | st.booleans()
TEXTS = st.none() | st.sampled_from(["", "1", "a", "b", "true", "True", "FALSE", "2.5", "é", "z"])
VALUES = TEXTS | st.booleans() | st.integers(-3, 3) | st.sampled_from([1.0, 2.5, 1e-7, 1e22, math.nan])


@given(
    st.lists(
        st.fixed_dictionaries({}, optional={"plain": NUMBERS, "small": NUMBERS, "trees": VALUES, "linear": VALUES}),
        min_size=1,
        max_size=6,
    )
)
def test_rows_are_encoded_as_in_trueup(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("bundle")
    inputs = [
        {
            "name": column.name,
            "kind": column.kind,
            "dtype": column.dtype,
            "categories": list(column.categories),
            "missing": None if math.isnan(column.missing) else column.missing,
            "unknown": None if math.isnan(column.unknown) else column.unknown,
            "of": "numeric" if column.kind == "number" else "categorical",
            "infinite": True,
        }
        for column in COLUMNS
    ]
    bundle = bundles.write(folder / "bundle", inputs=inputs)
    encoder = Encoder(open_bundle(bundle, read_anchor(bundles.trust(folder / "trust.json"))).manifest)
    frame = pd.DataFrame(
        {column.name: pd.Series([row.get(column.name) for row in rows], dtype=object) for column in COLUMNS}
    )
    for column in COLUMNS:
        values = frame[column.name]
        frame[column.name] = values.astype(np.float64) if column.kind == "number" else as_text(values)
    np.testing.assert_array_equal(encoder.encode(rows), encode(COLUMNS, frame))
