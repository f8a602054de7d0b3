"""Every config is free of mistakes, and its deployments are in prefect.yaml."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from trueup.config.load import load_model, model_names

PROJECT = Path(__file__).parents[1]
MODELS = model_names(PROJECT / "configs")


def test_there_is_a_model():
    assert MODELS, "no configs/*.yaml: `trueup new` writes one from a table"


@pytest.mark.parametrize("model", MODELS)
def test_the_config_has_no_mistakes(model):
    assert load_model(PROJECT / "configs", model).model == model


@pytest.mark.parametrize("model", MODELS)
def test_prefect_yaml_deploys_the_model(model):
    deployments = YAML(typ="safe").load(PROJECT / "prefect.yaml")["deployments"]
    assert model in {(deployment.get("parameters") or {}).get("model") for deployment in deployments}
