"""The section `export`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trueup.config.section import Section


class ExportConfig(Section):
    """An ONNX form of each challenger and its refit, beside their other files, for use without scikit-learn."""

    format: Literal["onnx"] = Field("onnx", description="The format of the form.")
    required: bool = Field(
        False,
        description="Whether the checks of the form count like gates. By default they inform: they are recorded and change no decision.",
    )
    max_kib: float = Field(16_384, gt=0, description="Limit for the size of the ONNX file, in KiB.")
    max_time_ratio: float = Field(
        20,
        gt=0,
        description="Limit for the time of one row, as a multiple of the time of a small reference graph that is measured in the same process.",
    )
    units: dict[str, str] = Field(
        default={}, description="Units of inputs by feature, such as `weight_kg: kg`, for the manifest of a bundle."
    )
