"""`trueup ci compare` on branches of a small project: the verdict, the comment and the exit code."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.ci.shop import CONFIG, DATA, Shop, git
from trueup.ci.findings import Comparison, Found, Result
from trueup.ci.model_comparison import SideFailed, _Runner
from trueup.ci.processes import Ran
from trueup.cli.output.ci_text import compared
from trueup.config.load import parse_model

ROOT = Path(__file__).parents[2]
MORE = CONFIG.replace("numeric: [weight_kg]", "numeric: [weight_kg, distance_km]")
LEAK = MORE.replace("distance_km]", "distance_km, refund_eur]")


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


@pytest.fixture
def ci(shop, command_line, monkeypatch):
    """Runs `trueup ci compare` in the clone; gives its exit code, its facts and the comment."""
    monkeypatch.chdir(shop.clone)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    said = command_line(shop.clone, shop.bare.parent / "home")

    def run(*words):
        answer = said("ci", "compare", "--json", *words)
        facts = json.loads(answer.out.splitlines()[-1])
        assert git(shop.clone, "worktree", "list").count("\n") == 0
        if answer.code == 2:
            return 2, facts, ""
        assert facts["fails"] == (answer.code == 1), answer.err
        return answer.code, facts, (shop.clone / "ci-report" / "comment.md").read_text()

    return run


def test_a_leak_is_the_verdict_though_the_model_seems_better(shop, ci):
    shop.branch("refunds", {"configs/orders.yaml": LEAK, "tests/test_orders.py": "def test_it():\n    assert 1 == 2\n"})
    code, facts, comment = ci()
    assert code == 1
    (orders,) = facts["comparisons"]
    assert orders["verdict"] == "leak"
    assert [s["column"] for s in orders["suspects"]] == ["refund_eur", "the whole model"]
    loss = orders["metrics"][0]
    assert loss["high"] < 0, "it seems better, so nothing but the leak can have decided"
    assert comment.splitlines()[0] == "<!-- trueup:ci -->"
    assert comment.splitlines()[1] == ("## Trueup: <code>orders</code>: 🚨 leak, and the project's tests fail")
    assert "near-perfect alone" in comment.split("###")[0]
    assert facts["tests"]["outcome"] == "failed"
    assert "assert 1 == 2" in comment
    assert {p.name for p in (shop.clone / "ci-report").glob("*.png")} == set(orders["pictures"])


@pytest.mark.thorough
def test_better_worse_and_equal(shop, ci):
    shop.branch("more", {"configs/orders.yaml": MORE})
    code, facts, comment = ci()
    assert (code, facts["comparisons"][0]["verdict"]) == (0, "better")
    assert "✅ better" in comment.splitlines()[1]
    assert [f["name"] for f in facts["comparisons"][0]["features"]] == ["distance_km"]

    git(shop.clone, "checkout", "--quiet", "main")
    shop.commit({"configs/orders.yaml": MORE})
    git(shop.clone, "push", "--quiet", "origin", "main")
    fewer = CONFIG.replace("ci: {sample: source}", "ci: {sample: source, fail_on: []}")
    shop.branch(
        "fewer",
        {
            "configs/orders.yaml": fewer.replace(
                "[{kind: paired}, {kind: slices}, {kind: baseline, beat: [prior]}]", "[]"
            )
        },
    )
    code, facts, comment = ci()
    assert code == 1, "gates and fail_on of the base count, not those of the head"
    assert facts["comparisons"][0]["verdict"] == "worse"
    assert {"kind": "worse", "fails": True}.items() <= facts["comparisons"][0]["findings"][0].items()

    shop.branch("words", {"configs/orders.yaml": MORE + "about: Late orders.\n"})
    code, facts, comment = ci()
    assert (code, facts["comparisons"][0]["verdict"]) == (0, "no difference shown")
    first = facts["comparisons"][0]["metrics"]
    assert ci()[1]["comparisons"][0]["metrics"] == first, "the same commits give the same figures"


@pytest.mark.thorough
def test_models_that_only_one_side_has(shop, ci):
    new = CONFIG.replace("model: orders", "model: parcels")
    shop.branch("parcels", {"configs/parcels.yaml": new, "configs/orders.yaml": None})
    code, facts, comment = ci()
    assert {c["model"]: c["verdict"] for c in facts["comparisons"]} == {"orders": "deleted", "parcels": "new model"}
    assert "nothing of the base judges it" in comment
    assert code == 0

    shop.branch("leaky", {"configs/parcels.yaml": LEAK.replace("model: orders", "model: parcels")})
    code, facts, comment = ci()
    assert (code, facts["comparisons"][0]["verdict"]) == (1, "leak")


@pytest.mark.thorough
def test_what_cannot_be_compared_fails(shop, ci):
    git(shop.clone, "checkout", "--quiet", "main")
    shop.commit({"configs/orders.yaml": CONFIG.replace("ci: {sample: source}\n", "")})
    git(shop.clone, "push", "--quiet", "origin", "main")
    shop.branch("more", {"configs/orders.yaml": MORE})
    code, facts, _ = ci()
    assert (code, facts["comparisons"][0]["verdict"]) == (1, "not compared")
    assert "has no ci.sample" in facts["comparisons"][0]["findings"][0]["sentence"]

    git(shop.clone, "checkout", "--quiet", "main")
    shop.commit({"configs/orders.yaml": CONFIG})
    git(shop.clone, "push", "--quiet", "origin", "main")
    shop.branch(
        "slow",
        {
            "configs/orders_data.py": DATA + "\nimport time\n",
            "configs/orders.yaml": MORE.replace("[linear]", "[lineare]"),
        },
    )
    code, facts, _ = ci()
    assert code == 1
    assert "the head side failed" in facts["comparisons"][0]["findings"][0]["sentence"]
    assert "lineare" in facts["comparisons"][0]["findings"][0]["sentence"]


def test_wrong_calls_start_nothing(shop, ci):
    code, facts, _ = ci("--base", "no-such")
    assert (code, "there is no such commit" in facts["error"]) == (2, True)
    (shop.clone / "README.md").write_text("changed\n")
    code, facts, _ = ci()
    assert (code, "differs from its commit (first: README.md)" in facts["error"]) == (2, True)
    (shop.clone / "README.md").write_text("A shop.\n")
    (shop.clone / "configs" / "new.yaml").write_text(CONFIG)
    code, facts, _ = ci()
    assert (code, "new.yaml is not committed" in facts["error"]) == (2, True)


def test_a_head_cannot_allow_its_failing_tests_by_a_new_model(shop, ci):
    new = CONFIG.replace("model: orders", "model: parcels").replace("{sample: source}", "{fail_on: []}")
    shop.branch("parcels", {"configs/parcels.yaml": new, "tests/test_it.py": "def test_it():\n    assert 1 == 2\n"})
    code, facts, _ = ci()
    assert [c["verdict"] for c in facts["comparisons"]] == ["not compared"]
    assert (code, facts["tests"]["outcome"]) == (1, "failed")


def test_an_earlier_report_is_not_left_as_that_of_a_call_that_failed(shop, ci):
    report = shop.clone / "ci-report"
    report.mkdir()
    (report / "comment.md").write_text("better\n")
    code, facts, _ = ci("--model", "nobody")
    assert (code, "is in neither side" in facts["error"]) == (2, True)
    assert not (report / "comment.md").exists()


@pytest.mark.thorough
def test_a_column_that_the_sample_lacks_is_named_with_what_writes_it(shop, ci, command_line):
    git(shop.clone, "checkout", "--quiet", "main")
    sampled = CONFIG.replace("sample: source", "sample: samples/orders.parquet")
    shop.commit({"configs/orders.yaml": sampled, ".gitignore": "ci-report/\n"})
    said = command_line(shop.clone, shop.bare.parent / "home")
    assert said("ci", "sample", "orders", "--rows", "2000").code == 0
    shop.commit({})
    git(shop.clone, "push", "--quiet", "origin", "main")
    shop.branch("more", {"configs/orders.yaml": sampled.replace("[weight_kg]", "[weight_kg, distance_km]")})
    code, facts, _ = ci()
    (found,) = facts["comparisons"][0]["findings"]
    assert (code, found["kind"]) == (1, "not_compared")
    assert found["sentence"] == (
        "samples/orders.parquet has no column distance_km, which the head's features name; write it anew in the base: "
        "trueup ci sample orders --all-columns"
    )


def test_a_pipe_that_a_head_leaves_is_not_waited_for(tmp_path):
    runner = _Runner(parse_model(CONFIG), tmp_path, tmp_path)
    os.mkfifo(tmp_path / "report.json")
    with pytest.raises(SideFailed, match=r"the head side left no plain file report.json, predictions.parquet"):
        runner._side("head", tmp_path, Ran(0, "", 1.0, 1.0, 1.0))


def test_what_a_head_says_begins_no_line_of_the_log(capsys):
    """A line that begins with two colons is a command to GitHub's runner."""
    said = Found("not_compared", "the head failed:\n::error file=x::seen by nobody\x1b[2J", fails=True)
    result = Result("main", "a", "b", 0, (Comparison("orders", "not compared", (said,)),), None, True, 1.0)
    compared(result, Path("ci-report"))
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines if line.strip().startswith("::")]
    assert "\x1b" not in lines[1]


