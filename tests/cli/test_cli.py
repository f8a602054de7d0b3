"""The command line: exit codes, what is said where, and that nothing half written stays behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from tests import streams
from tests.story import PLAIN, NoReports, Story, stream, window
from trueup.cli import output
from trueup.cli.main import app
from trueup.cli.output import turn_text
from trueup.handoffs import Cycle, Decided


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


def test_with_json_an_error_is_an_object_too(trueup):
    told = trueup.apart("status", "toi", "--json")
    assert told.code == 2
    said = json.loads(told.out)
    assert said["exit_code"] == 2
    assert "did you mean toy?" in said["error"]
    assert said["error"] in " ".join(told.err.split())


def test_all_mistakes_of_a_config_are_shown_with_their_lines(trueup, prefect_server):  # noqa: ARG001
    mistakes = {
        "period: week": "period: fortnight",  # the schema knows
        "be_in_set": "be_in_sett",  # only Great Expectations knows
        "[group]\n  history": "[group, y]\n  history",  # a contradiction: y is the label
        "trials: 1": "trails: 1",
        "max_iter: 40": "max_itre: 40",  # only scikit-learn knows
        "min_matured: 100": "min_matured: 3",
    }
    lines = wrong_in(trueup, mistakes)
    for words in (("run", "toy"), ("check", "toy"), ("retrain", "toy")):
        answer = trueup(*words)
        said = (answer.out + answer.err).splitlines()
        assert answer.code == 2
        told = [line.strip() for line in said if "line " in line]
        assert [int(line.removeprefix("line ").split(",")[0]) for line in told] == lines, said
        for mend in (
            "did you mean `trials`?",
            "did you mean max_iter?",
            "did you mean expect_column_values_to_be_in_set?",
        ):
            assert mend in "\n".join(told)
    assert not trueup.home.exists() or not list(trueup.home.rglob("*.db"))


def wrong_in(trueup, mistakes):
    """Put mistakes into the config; give their lines."""
    text = streams.CONFIG
    for right, wrong in mistakes.items():
        assert right in text
        text = text.replace(right, wrong)
    (trueup.folder / "configs" / "toy.yaml").write_text(text)
    return [text[: text.index(wrong)].count("\n") + 1 for wrong in mistakes.values()]


def test_what_only_libraries_know_to_be_wrong_is_told_before_anything_is_written(trueup, prefect_server):  # noqa: ARG001
    mistakes = {"be_in_set": "be_in_sett", "max_iter: 40": "max_itre: 40"}
    lines = wrong_in(trueup, mistakes)
    answer = trueup("run", "toy")
    assert answer.code == 2
    assert answer.err.count("\n  line ") == 2
    assert all(f"line {line}, " in answer.err for line in lines)
    assert trueup.landed() == []

    wrong_in(trueup, {})
    assert trueup("run", "toy").code == 0
    before = trueup.landed()
    (line,) = wrong_in(trueup, {"max_iter: 40": "max_itre: 40"})
    answer = trueup("retrain", "toy")  # nothing new to land
    assert answer.code == 2
    assert f"line {line}, train.parameters.gradient_boosting.max_itre: " in answer.err
    (line,) = wrong_in(trueup, {"be_in_set": "be_in_sett"})
    answer = trueup("run", "toy")  # what was landed is to be judged by other rules
    assert answer.code == 2
    assert f"line {line}, validate.expectations[2].type: " in answer.err
    assert trueup.landed() == before


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
    mistakes = {
        "expect_column_values_to_be_between": "expect_no_such_thing",
        "numeric: [x, z]": "numeric: [x, grup]",
        "max_iter: 40": "max_itre: 40",
    }
    lines = wrong_in(trueup, mistakes)
    answer = trueup("check", "toy")
    assert answer.code == 2
    assert [f"line {line}, " in answer.out for line in lines] == [True] * 3
    assert "features.numeric[2]: the source has no column grup; did you mean group?" in answer.out
    (trueup.folder / "configs" / "toy.yaml").write_text(streams.CONFIG.replace("numeric: [x, z]", "numeric: [x, x]"))
    (model,) = json.loads(trueup("check", "--json").out)["models"]
    assert len(model["problems"]) == 1
    assert "named twice" in model["problems"][0]


@pytest.mark.parametrize(
    ("frame", "config", "said"),
    [
        ({"y": None}, {}, "line 10, ingest.label.column: column y holds no outcome in all 280 rows that were looked at"),
        ({"y": float("inf")}, {}, "line 10, ingest.label.column: 'y' holds 140 values besides 0 and 1: 'inf' (140)"),
        ({"y": 3}, {}, "line 10, ingest.label.column: 'y' holds 140 values besides 0 and 1"),
        ({"told": None}, {"known_after: 1 day": "known_at: told"}, "ingest.label.known_at: column told is empty in all"),
        ({"t": "soon"}, {}, "line 6, ingest.source: files data/*.csv: ingest.time: 1 of 1 values of 't' are not times"),
    ],
)  # fmt: skip
def test_check_lands_a_sample_and_says_what_no_run_could_use(trueup, frame, config, said):
    wrong_in(trueup, config)
    data = streams.Stream(days=14, per_day=20).frame().assign(**frame)
    data.to_csv(trueup.folder / "configs" / "data" / "stream.csv", index=False)
    answer = trueup("check", "toy")
    assert answer.code == 2
    assert said in " ".join(answer.out.split())
    assert not trueup.home.exists()


def test_labels_that_begin_later_are_labels(trueup):
    data = streams.Stream(days=28, per_day=20).frame()
    data.assign(y=data["y"].where(data["t"] >= "2024-01-15")).to_csv(
        trueup.folder / "configs" / "data" / "stream.csv", index=False
    )
    answer = trueup("check", "toy")
    assert answer.code == 0, answer.out


def test_status_before_anything_happened(trueup):
    answer = trueup("status", "--json")
    (model,) = json.loads(answer.out)["models"]
    assert answer.code == 0
    assert model["model"] == "toy"
    assert model["champion"] is None
    assert "next: trueup run toy" in trueup("status").out
    assert "no decisions yet" in trueup("ledger", "show").out
    assert json.loads(trueup("ledger", "show", "--json").out) == {"entries": []}


def test_a_run_tells_people_and_programs(trueup, prefect_server):  # noqa: ARG001
    """One JSON object as the last line of stdout, and nothing else there."""
    (trueup.folder / "configs" / "toy.yaml").write_text(PLAIN)
    told = trueup("run", "toy", "--json")
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


@pytest.mark.thorough  # as above; with an error, a process of its own is looked at below
def test_a_run_in_a_process_of_its_own_says_nothing_but_one_object(trueup, prefect_server):
    (trueup.folder / "configs" / "toy.yaml").write_text(PLAIN)
    told = trueup.apart("run", "toy", "--json", PREFECT_API_URL=prefect_server)
    assert told.code == 0, told.err
    (line,) = told.out.splitlines()
    assert json.loads(line)["decided"]["outcome"] == "held"


def test_a_hold_is_no_error_also_where_a_task_finds_it(trueup, prefect_server):  # noqa: ARG001
    """The rows are counted only where they are read to train on."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterName

    text = PLAIN.replace("  min_history: 28 days\n", "  min_history: 10 days\n  min_rows: 100000\n")
    (trueup.folder / "configs" / "toy.yaml").write_text(text)
    told = trueup("run", "toy")
    assert told.code == 0, told.err
    assert "decision: held" in told.out
    assert "`train.min_rows` requires 100000" in told.out
    assert told.err == ""
    with get_client(sync_client=True) as client:
        named = TaskRunFilter(name=TaskRunFilterName(any_=["train toy"]))
        states = [run.state for run in client.read_task_runs(task_run_filter=named, limit=200)]
    (held,) = [state for state in states if "requires 100000" in str(state.message)]
    assert (held.name, held.type.value) == ("Held", "COMPLETED")


