"""environments/<name>.yaml: what differs, and nothing else."""

import pytest

from tests.streams import CONFIG
from trueup.cli.entry import _without_environment
from trueup.config.environments import choose, enter, names
from trueup.config.load import load_model
from trueup.errors import ConfigError, UsageError


@pytest.fixture
def project(tmp_path, monkeypatch):
    for folder in ("configs", "environments"):
        (tmp_path / folder).mkdir()
    (tmp_path / "configs" / "toy.yaml").write_text(CONFIG)
    (tmp_path / "prefect.yaml").write_text("name: shop\n")
    monkeypatch.delenv("TRUEUP_ENV", raising=False)
    return tmp_path


def write(project, text, name="prod"):
    (project / "environments" / f"{name}.yaml").write_text(text)


def test_variables_come_from_the_callers_environment(project):
    write(project, "variables: {TRUEUP_HOME: 's3://prod/${TEAM}', TRUEUP_DATABASE_URL: '${PROD_DB}'}")
    environment = {"TEAM": "shop", "PROD_DB": "postgresql://u:p@h/d", "TRUEUP_HOME": "s3://prod/shop"}
    enter(choose(project, "prod"), environment)
    assert environment["TRUEUP_HOME"] == "s3://prod/shop"
    assert environment["TRUEUP_DATABASE_URL"] == "postgresql://u:p@h/d"
    assert environment["TRUEUP_ENV"] == "prod"


def test_all_that_is_missing_or_set_otherwise_is_said_at_once_and_nothing_is_set(project):
    write(project, "variables: {TRUEUP_HOME: '${HOME_OF_PROD}', TRUEUP_NOTIFY: '${A}${B}', TRUEUP_DASK: 'tcp://here'}")
    environment = {"B": "b", "TRUEUP_DASK": "tcp://there"}
    with pytest.raises(ConfigError) as refused:
        enter(choose(project, "prod"), environment)
    assert [problem.split(";")[0] for problem in refused.value.problems] == [
        "variables.TRUEUP_HOME: ${HOME_OF_PROD} is not set",
        "variables.TRUEUP_NOTIFY: ${A} is not set",
        "variables.TRUEUP_DASK: TRUEUP_DASK is set to something else",
    ]
    assert environment == {"B": "b", "TRUEUP_DASK": "tcp://there"}


@pytest.mark.parametrize(
    "line",
    [
        "TRUEUP_LEDGER_KEY: '0123'",
        "TRUEUP_REPORTS_TOKEN: letmein",
        "PREFECT_API_AUTH_STRING: 'admin:pass'",
        "TRUEUP_DATABASE_URL: 'postgresql://user:pass@host/db'",
    ],
)
def test_a_secret_in_the_file_is_refused_without_being_repeated(project, line):
    write(project, f"variables: {{{line}}}")
    with pytest.raises(ConfigError, match="a secret must not be in a file") as refused:
        choose(project, "prod")
    assert line.split("'")[1 if "'" in line else 0] not in str(refused.value) or "'" not in line


def test_overrides_change_what_may_differ_in_every_config_of_the_process(project, monkeypatch):
    write(project, "overrides: {promote.mode: approval, train.trials: 2, promote.approval.four_eyes: true}")
    configs = project / "configs"
    assert load_model(configs, "toy").promote.mode == "auto"
    monkeypatch.setenv("TRUEUP_ENV", "prod")
    config = load_model(configs, "toy")
    assert (config.promote.mode, config.train.trials, config.promote.approval.four_eyes) == ("approval", 2, True)
    assert config.promote.gate_window == load_model(configs, "toy").promote.gate_window


def test_what_judges_is_the_same_everywhere(project):
    write(project, "overrides: {promote.gates: [], evaluate.confidence: 0.5, promote.modest: auto}\nworkpool: x")
    with pytest.raises(ConfigError, match="workpool: unknown key; did you mean work_pool"):
        choose(project, "prod")
    write(project, "overrides: {promote.gates: [], evaluate.confidence: 0.5, promote.modest: auto}")
    with pytest.raises(ConfigError) as refused:
        choose(project, "prod")
    assert len(refused.value.problems) == 3


def test_a_wrong_override_names_config_and_environment(project, monkeypatch):
    write(project, "overrides: {promote.mode: sometimes}")
    monkeypatch.setenv("TRUEUP_ENV", "prod")
    with pytest.raises(ConfigError, match=r"toy.yaml in the environment prod: 1 mistake\n.*'sometimes' is not one of"):
        load_model(project / "configs", "toy")


def test_an_unknown_environment_names_a_similar_one(project):
    write(project, "", "staging")
    assert names(project) == ["staging"]
    assert choose(project, "staging").content.schedules
    with pytest.raises(UsageError, match="did you mean staging"):
        choose(project, "stagging")
    with pytest.raises(UsageError, match=r"there is no environment '\.\./prod'"):
        choose(project, "../prod")
    assert _without_environment(["run", "m", "--", "--env", "x"]) == (["run", "m", "--", "--env", "x"], None)
