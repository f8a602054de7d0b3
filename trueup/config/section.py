"""The base class of all sections of a config."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
NAME = r"^[a-z][a-z0-9_]{0,62}$"
Name = Annotated[str, Field(pattern=NAME)]
DOTTED = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"  # module:name
Dotted = Annotated[str, Field(pattern=DOTTED)]


class Section(BaseModel):
    """Base class: unknown keys are refused, numbers must be finite, instances are frozen."""

    # NaN compares false with everything: as a bound it would let everything pass.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
