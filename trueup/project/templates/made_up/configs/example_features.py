"""Features of the example that are more than a column: `features.custom` in example.yaml names the function."""

import numpy as np
import pandas as pd


def features(rows: pd.DataFrame) -> pd.DataFrame:
    """Give numeric features with the index of the landed rows."""
    load = rows["weight_kg"].astype(float) * rows["distance_km"].astype(float)
    return pd.DataFrame({"log_load": np.log1p(load)}, index=rows.index)
