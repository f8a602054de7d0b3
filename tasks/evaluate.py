"""Evaluate, as a task."""

from tasks.wrap import stage
from trueup.stages import evaluate as logic

evaluate = stage("evaluate", retries=2)(logic.evaluate)
