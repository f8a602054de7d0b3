"""`trueup ci compare` on branches of a small project: the verdict, the comment and the exit code."""

import json
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


def test_a_change_of_words_affects_no_model(shop, ci):
    shop.branch("words", {"README.md": "Another shop.\n"})
    code, facts, comment = ci()
    assert (code, facts["comparisons"]) == (0, [])
    assert "no model is affected" in comment
