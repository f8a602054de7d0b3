"""Register, as a task."""

from tasks.wrap import stage
from trueup.stages import register as logic

register = stage("register", retries=2)(logic.register)
