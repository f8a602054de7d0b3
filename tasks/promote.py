"""Judge and promote, as tasks."""

from tasks.wrap import stage
from trueup.stages import promote as logic

judge = stage("judge")(logic.judge)
promote = stage("promote", retries=2)(logic.promote)