def test_an_error_of_a_task_is_said_once_and_nothing_else_is(trueup, prefect_server):
    frame = streams.Stream(days=14, per_day=20).frame().assign(y=3)
    frame.to_csv(trueup.folder / "configs" / "data" / "stream.csv", index=False)
    told = trueup.apart("run", "toy", PREFECT_API_URL=prefect_server)
    assert told.code == 1
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert line.startswith("trueup: ingest.label.column: 'y' holds 140 values besides 0 and 1")


def test_a_batch_whose_labels_came_late_is_shown_when_it_is_watched_again(trueup, prefect_server, monkeypatch):  # noqa: ARG001
    monkeypatch.setattr("trueup.home.shared", NoReports)
    late = PLAIN.replace("known_after: 1 day", "known_after: 8 days").replace("gate_window: 14", "gate_window: 20")
    told = Story(trueup.folder, stream(9 * 7), late)
    first = next(week for week in range(6, 8) if told.turn(week).decided.outcome == "promoted")
    told.turn(first + 1)
    told.home.close()

    answer = trueup("run", "toy", "--as-of", f"{streams.week(first + 2):%Y-%m-%d}")

    assert answer.code == 0, answer.err
    assert "Traceback" not in answer.err
    assert f"watched again: batch {window(first)}" in answer.out
    assert f"diagnosis {window(first)}: healthy" in answer.out
    assert answer.out.count("scored ") == 1
    assert f"diagnosis {window(first + 1)}: unknown" in answer.out


def test_a_broken_batch_ends_with_1(trueup, prefect_server, monkeypatch):  # noqa: ARG001
    monkeypatch.setattr("trueup.home.shared", NoReports)
    frame = streams.Stream(days=14, per_day=20).frame().assign(x=99.0)
    frame.to_csv(trueup.folder / "configs" / "data" / "stream.csv", index=False)
    answer = trueup("run", "toy", "--json")
    assert answer.code == 1
    done = json.loads(answer.out.splitlines()[-1])
    assert {o["diagnosis"] for o in done["observed"]} == {"data_broken"}
    assert done["decided"]["outcome"] == "none"


