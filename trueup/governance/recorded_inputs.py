"""What a retrain rests on beside data and the project's code: the config as it was, and the user's own modules beside it.

All are kept in the home under their own digests, and the decision names them, so that a version can be made again when
people have long edited the files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError

from trueup.config.kinds import ROOT, own_modules
from trueup.config.own_code import source_text
from trueup.config.schema import ModelConfig
from trueup.domain.data.digest import config_text
from trueup.errors import WorkError
from trueup.home import Home
from trueup.model import Model

_MODULE = "module "


def keep(model: Model) -> dict[str, str | None]:
    """Keep the config, the module of `features.custom`, and those of gates, sources and sinks; return their digests."""
    custom, store, name = model.config.features.custom, model.home.store, model.config.model
    found: dict[str, str | None] = {"config": store.put_text(name, config_text(model.config)), "function": None}
    if custom and (text := source_text(custom, model.home.configs)):
        found["function"] = store.put_text(name, text)
    for dotted in own_modules(model.config.named):
        if text := source_text(dotted, model.home.configs):
            found[_MODULE + dotted.split(":")[0]] = store.put_text(name, text)
    return found


def config_then(model: str, body: dict[str, Any], home: Home) -> ModelConfig:
    """The config with which a decision was made. Raises WorkError when it was not kept, or is not what was kept."""
    if (digest := (body.get("recorded") or {}).get("config")) is None:
        raise WorkError(f"the decision is from before configs were kept; its config_digest is {body['config_digest']}")
    content = json.loads(home.store.read_text(model, digest))
    if not (modules := _modules(model, body, home)):
        return ModelConfig.model_validate(content, context={ROOT: home.configs})
    with TemporaryDirectory(prefix="trueup-config-") as scratch:
        lay_out_modules(home.configs, Path(scratch), modules)
        try:
            return ModelConfig.model_validate(content, context={ROOT: Path(scratch)})
        except ValidationError as error:
            said = "; ".join(e["msg"] for e in error.errors(include_url=False))
            raise WorkError(
                f"the config of then cannot be read with the modules {', '.join(modules)}: {said}"
            ) from None


def modules_then(model: str, body: dict[str, Any], home: Home, custom: str | None) -> dict[str, bytes]:
    """The user's own modules as they were, by name; `custom` is `features.custom`. Raises WorkError."""
    found = _modules(model, body, home)
    if digest := (body.get("recorded") or {}).get("function"):
        found[(custom or "").split(":")[0]] = home.store.read_text(model, digest)
    return found


def lay_out_modules(source: Path, target: Path, modules: Mapping[str, bytes]) -> None:
    """The modules beside the configs in another folder, some of them as they were."""
    for file in source.glob("*.py"):
        shutil.copyfile(file, target / file.name)
    for name, text in modules.items():
        (target / f"{name}.py").write_bytes(text)


def _modules(model: str, body: dict[str, Any], home: Home) -> dict[str, bytes]:
    recorded = (body.get("recorded") or {}).items()
    digests = {name.removeprefix(_MODULE): digest for name, digest in recorded if name.startswith(_MODULE)}
    return {name: home.store.read_text(model, digest) for name, digest in digests.items()}
