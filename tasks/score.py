"""Score, as a task."""

from tasks.wrap import stage
from trueup.stages import score as logic

score = stage("score", retries=2)(logic.score)
