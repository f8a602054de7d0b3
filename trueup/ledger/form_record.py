"""The part of a ledger entry about ONNX forms."""

from __future__ import annotations

from trueup.domain.types import Verdict
from trueup.ledger.part import Part


class FormRecord(Part):
    """The ONNX form of a fitted model, with the verdicts about it; no digest without a form."""

    sha256: str | None
    bytes: int | None
    seconds: float  # of making and checking it
    verdicts: tuple[Verdict, ...]


class ExportRecord(Part):
    """The ONNX forms of the judged model and of its refit, and whether the verdicts counted like those of gates."""

    format: str
    required: bool
    judged: FormRecord
    refit: FormRecord | None = None

    @property
    def informing(self) -> tuple[Verdict, ...]:
        """The verdicts that are not among those of the gates."""
        own = () if self.required else self.judged.verdicts
        return (*own, *(self.refit.verdicts if self.refit else ()))
