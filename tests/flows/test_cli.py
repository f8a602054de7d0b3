"""The command line: exit codes, what is said where, and that nothing half written stays behind."""

import json
from pathlib import Path

import pytest
from typer.main import get_command

from flows.cli import app
from tests import streams
from tests.stages.story import PLAIN, NoReports


def commands(command=None, path=()):
    """Every command, as the words that name it."""
    command = command or get_command(app)
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_has_help(trueup, words):
    answer = trueup(*words, "--help")
    assert answer.code == 0
    assert "Usage: trueup" in answer.out
    assert not trueup.home.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("run", "toi"),
        ("retrain", "toi"),
        ("score", "toi"),
        ("monitor", "toi"),
        ("status", "toi"),
        ("quarantine", "list", "toi"),
    ],
    ids=" ".join,
)
def test_an_unknown_model_is_wrong_usage_and_the_nearest_name_is_given(trueup, prefect_server, words):  # noqa: ARG001
    answer = trueup(*words)
    assert answer.code == 2
    assert "did you mean toy?" in answer.err
    assert "Traceback" not in answer.err
    assert answer.out == ""
    assert trueup.landed() == []


def test_all_mistakes_of_a_config_are_shown_with_their_lines(trueup, prefect_server):  # noqa: ARG001
    mistakes = {"period: week": "period: fortnight", "trials: 1": "trails: 1", "min_matured: 100": "min_matured: 3"}
    text = streams.CONFIG
    for right, wrong in mistakes.items():
        text = text.replace(right, wrong)
    (trueup.folder / "configs" / "toy.yaml").write_text(text)
    lines = text.splitlines()
    for words in (("run", "toy"), ("check", "toy")):
        answer = trueup(*words)
        said = answer.out + answer.err
        assert answer.code == 2
        assert "did you mean `trials`?" in said
        for wrong in mistakes.values():
            line = next(n for n, text_ in enumerate(lines, 1) if wrong in text_)
            assert f"line {line}," in said, said
    assert trueup.landed() == []


@pytest.mark.parametrize(
    "words", [("run", "toy"), ("score", "toy"), ("monitor", "toy"), ("retrain", "toy")], ids=" ".join
)
def test_an_unreadable_source_is_said(trueup, prefect_server, words):  # noqa: ARG001
    (trueup.folder / "configs" / "data" / "stream.csv").unlink()
    answer = trueup(*words)
    assert answer.code == 1
    assert "data/*.csv" in answer.err
    assert "Traceback" not in answer.err
    assert "Encountered exception" not in answer.err
    assert trueup.landed() == []


def test_before_any_data_the_next_step_is_given(trueup, prefect_server):  # noqa: ARG001
    answer = trueup("run", "toy", "--as-of", "2023-06-01")
    assert answer.code == 1
    assert "no complete week of data by 2023-06-01" in answer.err
    assert "later --as-of" in answer.err
    assert trueup.landed() == []


@pytest.mark.parametrize("words", ["yesterday", "2024-13-01", ""])
def test_a_bad_as_of_is_wrong_usage(trueup, words):
    answer = trueup("run", "toy", "--as-of", words)
    assert answer.code == 2
    assert "is not a time" in answer.err
    assert not trueup.home.exists()


@pytest.mark.parametrize(
    "words", [("run",), ("fly",), ("run", "toy", "--retrain", "often"), ("demo", "--to", "2014-01")], ids=" ".join
)
def test_wrong_usage_ends_with_2(trueup, words):
    answer = trueup(*words)
    assert answer.code == 2
    assert "Traceback" not in answer.err
    assert trueup.landed() == []


def test_check_says_what_the_source_holds_and_writes_nothing(trueup):
    answer = trueup("check", "--json")
    (model,) = json.loads(answer.out)["models"]
    assert answer.code == 0, answer.out
    assert model["problems"] == []
    assert (model["first"][:10], model["last"][:10]) == ("2024-01-01", "2024-01-14")
    assert not trueup.home.exists()


def test_check_names_all_problems_at_once(trueup):
    text = streams.CONFIG.replace("type: expect_column_values_to_be_between", "type: expect_no_such_thing")
    text = text.replace("numeric: [x, z]", "numeric: [x, zz]").replace("max_iter: 40", "max_itre: 40")
    (trueup.folder / "configs" / "toy.yaml").write_text(text)
    answer = trueup("check", "toy")
    assert answer.code == 2
    for word in ("expect_no_such_thing", "zz", "max_itre"):
        assert word in answer.out
    (trueup.folder / "configs" / "toy.yaml").write_text(streams.CONFIG.replace("numeric: [x, z]", "numeric: [x, x]"))
    (model,) = json.loads(trueup("check", "--json").out)["models"]
    assert len(model["problems"]) == 1
    assert "named twice" in model["problems"][0]