def test_a_change_of_words_affects_no_model(shop, ci):
    shop.branch("words", {"README.md": "Another shop.\n"})
    code, facts, comment = ci()
    assert (code, facts["comparisons"]) == (0, [])
    assert "no model is affected" in comment


@pytest.mark.thorough
def test_a_strangers_table_with_a_leak(shop, ci, command_line):
    """`trueup new` leaves the leak out. Somebody takes it in again, first in a new model, then in a change."""
    namespace = {}
    exec(DATA, namespace)
    git(shop.clone, "checkout", "--quiet", "main")
    shop.commit({"data/orders.csv": namespace["orders"](None, None).to_csv(index=False)})
    git(shop.clone, "push", "--quiet", "origin", "main")
    table = shop.clone / "data" / "orders.csv"
    said = command_line(shop.clone, shop.bare.parent / "home")
    new = (
        "new",
        "theirs",
        "--data",
        str(table),
        "--time",
        "ordered_at",
        "--label",
        "late",
        "--label-available-after",
        "1 day",
    )
    assert said(*new).code == 0
    text = (shop.clone / "configs" / "theirs.yaml").read_text()
    assert "sample: source" in text
    assert "refund_eur" in text, "it says that it left the column out"
    leaky = re.sub(r"(?m)^  numeric: \[", "  numeric: [refund_eur, ", text)
    assert leaky != text

    shop.branch("theirs", {"configs/theirs.yaml": leaky})
    code, facts, comment = ci()
    theirs = next(c for c in facts["comparisons"] if c["model"] == "theirs")
    assert (code, theirs["verdict"]) == (1, "leak")
    assert "<code>refund_eur</code>: near-perfect alone" in comment
    assert "nothing of the base judges it" in comment

    git(shop.clone, "checkout", "--quiet", "main")
    shop.commit({"configs/theirs.yaml": text})
    git(shop.clone, "push", "--quiet", "origin", "main")
    shop.branch("refunds", {"configs/theirs.yaml": leaky})
    code, facts, comment = ci("--model", "theirs")
    assert (code, facts["comparisons"][0]["verdict"]) == (1, "leak")


