"""What a flow's parameters may be, as Prefect's form shows them and its server enforces them.

The server refuses a run whose parameters do not fit, before any process is started. What the form offers is written
down with the deployment: after adding a model, deploy again.
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
    """Offer the models that have a config. Read when the form is made, so no list has to be kept up to date."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        names = model_names(Settings().configs)
        return handler(core) | ({"enum": names} if names else {})


# The check of the text is the server's: JSON Schema's own "date-time" is not enforced, and knows no days.
_MOMENT = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$"

ModelName = Annotated[str, Field(min_length=1), _Configs()]
AsOf = Annotated[datetime, WithJsonSchema({"type": "string", "format": "date-time", "pattern": _MOMENT})] | None
Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
Version = Annotated[int, Field(ge=1)] | None
