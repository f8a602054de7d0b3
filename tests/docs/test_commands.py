"""Every command of the README and of docs/ is said by a test as it stands there; a block that no test says fails one.

What needs no stack is said here, in an empty home, in an order in which it makes sense; a table and a config of the
names that the pages use are small ones. Tutorials are followed in tests/docs/test_how_to.py, and what needs servers, another
machine or minutes is named with the test that says it.
"""

import ast
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import streams
from tests.blocks import ROOT, WRITTEN, blocks, commands, lines
from tests.docs.test_how_to import TUTORIALS
from tests.story import PLAIN, NoReports
from trueup.config.load import load_model
from trueup.config.settings import Settings
from trueup.governance.approval import open_approvals
from trueup.home import Home
from trueup.model import Model

HOW_TO = Path("docs", "how-to")

# Blocks by their first line: said below, in this order.
SAID = [
    (HOW_TO / "first-model.md", "trueup check late_orders"),
    (HOW_TO / "first-model.md", "trueup run late_orders --as-of 2024-02-01"),
    (HOW_TO / "first-model.md", "trueup ledger show late_orders"),
    (HOW_TO / "quarantine.md", "trueup quarantine list late_orders"),
    (HOW_TO / "quarantine.md", "trueup run late_orders --as-of 2024-04-01"),
    (HOW_TO / "quarantine.md", "trueup quarantine release late_orders"),
    (HOW_TO / "sources-and-sinks.md", "trueup check late_orders"),
    (HOW_TO / "sources-and-sinks.md", "trueup score late_orders"),
    (HOW_TO / "approvals-and-rollback.md", "trueup status late_orders"),
    (HOW_TO / "approvals-and-rollback.md", "trueup promote late_orders"),
    (HOW_TO / "approvals-and-rollback.md", "trueup rollback late_orders"),
    (HOW_TO / "dossier.md", "trueup dossier late_orders"),
    (Path("docs", "operations.md"), "trueup check flight_delays"),
    (HOW_TO / "reproduce.md", "trueup reproduce flight_delays 2"),
    (Path("docs", "operations.md"), "trueup status"),
    (Path("docs", "operations.md"), "trueup gc --dry-run"),
    (Path("docs", "operations.md"), "trueup backup /backups/2026-11-25"),
    (HOW_TO / "replay.md", "trueup replay flight_delays"),
]
# Blocks that need a stack, an installation, or minutes, and the test that says them or what they come to.
ELSEWHERE = {
    (
        "docs/how-to/serve.md",
        "trueup run late_orders --as-of 2024-04-01\ntrueup serve late_orders",
    ): "tests/docs/test_serve_page.py:test_the_page_does_what_it_says",
    **dict.fromkeys(
        [
            ("docs/how-to/object-store.md", "python -c"),
            ("docs/how-to/object-store.md", "trueup status late_orders"),
        ],
        "tests/docs/test_object_store_page.py:test_the_page_does_what_it_says",
    ),
    ("docs/how-to/serve.md", "export TOKEN="): "tests/docs/test_serve_page.py:test_the_page_does_what_it_says",
    ("docs/how-to/serve.md", "python ask.py"): "tests/docs/test_serve_page.py:test_the_page_does_what_it_says",
    (
        "docs/how-to/serve.md",
        "trueup run late_orders --as-of 2024-05-01",
    ): "tests/docs/test_serve_page.py:test_the_page_does_what_it_says",
    ("README.md", "make demo"): "tests/cli/test_demo.py:test_a_home_in_which_months_were_handled_at_once_is_refused",
    ("README.md", "trueup new late_orders"): "tests/docs/test_how_to.py:test_a_tutorial_does_what_it_says",
    ("README.md", "make up"): "tests/orchestration/test_stack.py:test_the_readme_feeds_the_stack_by_day_and_night",
    ("docs/operations.md", "trueup feed flight_delays --next"): (
        "tests/orchestration/test_stack.py:test_the_readme_feeds_the_stack_by_day_and_night"
    ),
    ("docs/how-to/approvals-and-rollback.md", "prefect deployment run approve/trueup"): (
        "tests/orchestration/test_approval_flow.py:test_it_waits_refuses_an_empty_answer_and_approves"
    ),
    **dict.fromkeys(
        [("docs/how-to/rollout.md", f"trueup rollout {word} late_orders") for word in ("status", "check", "pause")],
        "tests/online/test_rollout_commands.py:test_the_page_does_what_it_says",
    ),
    ("docs/how-to/rollout.md", "prefect deployment run rollout/trueup"): (
        "tests/online/test_rollout_commands.py:test_the_form_in_prefect_makes_the_same_call"
    ),
    ("docs/how-to/custom.md", "trueup check shop_orders"): (
        "tests/docs/test_custom.py:test_the_classes_of_the_page_go_through_one_turn"
    ),
    ("docs/operations.md", "make up"): (
        "tests/orchestration/test_stack.py:test_the_readme_feeds_the_stack_by_day_and_night"
    ),
    ("docs/operations.md", "export TRUEUP_HOST=192.0.2.7"): (
        "tests/orchestration/test_guarded_stack.py:test_servers_ask_who_is_there_and_flows_say_it"
    ),
    (
        "docs/how-to/live-page.md",
        "trueup ui",
    ): "tests/ui/test_browser.py:test_a_turn_of_the_loop_in_another_process_appears",
    ("docs/how-to/estimates.md", "trueup monitor flight_delays"): (
        "tests/stages/test_estimates.py:test_the_command_prints_an_estimate_with_its_interval"
    ),
    ("docs/how-to/explain.md", "trueup explain flight_delays"): (
        "tests/explain/test_explain.py:test_the_command_prints_all_about_a_prediction"
    ),
    ("docs/operations.md", "createdb trueup"): (
        "tests/orchestration/test_stack.py:test_ledger_mlflow_and_prefect_move_to_postgresql"
    ),
    ("docs/operations.md", "make down\ntrueup backup /backups/move"): (
        "tests/upkeep/test_relocate.py:test_the_command_line_moves_a_home"
    ),
    ("docs/operations.md", "trueup audit --markdown"): (
        "tests/audit/test_nightly.py:test_the_command_says_what_it_could_not_check_and_ends_with_1_for_a_finding"
    ),
    ("docs/operations.md", "trueup forget MODEL"): (
        "tests/upkeep/test_forget.py:test_the_command_says_how_much_was_erased"
    ),
    ("docs/operations.md", "cp .env.example .env"): "tests/project/test_compose.py:test_docker_compose_takes_it",
    **dict.fromkeys(
        [("docs/how-to/dask.md", "dask scheduler --host"), ("docs/how-to/dask.md", "export DASK_DISTRIBUTED__")],
        "tests/docs/test_dask_page.py:test_the_page_does_what_it_says",
    ),
    ("docs/how-to/workers.md", "TRUEUP_LEDGER_PUBLIC_KEYS="): (
        "tests/ledger/test_signing.py:test_public_keys_suffice_to_verify_and_sign_nothing"
    ),
    ("docs/how-to/workers.md", "prefect work-pool create docker"): (
        "tests/orchestration/test_deployments.py:test_one_line_chooses_the_kind_of_work_pool_for_every_deployment"
    ),
    **dict.fromkeys(
        [
            ("docs/how-to/workers.md", "export PREFECT_API_URL="),
            ("docs/how-to/workers.md", "prefect work-pool create second"),
        ],
        "tests/orchestration/test_machines.py:test_each_batch_is_handled_once_by_workers_on_two_machines",
    ),
    ("docs/how-to/ci.md", "trueup ci compare --base origin/main"): (
        "tests/ci/test_compare.py:test_a_leak_is_the_verdict_though_the_model_seems_better"
    ),
    ("docs/how-to/ci.md", "trueup init . --ci github"): (
        "tests/ci/test_templates.py:test_ci_is_added_to_a_project_and_compared_with_newer_templates"
    ),
    ("docs/how-to/ci.md", "trueup ci post ci-report/comment.md"): (
        "tests/ci/test_post.py:test_one_comment_is_written_and_then_updated"
    ),
    ("docs/how-to/ci.md", "trueup ci sample late_orders"): "tests/ci/test_sample.py:test_a_sample_is_compared_on",
    (
        "docs/how-to/kubernetes.md",
        "make image",
    ): "tests/project/test_kubernetes.py:test_the_goal_of_make_builds_the_image",
    ("docs/how-to/kubernetes.md", "docker compose up"): (
        "tests/project/test_image.py:test_docker_compose_takes_the_files_of_a_project"
    ),
    ("docs/how-to/kubernetes.md", "trueup --env prod check"): (
        "tests/project/test_targets.py:test_placeholders_are_named_with_the_missing_variables"
    ),
    ("docs/how-to/project.md", "trueup --env staging deploy"): (
        "tests/orchestration/test_deployed.py:test_a_run_of_a_worker_acts_in_the_environment_of_its_deployment"
    ),
    **dict.fromkeys(
        [
            ("docs/how-to/environments.md", f"trueup --env staging {word}")
            for word in ("ledger key", "send late_orders")
        ],
        "tests/project/test_across.py:test_models_are_trained_in_each_environment_or_move_as_a_bundle",
    ),
    ("docs/how-to/ecosystem.md", "trueup schema --write"): (
        "tests/project/test_init.py:test_upgrade_shows_what_differs_and_overwrites_nothing"
    ),
    ("docs/how-to/ecosystem.md", "trueup contract write"): (
        "tests/cli/test_contract.py:test_a_contract_has_what_config_and_batches_say_and_is_kept_by_them"
    ),
    ("docs/how-to/project.md", "trueup upgrade"): (
        "tests/project/test_init.py:test_upgrade_shows_what_differs_and_overwrites_nothing"
    ),
    ("docs/how-to/workers.md", "trueup move --to"): "tests/upkeep/test_move.py:test_a_home_moves_with_all_it_has",
    ("docs/operations.md", "make down\ntrueup backup /backups/before"): (
        "tests/upkeep/test_backup.py:test_by_the_command_line_a_home_is_copied_restored_and_verified"
    ),
}
SLOW = [(HOW_TO / "replay.md", "trueup replay flight_delays")]  # minutes


