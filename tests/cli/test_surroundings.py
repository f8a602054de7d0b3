"""What a machine, an account or an environment may be like: simply right, or one line with the next step, and no trace."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import streams
from tests.free import free_port
from tests.story import Story, stream
from trueup.audit.verify import anchor, tag_of, verify
from trueup.cli import edge
from trueup.config.settings import Settings
from trueup.errors import ConfigError, UsageError
from trueup.home import Home
from trueup.onboarding.check import check
from trueup.orchestration import proxies
from trueup.orchestration.environment import flows_called_here

PROXIES = [name for word in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for name in (word, word.upper())]


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A home with a champion."""
    told = Story(tmp_path_factory.mktemp("told"), stream(7 * 6))
    assert told.turn(5).decided.outcome == "promoted"
    told.home.close()
    return told


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything below a folder, with size and time, but for the empty files that SQLite's readers keep beside a database."""
    found = {p: p.stat() for p in folder.rglob("*") if p.suffix != ".db-shm"}
    kept = {p: s for p, s in found.items() if p.suffix != ".db-wal" or s.st_size}
    return {str(p.relative_to(folder)): (s.st_size, s.st_mtime_ns) for p, s in kept.items()}


LOOKS = [("status",), ("status", "toy", "--at", "2024-02-20"), ("ledger", "show"), ("ledger", "verify"), ("check",)]
LOOKS += [("quarantine", "list", "toy")]


@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_looking_writes_nothing_at_all(trueup, story, monkeypatch, words):
    monkeypatch.setenv("TRUEUP_HOME", str(story.home.root))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(story.configs))
    before = state(story.home.root)
    told = trueup(*words)
    assert (told.code, told.err) == (0, "")
    assert state(story.home.root) == before


@pytest.mark.parametrize("words", [("status",), ("ledger", "show"), ("ledger", "verify"), ("check",)], ids=" ".join)
def test_looking_at_a_home_that_is_not_there_makes_none(trueup, words):
    assert trueup(*words).code == 0
    assert not trueup.home.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_an_account_that_may_only_read_looks_and_is_told_where_it_may_not_write(story):
    """In a process of another account, as it would be: a folder that root may not write hardly exists."""
    for path in [story.folder, *story.folder.parents]:
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    code = """
import os, sys
from trueup.cli import main as cli
from trueup.orchestration.environment import flows_called_here
os.setgroups([]); os.setgid(65534)
libc = __import__("ctypes").CDLL(None); libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS, to be able to read on
os.setuid(65534)
import ctypes
class Head(ctypes.Structure): _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]
class Data(ctypes.Structure): _fields_ = [(n, ctypes.c_uint32) for n in ("effective", "permitted", "inheritable")]
read = 1 << 2  # CAP_DAC_READ_SEARCH
assert libc.capset(ctypes.byref(Head(0x20080522, 0)), (Data * 2)(Data(read, read, 0), Data(0, 0, 0))) == 0
from trueup.cli import edge
for words in (["status"], ["ledger", "verify"], ["run", "toy"], ["score", "toy"]):
    sys.argv = ["trueup", *words]
    try:
        cli.main()
    except SystemExit as end:
        print("ended", words[0], end.code, flush=True)
"""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "TRUEUP_"))}
    env |= {"TRUEUP_HOME": str(story.home.root), "TRUEUP_CONFIGS": str(story.configs), "COLUMNS": "300"}
    before = state(story.home.root)
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300, check=False
    )
    ends = [line for line in done.stdout.splitlines() if line.startswith("ended")]
    assert ends == ["ended status 0", "ended ledger 0", "ended run 2", "ended score 2"], done.stdout + done.stderr
    assert "version 1" in done.stdout or "version 2" in done.stdout
    lines = done.stderr.splitlines()
    assert len(lines) == 2, done.stderr
    assert all("cannot be written" in line and "TRUEUP_HOME" in line for line in lines)
    assert state(story.home.root) == before


def test_a_look_at_mlflow_says_what_its_client_says(story):
    """The tables are MLflow's: another version of it may have others."""
    looking = Home(story.home.settings, looks=True)
    key = tag_of(story.home.identity)
    anchor(story.home)
    name, version = story.config.registered_name, story.model.champion().version
    assert looking.registry.aliases(name) == story.home.registry.aliases(name) == {"champion": version}
    assert looking.tracking.noted("trueup", key) == story.home.tracking.noted("trueup", key) is not None
    assert looking.registry.aliases("nobody") == {}
    assert looking.tracking.noted("nothing", key) is None
    assert verify({"toy": story.config}, looking) == verify({"toy": story.config}, story.home)
    looking.close()


# Errors


