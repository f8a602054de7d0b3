"""What a retrain rests on beside data and code of the project: the config as it was, and the function beside it.

Both are kept in the home under their own digest, and the decision names them, so that a version can be made again when
the files that people edit have long become others.
"""

from __future__ import annotations

import json
from typing import Any

from trueup.config.own_code import source_text
from trueup.config.schema import ModelConfig
from trueup.domain.data.digest import config_text
from trueup.errors import WorkError
from trueup.home import Home
from trueup.model import Model


def keep(model: Model) -> dict[str, str | None]:
    """Keep the config, and the module of `features.custom`; give their digests as a decision records them."""
    custom = model.config.features.custom
    function = source_text(custom, model.home.configs) if custom else b""
    return {
        "config": model.home.store.put_text(model.config.model, config_text(model.config)),
        "function": model.home.store.put_text(model.config.model, function) if function else None,
    }


def config_then(model: str, body: dict[str, Any], home: Home) -> ModelConfig:
    """The config with which a decision was made. Raises WorkError when it was not kept, or is not what was kept."""
    if (digest := (body.get("recorded") or {}).get("config")) is None:
        raise WorkError(f"the decision is from before configs were kept; its config_digest is {body['config_digest']}")
    return ModelConfig.model_validate(json.loads(home.store.read_text(model, digest)))


def function_then(model: str, body: dict[str, Any], home: Home) -> bytes | None:
    """The module of `features.custom` as it was; None where there was none. Raises WorkError."""
    digest = (body.get("recorded") or {}).get("function")
    return None if digest is None else home.store.read_text(model, digest)
