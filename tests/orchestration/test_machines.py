"""Two machines with one home in a bucket: `trueup up` on the first, a worker of Prefect's own with another pool on the second."""

import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, closing

import pytest
import yaml

from tests import buckets, streams
from tests.stack import LEAN, ROOT, Stack, toy_project
from tests.story import PLAIN, stream, window
from trueup.audit.verify import verify
from trueup.config.load import load_model
from trueup.config.settings import Settings
from trueup.home import Home

pytestmark = pytest.mark.thorough

KEY = "11" * 32
SECOND = "second"  # machine and its pool


@pytest.fixture
def places(new_database):
    with buckets.running() as server:
        yield {
            "home": server.bucket() + "/home",
            "database_url": new_database(),
            "mlflow_uri": new_database(),
            "ledger_key": KEY,
        }


def environment(places, cache, configs):
    given = {f"TRUEUP_{name.upper()}": value for name, value in places.items()}
    return given | LEAN | {"TRUEUP_CACHE": str(cache), "TRUEUP_CONFIGS": str(configs)}


def second_project(folder, first):
    """The same flows under another name, for the second machine's pool."""
    folder.mkdir()
    content = yaml.safe_load((first / "prefect.yaml").read_text())
    (run,) = [d for d in content["deployments"] if d["entrypoint"] == "flows.run:run"]
    run |= {"name": "toy-second", "work_pool": run["work_pool"] | {"name": SECOND}}
    run.pop("triggers", None)
    (folder / "prefect.yaml").write_text(yaml.safe_dump({"name": "trueup", "deployments": [run]}))
    return folder


def test_each_batch_is_handled_once_by_workers_on_two_machines(places, tmp_path):
    first = toy_project(tmp_path)
    configs = streams.write(first, stream(7 * 7), PLAIN)
    machines = [environment(places, tmp_path / name, configs) for name in ("first", SECOND)]
    settings = Settings(**places, configs=configs, cache=tmp_path / "first")
    stack = Stack(settings.root, first, machines[0])
    with ExitStack() as ends:
        ends.callback(stack, "down")
        assert stack.up()["ready"]
        elsewhere = second_project(tmp_path / "elsewhere", first)
        env = os.environ | machines[1] | {"PREFECT_API_URL": f"http://127.0.0.1:{stack.ports['prefect']}/api"}
        env |= {"PREFECT_HOME": str(tmp_path / "prefect"), "PYTHONPATH": str(ROOT), "PREFECT_WORKER_QUERY_SECONDS": "1"}
        prefect = [sys.executable, "-W", "ignore", "-m", "prefect", "--no-prompt"]
        for words in (["work-pool", "create", SECOND, "--type", "process"], ["deploy", "--all"]):
            subprocess.run([*prefect, *words], cwd=elsewhere, env=env, check=True, timeout=600)
        log = ends.enter_context((tmp_path / "worker.log").open("w"))
        worker = subprocess.Popen(
            [*prefect, "worker", "start", "--pool", SECOND, "--name", SECOND],
            cwd=elsewhere, env=env, stdout=log, stderr=log,
        )  # fmt: skip
        ends.callback(worker.wait, 120)
        ends.callback(worker.terminate)
        for week in (5, 6):
            runs = [stack.runs(name, as_of=streams.week(week).isoformat()) for name in ("run/toy", "run/toy-second")]
            for run in runs:
                ended = stack.ended(run, 400)
                assert ended["type"] == "COMPLETED", (ended, (tmp_path / "worker.log").read_text())
        assert worker.poll() is None
    assert [file for file in (tmp_path / SECOND).rglob("*") if file.is_file()], (
        "the second machine kept copies of its own"
    )
    require_once(settings)


def require_once(settings):
    config = load_model(settings.configs, "toy")
    with closing(Home(settings)) as home:
        store = home.store
        for dataset in ("toy/rows", "toy/labels"):
            landed = store.batches(dataset)
            assert [ref.window for ref in landed] == [window(number) for number in range(6)]
            assert {ref.revision for ref in landed} == {1}
        handled = Counter(result.window for result in store.results("toy", "run", dict))
        assert handled == Counter({window(number): 1 for number in range(6)})
        entries = home.ledger.entries("toy")
        assert [e.body.promotion.epoch for e in entries if e.body.promotion] == [1]
        assert len({e.as_of for e in entries}) == len(entries)
        assert verify({"toy": config}, home).problems == ()