def test_an_error_that_nobody_foresaw_is_one_line_and_its_trace_is_in_a_file(trueup, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("the moon is\nin the way")

    monkeypatch.setattr("trueup.governance.status.decisions", fail)
    trueup.home.mkdir()
    told = trueup("ledger", "show", "--json")
    log = trueup.home / edge.LOG
    assert told.code == 1
    assert told.err == f"trueup: RuntimeError: the moon is; its trace is in {log} (TRUEUP_DEBUG=1 shows it)\n"
    assert "Traceback" not in told.err + told.out
    assert '"exit_code": 1' in told.out
    assert "Traceback" in log.read_text()
    assert "in the way" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0
    monkeypatch.setenv("TRUEUP_DEBUG", "1")
    assert "Traceback" in trueup("ledger", "show").err


def test_without_a_home_a_trace_goes_where_temporary_files_go(trueup, monkeypatch, tmp_path):
    monkeypatch.setattr("trueup.governance.status.decisions", lambda *_: 1 / 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    told = trueup("ledger", "show")
    assert f"its trace is in {tmp_path}/trueup-errors-" in told.err
    assert not trueup.home.exists()


def test_an_error_of_a_flow_that_nobody_foresaw_is_one_line(trueup, prefect_server, monkeypatch):  # noqa: ARG001
    def fail(*_, **__):
        raise OSError(errno.EIO, "the disk is ill")

    monkeypatch.setattr("trueup.orchestration.context.resolve_as_of", fail)
    told = trueup("score", "toy")
    assert told.code == 1
    assert told.err.count("\n") == 1, told.err
    assert "the disk is ill" in told.err


def test_a_thread_of_a_library_that_ends_is_told_in_one_line(capsys, monkeypatch, tmp_path):
    import threading

    monkeypatch.setenv("TRUEUP_HOME", str(tmp_path))
    monkeypatch.setattr(threading, "excepthook", edge._of_a_thread)
    thread = threading.Thread(target=lambda: 1 / 0, name="ahead")
    thread.start()
    thread.join()
    said = capsys.readouterr().err
    assert "the thread ahead ended: ZeroDivisionError" in said
    assert "Traceback" not in said


# Servers and proxies


def test_a_server_that_does_not_answer_is_told_in_one_line(trueup):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    dead = f"http://127.0.0.1:{free_port()}/api"
    with (
        temporary_settings({PREFECT_API_URL: dead}),
        pytest.raises(UsageError, match=rf"{dead} does not answer: .*unset PREFECT_API_URL"),
        flows_called_here(),
    ):
        pass
    assert not list(trueup.home.rglob("*.db"))


@pytest.fixture
def no_proxies(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    "said", [{}, {"NO_PROXY": "corp.example"}, {"no_proxy": "corp.example", "NO_PROXY": "b.example"}]
)
@pytest.mark.parametrize("proxy", ["http_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_no_client_takes_a_proxy_to_this_machine(no_proxies, proxy, said):
    import urllib.request

    import httpx
    import requests.utils

    no_proxies.setenv(proxy, "http://127.0.0.1:9")
    for name, value in said.items():
        no_proxies.setenv(name, value)
    proxies.spare("192.0.2.7")
    for scheme in ("http", "https"):
        for host in ("127.0.0.1", "localhost", "192.0.2.7"):
            url = f"{scheme}://{host}:4200/api"
            assert urllib.request.proxy_bypass(host)
            assert requests.utils.get_environ_proxies(url) == {}
            with httpx.Client() as client:
                assert client._transport_for_url(httpx.URL(url)) is client._transport
    assert all(word in os.environ["NO_PROXY"].split(",") for value in said.values() for word in value.split(","))
    assert not urllib.request.proxy_bypass("elsewhere.example")


def test_without_a_proxy_nothing_is_set(no_proxies):
    proxies.spare("127.0.0.1")
    assert not set(PROXIES) & set(os.environ)
    no_proxies.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    no_proxies.setenv("NO_PROXY", "*")
    proxies.spare("127.0.0.1")
    assert os.environ["NO_PROXY"] == "*"


def test_a_socks_proxy_that_no_client_could_use_is_named(no_proxies):
    no_proxies.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    no_proxies.setattr(proxies, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"ALL_PROXY names a SOCKS proxy.*pip install socksio"):
        proxies.require_usable()


# Paths


@pytest.mark.parametrize("name", ["a%20b", "what?", "c#", "?%"])
def test_a_home_whose_name_means_something_in_addresses_is_refused(monkeypatch, tmp_path, name):
    with pytest.raises(ConfigError, match=r"TRUEUP_HOME.*use a folder without it"):
        Settings(home=tmp_path / name)
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    with pytest.raises(ConfigError, match="TRUEUP_HOME"):
        Settings()


@pytest.mark.parametrize("name", ["a%20b", "what?", "c#d", "e [f]", "ü ö", "g'h"])
def test_a_source_may_lie_anywhere(tmp_path, name):
    configs = streams.write(tmp_path / name, stream(14).head(400))
    (configs / "data" / f"{name}.csv").write_bytes((configs / "data" / "stream.csv").read_bytes())
    for pattern in ("data/stream.csv", "data/str*.csv", f"data/{name}.csv"):
        text = (configs / "toy.yaml").read_text().replace("data/*.csv", f'"{pattern}"')
        (configs / "toy2.yaml").write_text(text.replace("model: toy", "model: toy2"))
        looking = Home(Settings(home=tmp_path / "home", configs=configs), looks=True)
        assert check("toy2", looking).problems == [], pattern
