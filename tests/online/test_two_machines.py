"""Two machines with a home folder each on one PostgreSQL: the database is shared, the files are not."""

import shutil
from contextlib import closing

import pytest

from tests.serving.logs import payloads, serve
from tests.story import PLAIN, Story, stream
from trueup.adapters.background import NoReports
from trueup.config.settings import Settings
from trueup.errors import LedgerError, WorkError
from trueup.home import Home
from trueup.model import Model
from trueup.online.drain import drain, log_folder
from trueup.online.publish import publish
from trueup.serving import published
from trueup.serving.prediction_log import PredictionLog
from trueup.serving.state import FOLDER

CONFIG = PLAIN.replace("  min_new_days: 6\n", "  min_new_days: 6\n  gates: []\n  refit: false\n") + "serve: {}\n"
WEEK = 6


class OnPostgres(Story):
    """A story with its ledger in PostgreSQL."""

    def __init__(self, folder, url):
        self.url = url
        super().__init__(folder, stream((WEEK + 1) * 7, per_day=40), CONFIG)

    def open(self):
        self.home = Home(Settings(home=self.folder / "home", configs=self.configs, database_url=self.url))
        self.home.background = NoReports()


@pytest.fixture
def loop(tmp_path, postgres_url):
    """The machine on which the loop runs."""
    told = OnPostgres(tmp_path / "loop", postgres_url)
    told.turn(WEEK)
    yield told
    told.home.close()


@pytest.fixture
def server(loop, tmp_path):
    """A second machine, without any file of the first."""
    home = Home(Settings(home=tmp_path / "server", configs=loop.configs, database_url=loop.url))
    home.root.mkdir()
    yield Model(loop.config, home)
    home.close()


@pytest.mark.thorough
def test_a_second_machine_serves_from_copied_files_and_logs_to_the_database(loop, server):
    with pytest.raises(LedgerError, match="this home has none, so nothing was signed; set TRUEUP_LEDGER_KEY"):
        publish(server)
    shutil.copy(loop.home.root / "ledger.key", server.home.root)
    assert server.champion() == loop.model.champion()  # the ledger is shared
    with pytest.raises(WorkError, match="cannot be read"):
        publish(server)  # the files that make a bundle are not
    shutil.copytree(loop.home.root / FOLDER, server.home.root / FOLDER)
    folder = published.folder_of(server.home.root, "toy")
    state = published.read(folder, server.home.signer)
    assert state.champion.version == loop.model.champion().version

    row = loop.frame[loop.frame["t"] >= loop.model.champion().trained_until].iloc[0]
    key, moment = {"id": int(row.id)}, row.t.isoformat()
    for durability, stored in (("process", 0), ("home", 1)):
        log = PredictionLog(log_folder(server), serve(durability=durability), "h-1-1", model="toy", database=loop.url)
        with closing(log):
            log.append(payloads("a", key=key, event_time=moment, version=state.champion.version, features=None))
        assert drain(loop.model).new == stored
