"""Names from outside lead nowhere but where they belong: of models, versions, approvals, files and pages."""

import asyncio
import logging
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests import streams
from trueup.adapters.files.local import LocalFiles
from trueup.adapters.sql.engines import connect
from trueup.adapters.store import Store
from trueup.adapters.store.tables import folder_name
from trueup.config.load import load_model, parse_model
from trueup.errors import ConfigError, UnknownModel, UsageError
from trueup.orchestration.stack.reports import application

ODD = [
    "..", "../toy", "../../etc/passwd", "/etc/passwd", "toy/../toy", "toy\0", "toy\n", "t" * 5000, "..\\toy", "C:\\toy", "toy:ads",
    "t\u043ey", "\uff54oy", "toy\u200b", "%2e%2e", "~root", "$HOME", "-toy", "TOY", "con", "[/]", "[bold]", "\udcff", "", " ", ".", "9" * 5000, "\u0663",
]  # fmt: skip
names = st.one_of(st.sampled_from(ODD), st.text(max_size=30), st.text(alphabet="toy./\\:%~\0", max_size=12)).filter(
    lambda name: name != "toy"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("names")
    streams.write(place, streams.Stream(days=2, per_day=2).frame())
    (place / "secret.yaml").write_text(streams.CONFIG.replace("model: toy", "model: secret"))
    (place / "secret.html").write_text("a secret")
    return place


@given(names)
def test_only_a_config_of_the_folder_is_read(folder, name):
    with pytest.raises(UnknownModel):
        load_model(folder / "configs", name)


@given(names.filter(lambda name: not name.strip() or not set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")))
@example("Toy")
def test_a_config_cannot_give_its_model_such_a_name(name):
    text = name.encode("ascii", "backslashreplace").decode().replace('"', "")
    with pytest.raises(ConfigError):
        parse_model(streams.CONFIG.replace("model: toy", f'model: "{text}"'))


@given(names)
@example("evaluations/a.parquet")
def test_a_name_that_is_taken_stays_in_its_folder(name):
    try:
        taken = folder_name(name)
    except UsageError:
        return
    assert taken.isascii()
    root = Path("/home/of/store")
    assert Path(os.path.normpath(root / taken)).is_relative_to(root)
    assert ".." not in Path(taken).parts


def test_the_path_of_a_record_does_not_lead_out_of_the_home(tmp_path):
    with pytest.raises(UsageError):
        Store(LocalFiles(tmp_path), connect("sqlite://")).read_evaluation("../secret.parquet")


COMMANDS = [
    ("approve", "{}", "--by", "me"),
    ("reject", "{}", "--by", "me", "--why", "w"),
    ("rollback", "{}", "--by", "me", "--why", "w"),
    ("rollback", "toy", "--to", "{}", "--by", "me", "--why", "w"),
    ("promote", "toy", "{}", "--by", "me", "--why", "w"),
    ("reproduce", "{}", "1"),
    ("reproduce", "toy", "{}"),
    ("ledger", "show", "{}"),
    ("quarantine", "list", "{}"),
    ("status", "{}"),
    ("gc", "{}"),
    ("clear", "{}", "--by", "me"),
]


@given(st.sampled_from(COMMANDS), names)
@example(("approve", "{}", "--by", "me"), "\udcff")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_command_line_says_that_there_is_no_such_thing(folder, monkeypatch, capsys, command, name):
    from trueup.cli.main import main

    if "\0" in name:  # no argument of a program can hold one
        name = name.replace("\0", "")
    monkeypatch.setenv("TRUEUP_HOME", str(folder / "home"))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(folder / "configs"))
    monkeypatch.setattr(sys, "argv", ["trueup", *(word.format(name) for word in command)])
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    help_or_model = name in {"--help", "toy", ""}
    assert end.value.code in ({0, 1, 2} if help_or_model else {1, 2}), (command, name, said)
    assert "Traceback" not in said.err + said.out
    assert {p.name for p in folder.iterdir()} <= {"configs", "home", "secret.yaml", "secret.html"}


async def raw(app, path):
    """Ask as a socket would, with no client in between that makes a path tidy."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "path": path,
        "raw_path": path.encode("utf-8", "surrogateescape"), "query_string": b"", "root_path": "", "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    await app(scope, receive, send)
    start = next(m for m in sent if m["type"] == "http.response.start")
    return start["status"], b"".join(m.get("body", b"") for m in sent if m["type"] == "http.response.body")


@given(names)
@example("../secret.html")
@example("runs/../../secret.html")
@example("link.html")
@example("a" * 300)
@example("\0")
def test_the_reports_server_serves_nothing_else(folder, name):
    served = folder / "home" / "reports"
    served.mkdir(parents=True, exist_ok=True)
    if not (served / "link.html").is_symlink():
        (served / "link.html").symlink_to(folder / "secret.html")
    status, body = asyncio.run(raw(application(served), f"/{name}"))
    assert b"a secret" not in body
    assert status in {200, 307, 400, 404, 405}
    assert status != 200 or b"<h1>Reports</h1>" in body
