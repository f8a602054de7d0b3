"""Digests of plain values through canonical JSON."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from trueup.config.schema import ModelConfig


def digest_of(value: Any) -> str:
    """SHA-256 over canonical JSON: sorted keys, no white space, no NaN.

    >>> digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(_canonical(value)).hexdigest()


# No decision depends on retention, replay or governance. With them in the digest, a change of
# wording would make the last batch's retrain a new one, and the same training data would be tried again.
_NOT_DECIDING = {"retention", "replay", "governance", "about"}


def config_digest(config: ModelConfig) -> str:
    """Digest of all sections of a model's config that a decision may depend on."""
    return hashlib.sha256(config_text(config)).hexdigest()


def config_text(config: ModelConfig) -> bytes:
    """The text behind `config_digest`: JSON from which the config can be read again."""
    return _canonical(config.model_dump(mode="json", by_alias=True, exclude=_NOT_DECIDING))


def policy_digest(config: ModelConfig) -> str:
    """Digest of the rules for monitoring, retraining and replacing a champion."""
    return digest_of(config.model_dump(mode="json", by_alias=True, include={"promote", "retrain", "monitor"}))


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True).encode()