def test_status_before_anything_happened(trueup):
    answer = trueup("status", "--json")
    (model,) = json.loads(answer.out)["models"]
    assert answer.code == 0
    assert model["model"] == "toy"
    assert model["champion"] is None
    assert "next: trueup run toy" in trueup("status").out
    assert "no decisions yet" in trueup("ledger", "show").out
    assert json.loads(trueup("ledger", "show", "--json").out) == {"entries": []}


def test_a_run_tells_people_and_programs(trueup, prefect_server):
    """Also in a process of its own: one JSON object as the last line of stdout, and nothing else there."""
    (trueup.folder / "configs" / "toy.yaml").write_text(PLAIN)
    told = trueup.apart("run", "toy", "--json", PREFECT_API_URL=prefect_server)
    assert told.code == 0, told.err
    (line,) = told.out.splitlines()
    done = json.loads(line)
    assert done["decided"]["outcome"] == "held"
    assert len(done["batches"]) == 2

    again = trueup("run", "toy")
    assert again.code == 0
    assert "decision: held" in again.out
    assert "not enough history" in again.out
    (model,) = json.loads(trueup("status", "toy", "--json").out)["models"]
    assert model["diagnosis"] == "unknown"
    assert "not enough history" in trueup("status").out + trueup("ledger", "show").out
    (entry,) = json.loads(trueup("ledger", "show", "toy", "--json").out)["entries"]
    assert entry["outcome"] == "held"
    assert json.loads(trueup("quarantine", "list", "toy", "--json").out) == {"rows": []}


def test_a_broken_batch_ends_with_1(trueup, prefect_server, monkeypatch):  # noqa: ARG001
    monkeypatch.setattr("trueup.stages.ports.shared", NoReports)
    frame = streams.Stream(days=14, per_day=20).frame().assign(x=None)
    frame.to_csv(trueup.folder / "configs" / "data" / "stream.csv", index=False)
    answer = trueup("run", "toy", "--json")
    assert answer.code == 1
    done = json.loads(answer.out.splitlines()[-1])
    assert {o["diagnosis"] for o in done["observed"]} == {"data_broken"}
    assert done["decided"]["outcome"] == "none"


def test_decisions_of_an_unknown_model_are_wrong_usage(trueup):
    answer = trueup("ledger", "show", "tyo")

    assert answer.code == 2
    assert "did you mean toy?" in answer.err


def test_releasing_a_row_that_is_not_in_quarantine_is_wrong_usage(trueup, prefect_server):  # noqa: ARG001
    trueup("run", "toy", "--as-of", "2024-01-08")

    answer = trueup("quarantine", "release", "toy", "--row", "99", "--by", "Ada", "--why", "fine")

    assert answer.code == 2
    assert "not in quarantine: row 99; `trueup quarantine list toy`" in answer.err


def test_the_demo_tells_programs_what_it_did(trueup, prefect_server, monkeypatch):  # noqa: ARG001
    monkeypatch.setenv("TRUEUP_CONFIGS", str(Path(__file__).parents[2] / "configs"))

    told = json.loads(trueup("demo", "--to", "2013-03", "--json").out.splitlines()[-1])

    assert set(told) == {"months", "mean", "paths", "seconds"}
    assert [m["month"] for m in told["months"]] == ["2013-01", "2013-02", "2013-03"]
    assert [m["decision"] for m in told["months"][:2]] == ["held", "promoted"]
    march = told["months"][2]
    assert list(march) == [
        *("month", "rows", "quarantined", "late_rate", "champion", "champion_age_days", "log_loss", "log_loss_frozen"),
        *("auc", "auc_frozen", "diagnosis", "decision", "reasons"),
    ]
    assert march["rows"] == 28_834
    assert march["champion"] is not None
    assert march["log_loss"] == march["log_loss_frozen"] == told["mean"]["log_loss"] < 0.5
    assert march["auc"] == told["mean"]["auc"] > 0.7
    assert march["decision"] in {"promoted", "rejected", "held", "none"}
    assert Path(told["paths"]["data_docs"]).is_file()
