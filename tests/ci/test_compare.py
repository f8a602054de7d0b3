"""`trueup ci compare` on branches of a small project: the verdict, the comment and the exit code."""

import json
import re
from pathlib import Path

import pytest

from tests.ci.shop import CONFIG, DATA, Shop, git

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
