"""Plan, train and refit, as tasks."""

from tasks.wrap import stage
from trueup.stages import refit as again
from trueup.stages import train as logic

plan = stage("plan")(logic.plan)
train = stage("train", retries=1)(logic.train)
refit = stage("refit", retries=1)(again.refit)
