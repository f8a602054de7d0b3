"""Ingest, as a task."""

from tasks.wrap import stage
from trueup.stages import ingest as logic

ingest = stage("ingest", retries=3)(logic.ingest)
