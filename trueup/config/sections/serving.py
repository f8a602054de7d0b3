"""The section `serve`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trueup.config.section import Dotted, Section


class ServeConfig(Section):
    """Online answers of the champion by `trueup serve`, and the log of what it answered."""

    durability: Literal["process", "machine", "home", "off"] = Field(
        "process",
        description="When a prediction counts as logged, which is before its answer: `process` writes it to a file, which survives the end of the process; `machine` also waits for the disk, which survives the end of the machine; `home` writes it to the home's database, for machines that lose their disk; `off` logs nothing.",
    )
    on_full: Literal["refuse", "serve"] = Field(
        "refuse",
        description="What happens while the log cannot be written, because the disk or `log_mib` is full: requests of record are refused with 503, or they are answered, and the predictions that are not logged are counted.",
    )
    log_mib: float = Field(
        1024,
        gt=0,
        description="Limit for the size of the log of this model's predictions that wait to be stored, in MiB.",
    )
    max_kib: float = Field(1024, gt=0, description="Limit for the body of a request, in KiB.")
    max_rows: int = Field(1000, ge=1, description="Limit for the rows of a request.")
    queue: int = Field(
        256, ge=1, description="Requests that one worker holds at once; further ones get 503 with Retry-After."
    )
    features: Dotted | None = Field(
        None,
        description="`module:function`, the online form of `features.custom`: it takes the fields of one row as a dict and returns a dict of numbers, with the same names and values.",
    )
    max_skew: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of served rows whose features may differ from those computed offline, when their batch has landed; beyond it the diagnosis has the finding `skewed`.",
    )
    personal: list[str] = Field(
        default=[],
        description="Columns with personal data: their values are never written to the prediction log's features.",
    )
    log_bodies: bool = Field(False, description="Whether the server's own log shows the body of a refused request.")