def begins(page: Path, first: str) -> list[str]:
    return [block for block in commands(ROOT / page) if block.startswith(first)]


@pytest.mark.parametrize(("page", "first"), [*SAID, *((Path(p), first) for p, first in ELSEWHERE)], ids=str)
def test_a_block_that_is_named_here_exists(page, first):
    assert begins(page, first), f"{page} has no block of commands that begins so"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_block_is_said_by_a_test(page):
    name = page.relative_to(ROOT)
    if name == Path("docs", "cli.md") or (name.parent == HOW_TO and name.stem in TUTORIALS):
        return  # generated from the command line itself; followed from top to bottom
    named = [first for p, first in SAID if p == name] + [first for p, first in ELSEWHERE if Path(p) == name]
    unsaid = [block for block in commands(page) if not any(block.startswith(first) for first in named)]
    assert not unsaid, f"no test says these commands of {name}; put them into tests/docs/test_commands.py"


@pytest.mark.parametrize("test", sorted(set(ELSEWHERE.values())))
def test_what_says_a_block_elsewhere_is_a_test(test):
    file, name = test.split(":")
    found = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {n.name for n in ast.walk(found) if isinstance(n, ast.FunctionDef)}


@pytest.mark.parametrize("goal", ["demo", "up", "down"])
def test_a_goal_of_make_is_the_command_of_that_name(goal):
    recipe = re.search(rf"^{goal}: .*\n\t@(.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe is not None
    assert recipe[1] == f"$(BIN)/trueup {goal}"


def orders() -> pd.DataFrame:
    """A table like that of the page on a config by hand: four months, and three orders of March weigh -1 kg."""
    rng = np.random.default_rng(3)
    n = 40 * 121
    moment = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.sort(rng.uniform(0, 121, n)), unit="D")
    house, weight = rng.choice(["north", "south", "harbour"], n), rng.gamma(2.0, 3.0, n).round(1) + 0.1
    parcels = rng.integers(1, 6, n)
    odds = -0.5 + 1.5 * (house == "harbour") + 0.8 * (weight - 6) * np.where(parcels > 3, 1, -1)
    table = pd.DataFrame(
        {"order_id": range(n), "ordered_at": moment, "warehouse": house, "weight_kg": weight, "parcels": parcels}
    )
    table["late"] = (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(int)
    march = table.index[table["ordered_at"] >= "2024-03-10"][:3]
    table.loc[march, "weight_kg"] = -1.0
    return table


class Said:
    """Who says the commands of the pages, one after the other, in one home."""

    def __init__(self, trueup, folder: Path) -> None:
        self.trueup, self.folder, self.known = trueup, folder, dict[str, str]()

    def block(self, page: Path, first: str) -> None:
        (block,) = begins(page, first)
        for line in lines(block):
            self.line(line)

    def line(self, line: str) -> None:
        for name, value in self.known.items():
            line = line.replace(name, value)
        words = shlex.split(line.replace("/backups", str(self.folder / "backups")))
        with pytest.MonkeyPatch.context() as patch:
            while "=" in words[0]:
                name, _, value = words.pop(0).partition("=")
                patch.setenv(name, str(self.folder / value.lstrip("/")))
            assert words[0] == "trueup", line
            told = self.trueup(*words[1:])
        assert told.code == 0, f"{line}: {told.out}{told.err}"
        assert "Traceback" not in told.err


@pytest.fixture
def said(trueup, tmp_path, monkeypatch):
    monkeypatch.setattr("trueup.home.shared", NoReports)
    shutil.rmtree(trueup.folder / "configs")
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "prefect.yaml", tmp_path)  # as a project has it
    for name in ("TRUEUP_HOME", "TRUEUP_CONFIGS"):  # where they are without
        monkeypatch.delenv(name)
    frame = streams.Stream(days=7 * 16, per_day=80).frame()
    frame["t"] -= pd.Timestamp(streams.START) - pd.Timestamp("2012-12-31")
    configs = streams.write(tmp_path, frame, PLAIN.replace("model: toy", "model: flight_delays"))
    (text,) = [body for kind, body in blocks(ROOT / HOW_TO / "first-model.md") if kind == "yaml"]
    (configs / "late_orders.yaml").write_text(text, encoding="utf-8")
    orders().to_csv(configs / "data" / "orders.csv", index=False)
    # Each model has a file of its own; the stream's pattern would take both.
    toy = configs / "flight_delays.yaml"
    toy.write_text(toy.read_text().replace("data/*.csv", "data/stream.csv"))
    return Said(trueup, tmp_path)