@pytest.mark.thorough
def test_outcomes_of_a_second_file_and_expectations_that_leave_rows_out(shop, ci):
    """A committed sample with outcomes in another file, and a head whose expectations put judged rows into quarantine."""
    namespace = {}
    exec(DATA, namespace)
    rows = namespace["orders"](None, None)
    separate = CONFIG.replace("column: late,", 'column: late, source: {kind: sql, url: "sqlite:///no.db", query: x},')
    sampled = "ci: {sample: samples/orders.csv, label_sample: samples/late.csv}"
    base = separate.replace("ci: {sample: source}", sampled)
    git(shop.clone, "checkout", "--quiet", "main")
    shop.commit({
        "configs/orders.yaml": base,
        "configs/samples/orders.csv": rows.drop(columns="late").to_csv(index=False),
        "configs/samples/late.csv": rows[["order_id", "late"]].to_csv(index=False),
    })  # fmt: skip
    git(shop.clone, "push", "--quiet", "origin", "main")
    heavy = "{type: expect_column_values_to_be_between, kwargs: {column: weight_kg, max_value: 15}}"
    fewer = base.replace("  expectations:\n", f"  max_quarantined: 0.5\n  expectations:\n    - {heavy}\n")
    shop.branch("fewer", {"configs/orders.yaml": fewer})
    code, facts, _ = ci()
    assert code == 1
    kinds = {f["kind"]: f["sentence"] for f in facts["comparisons"][0]["findings"]}
    assert "judged rows have no prediction" in kinds["fewer_rows"]
    assert facts["comparisons"][0]["rows"] > 400
