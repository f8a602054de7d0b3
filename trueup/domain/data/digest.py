"""Digests of plain values through canonical JSON."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from trueup.config.schema import ModelConfig
from trueup.config.sections.training import TrainConfig


def digest_of(value: Any) -> str:
    """SHA-256 over canonical JSON: sorted keys, no white space, no NaN.

    >>> digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(_canonical(value)).hexdigest()


# No training or judgement depends on retention, replay, governance, serving, the checks of pull requests or a rollout,
# whose rules its own entry has. With them in the digest, a change of wording would make the last batch's retrain a new one, and the same training
# data would be tried again.
_NOT_DECIDING = {"retention", "replay", "governance", "about", "serve", "tags", "ci"}


_ALARMS = {"overdue_after"}  # keys of `retrain` that only call a person
_INFORMS = {"estimate"}  # keys of `monitor` that decide nothing
_LATER = ("trials_at_once", "dask_workers")  # keys of `train` that earlier versions of Trueup did not have


def unused(train: TrainConfig) -> set[str]:
    """The later keys that are at their defaults. Digests leave them out, so that earlier decisions are found again."""
    return {name for name in _LATER if getattr(train, name) == TrainConfig.model_fields[name].default}


def config_digest(config: ModelConfig) -> str:
    """Digest of all sections of a model's config that a decision may depend on."""
    return hashlib.sha256(config_text(config)).hexdigest()


def config_text(config: ModelConfig) -> bytes:
    """The text behind `config_digest`: JSON from which the config can be read again."""
    # Without an export the text is that of a version of Trueup that has none, so that its decisions are found again.
    # Units are words for people. The rules of a data contract are among the expectations, wherever they were written.
    left_out: dict[str, Any] = {
        "export": True if config.export is None else {"units"},
        "promote": {"rollout", "across"},
    }
    left_out |= {"train": unused(config.train), "ingest": {"contract"}, "retrain": _ALARMS, "monitor": _INFORMS}
    return _canonical(
        config.model_dump(mode="json", by_alias=True, exclude=dict.fromkeys(_NOT_DECIDING, True) | left_out)
    )


def policy_digest(config: ModelConfig) -> str:
    """Digest of the rules for monitoring, retraining and replacing a champion."""
    later = (("rollout", None), ("across", "code"))  # keys that earlier versions did not have, at their defaults
    unset = {name for name, default in later if getattr(config.promote, name) == default}
    none: dict[str, Any] = {"retrain": _ALARMS, "monitor": _INFORMS, **({"promote": unset} if unset else {})}
    sections = {"promote", "retrain", "monitor"}
    return digest_of(config.model_dump(mode="json", by_alias=True, include=sections, exclude=none))


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True).encode()