def test_commands_do_what_their_pages_say(said):
    for page, first in SAID:
        if (page, first) in SLOW:
            continue
        if first == "trueup status late_orders":
            approvals(said, page, first)
            continue
        if first == "trueup promote late_orders":
            home = Home(looks=True)
            current = home.ledger.champion("late_orders").version
            versions = [e.body.version for e in home.ledger.entries("late_orders")]
            one = next(v for v in versions if v not in {None, current})
            home.close()
            said.known = {"late_orders 5": f"late_orders {one}", "--to 3": f"--to {one}"}
        if page == HOW_TO / "dossier.md":
            said.known = {"late_orders 6": "late_orders 1"}
        if first == "trueup check flight_delays":
            (block,) = begins(page, first)
            for line in lines(block):
                if "replay" not in line:  # with the page on replay
                    said.line(line)
            continue
        said.block(page, first)


def approvals(said: Said, page: Path, first: str) -> None:
    """A challenger waits: it is refused in a copy of the home, then approved."""
    config = Path("configs", "late_orders.yaml")
    piece = next(b for kind, b in blocks(ROOT / page) if kind == "yaml" and "mode: approval" in b)
    any_challenger = "  gates: []\n"  # whatever it is worth, it is to wait
    config.write_text(config.read_text(encoding="utf-8") + "\n" + piece + any_challenger, encoding="utf-8")
    said.line("trueup retrain late_orders --as-of 2024-05-01")
    home = Home(looks=True)
    waiting = open_approvals(Model(load_model(Settings().configs, "late_orders"), home))
    home.close()
    assert waiting, "the challenger was not proposed"
    said.known = {"approve 7": f"approve {waiting[-1].seq}", "reject 7": f"reject {waiting[-1].seq}"}
    (block,) = begins(page, first)
    for line in lines(block):
        if "approve" in line:
            shutil.copytree(".trueup", "undecided", ignore=shutil.ignore_patterns("*.lock"))
        if "reject" in line:
            shutil.move(".trueup", "approved")
            shutil.move("undecided", ".trueup")
        said.line(line)
    shutil.rmtree(".trueup")
    shutil.move("approved", ".trueup")


@pytest.mark.thorough
def test_a_replay_does_what_its_page_says(said):
    for page, first in SLOW:
        said.block(page, first)
