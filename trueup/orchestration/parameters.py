"""Types of flow parameters, which Prefect's form shows and its server enforces.

The server refuses a run with wrong parameters before any process starts. The form's choices are stored with the
deployment, so deploy again after adding a model.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from trueup.config.load import model_names
from trueup.config.settings import Settings


class _Configs:
    """The models with a config, read when the form is made."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        names = model_names(Settings().configs)
        return handler(core) | ({"enum": names} if names else {})


# The server checks this pattern; JSON Schema's "date-time" is not enforced, and excludes plain dates.
_MOMENT = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$"

ModelName = Annotated[str, Field(min_length=1), _Configs()]
AsOf = Annotated[datetime, WithJsonSchema({"type": "string", "format": "date-time", "pattern": _MOMENT})] | None
Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
Version = Annotated[int, Field(ge=1)] | None
Step = Annotated[int, Field(ge=0)] | None
