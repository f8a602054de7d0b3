"""The inputs of a retrain besides data and the project's code: the config at that time, and the user's own modules.

All are kept in the home under their own digests, which the decision names, so that a version can be made again after
people have edited the files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError

from trueup.config.own_code import source_text
from trueup.config.plugins import ROOT, own_modules
from trueup.config.schema import ModelConfig
from trueup.domain.data.digest import config_text
from trueup.errors import WorkError
from trueup.home import Home
from trueup.ledger.record import Record, Recorded
from trueup.model import Model

_MODULE = "module "


def keep(model: Model) -> Recorded:
    """Keep the config, the module of `features.custom`, and those of gates, sources and sinks; return their digests."""
    custom, store, name = model.config.features.custom, model.home.store, model.config.model
    digests: Recorded = {"config": store.put_text(name, config_text(model.config)), "function": None}
    if custom and (text := source_text(custom, model.home.configs)):
        digests["function"] = store.put_text(name, text)
    for dotted in own_modules(model.config.named):
        if text := source_text(dotted, model.home.configs):
            digests[_MODULE + dotted.split(":")[0]] = store.put_text(name, text)
    return digests


def config_then(model: str, body: Record, home: Home) -> ModelConfig:
    """The config with which a decision was made. Raises WorkError when it was not kept, or was changed."""
    if (digest := body.recorded.get("config")) is None:
        raise WorkError(f"the decision keeps no config; its config_digest is {body.config_digest}")
    content = json.loads(home.store.read_text(model, digest))
    if not (modules := _modules(model, body, home)):
        return ModelConfig.model_validate(content, context={ROOT: home.configs})
    with TemporaryDirectory(prefix="trueup-config-") as scratch:
        lay_out_modules(home.configs, Path(scratch), modules)
        try:
            return ModelConfig.model_validate(content, context={ROOT: Path(scratch)})
        except ValidationError as error:
            messages = "; ".join(e["msg"] for e in error.errors(include_url=False))
            raise WorkError(
                f"the config of then cannot be read with the modules {', '.join(modules)}: {messages}"
            ) from None


def modules_then(model: str, body: Record, home: Home, custom: str | None) -> dict[str, bytes]:
    """The user's own modules as they were, by name; `custom` is `features.custom`. Raises WorkError."""
    modules = _modules(model, body, home)
    if digest := body.recorded.get("function"):
        modules[(custom or "").split(":")[0]] = home.store.read_text(model, digest)
    return modules


def lay_out_modules(source: Path, target: Path, modules: Mapping[str, bytes]) -> None:
    """The modules beside the configs in another folder, some of them as they were."""
    for file in source.glob("*.py"):
        shutil.copyfile(file, target / file.name)
    for name, text in modules.items():
        (target / f"{name}.py").write_bytes(text)


def _modules(model: str, body: Record, home: Home) -> dict[str, bytes]:
    return {
        name.removeprefix(_MODULE): home.store.read_text(model, digest)
        for name, digest in body.recorded.items()
        if name.startswith(_MODULE) and digest
    }