def test_labels_that_never_come_end_with_1_and_the_batches_are_there_all_the_same(trueup, prefect_server, monkeypatch):  # noqa: ARG001
    monkeypatch.setattr("trueup.home.shared", NoReports)
    frame = streams.Stream(days=14, per_day=20).frame().assign(y=None)
    frame.to_csv(trueup.folder / "configs" / "data" / "stream.csv", index=False)
    run = trueup("run", "toy", "--json")
    assert run.code == 1
    done = json.loads(run.out.splitlines()[-1])
    assert len(done["batches"]) == len(done["scored"]) == 2
    retrain = trueup("retrain", "toy")
    assert retrain.code == 1
    for said in (run.err, retrain.err):
        assert "no matured label by 2024-01-15 00:00: column y is empty in all 280 rows" in said
        assert "Traceback" not in said
    assert done["problem"] in run.err


def test_decisions_of_an_unknown_model_are_wrong_usage(trueup):
    answer = trueup("ledger", "show", "tyo")

    assert answer.code == 2
    assert "did you mean toy?" in answer.err


def test_releasing_a_row_that_is_not_in_quarantine_is_wrong_usage(trueup, prefect_server):  # noqa: ARG001
    trueup("run", "toy", "--as-of", "2024-01-08")

    answer = trueup("quarantine", "release", "toy", "--row", "99", "--by", "Ada", "--why", "fine")

    assert answer.code == 2
    assert "not in quarantine: row 99; `trueup quarantine list toy`" in answer.err


@pytest.mark.thorough
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
    assert march["decision"] in {"promoted", "rejected", "held"}  # with the month's end the champion is stale
    assert march["reasons"]
    assert Path(told["paths"]["data_docs"]).is_file()


def test_a_rehearsal_tells_people_and_programs_and_writes_nothing(trueup):
    """In a process of its own, with the places as a person has them and only light imports."""
    streams.write(trueup.folder, streams.Stream(days=8 * 7).frame(), PLAIN)
    look = (
        "import sys; from trueup.cli.main import app;"
        "app(['check', 'toy', '--rehearse', '--json'], standalone_mode=False);"
        "print([m for m in ('mlflow', 'prefect', 'evidently', 'optuna', 'matplotlib') if m in sys.modules])"
    )
    environment = {**os.environ, "PREFECT_HOME": str(trueup.home / "prefect")}
    done = subprocess.run([sys.executable, "-c", look], env=environment, capture_output=True, text=True, check=True)
    *_, told, loaded = done.stdout.splitlines()
    assert loaded == "[]"
    (model,) = json.loads(told)["models"]
    found = model["rehearsal"]
    assert found["breaks"] == found["lacking"] == ""
    assert found["compared"][0]["verdict"] == "beats the prior"
    assert set(found["estimate"]) == {"start", "batch", "retrain", "measured"}
    assert not trueup.home.exists()

    answer = trueup("check", "toy", "--rehearse")
    assert answer.code == 0
    assert "rehearsed: 8 of 8 complete batches" in answer.out
    assert "quick boosting: beats the prior; log-loss" in answer.out
    assert "s a batch, and about " in answer.out
    assert answer.out.splitlines()[-1] == "next: trueup run toy"
    assert not trueup.home.exists()


def test_a_rehearsal_that_breaks_ends_with_1_and_says_what_would(trueup):
    streams.write(trueup.folder, streams.Stream(days=28, per_day=20).frame().assign(x=99.0), PLAIN)
    answer = trueup("check", "toy", "--rehearse")
    assert answer.code == 1
    assert "4 of 4 batches would be broken" in answer.out
    assert "quarantine: expect_column_values_to_be_between" in answer.out
    assert "560 of 560 rows, 100.00%" in answer.out
    assert answer.out.splitlines()[-1].endswith("then trueup check toy --rehearse")


def test_a_config_that_is_wrong_is_not_rehearsed(trueup):
    wrong_in(trueup, {"max_iter: 40": "max_itre: 40"})
    answer = trueup("check", "toy", "--rehearse")
    assert answer.code == 2
    assert "rehearsed" not in answer.out


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("held", "next: trueup run toy, once the batch that ends 2024-01-15 is complete"),
        ("promoted", "next: trueup status toy"),
        ("none", "next: trueup status toy"),
        ("pending", "next: trueup approve 7 --by NAME, or trueup reject 7 --by NAME --why TEXT"),
    ],
)
def test_what_to_type_after_a_run(capsys, monkeypatch, outcome, said):
    monkeypatch.setattr(output.out, "_file", None)
    done = Cycle("toy", streams.week(1), (), (), (), Decided(outcome, (), sequence=7))
    turn_text.cycle(done, streams.week(2))
    assert capsys.readouterr().out.splitlines()[-1] == said
