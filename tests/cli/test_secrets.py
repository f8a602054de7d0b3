"""Secrets stay where they were given: canaries are planted, the loop is turned and made to fail, and everything is searched."""

import base64
import os
import re
import subprocess
import sys
import zipfile
from urllib.parse import quote

import pytest

from tests import streams

KEY = "0badc0ffee" * 6 + "0bad"  # 32 bytes in hex
CANARIES = {
    "ledger key": KEY,
    "source": "canary-source/9f2c",
    "sink": "canary-sink@77ab",
    "notify": "canary-notify-31dd",
    "database": "canary-database-c0de",
    "mlflow": "canary-mlflow-5aa5",
    "prefect": "canary-prefect-e11e",
    "token": "canary-token-b2b2b2",
    "typed": "canary-typed-0404",
}
SECRETS = {
    "TRUEUP_LEDGER_KEY": KEY,
    "SHOP_PASSWORD": CANARIES["source"],
    "SINK_PASSWORD": CANARIES["sink"],
    "TRUEUP_NOTIFY": f"json://me:{CANARIES['notify']}@127.0.0.1:1/",
    "TRUEUP_REPORTS_TOKEN": CANARIES["token"],
    "PREFECT_SERVER_API_AUTH_STRING": f"me:{CANARIES['prefect']}",
    "PREFECT_API_AUTH_STRING": f"me:{CANARIES['prefect']}",
}
SINK = "score:\n  sink: {kind: sql, url: 'postgresql://me:${SINK_PASSWORD}@127.0.0.1:1/shop', table: scores}\n"
SOURCE = "source: {kind: sql, url: 'postgresql://me:${SHOP_PASSWORD}@127.0.0.1:1/shop', query: SELECT 1}"
# A model that is promoted and then cannot deliver its scores, one without data, and people who cannot be notified.
TURNS = """
import logging, sys
logging.basicConfig(level=logging.DEBUG)
from datetime import datetime
from trueup.cli.main import main
from trueup.orchestration.hooks import pass_on
from trueup.adapters.apprise import addresses
from trueup.config.load import load_model
from trueup.loop import steps
from trueup.loop.turn import cycle
from trueup.home import Home
from trueup.model import Model

home = Home()
for model, moment in (("toy", datetime(2024, 2, 5)), ("toy", datetime(2024, 2, 19)), ("shop", datetime(2024, 2, 5))):
    try:
        done = cycle(steps, Model(load_model(home.configs, model), home), moment)
        print(model, "came to", done.decided.outcome, flush=True)
    except Exception:
        logging.exception("%s failed at %s", model, moment)
    pass_on(home)
print(addresses(home.settings.notify)[0].send("a title", "a text"))
home.close()
for words in (["status", "toy"], ["ledger", "show"], ["ledger", "verify"]):
    sys.argv = ["trueup", *words]
    try:
        main()
    except SystemExit:
        pass
"""


def spellings(secret):
    """As it is, as an address has it, and as a header does."""
    found = {secret, quote(secret, safe=""), base64.b64encode(f"me:{secret}".encode()).decode()}
    return {word.encode() for word in found}


def texts(folder):
    """Every file, and what is in those that are archives."""
    for file in folder.rglob("*"):
        if file.is_file():
            yield str(file), file.read_bytes()
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as archive:
                    yield from ((f"{file}:{name}", archive.read(name)) for name in archive.namelist())


def leaks(where, content):
    return [f"{name} in {where}" for name, secret in CANARIES.items() if any(s in content for s in spellings(secret))]


def test_a_search_would_find_them(tmp_path):
    for name, secret in CANARIES.items():
        (tmp_path / "a").write_text(f"x {quote(secret, safe='')} y")
        assert [found.split(" in ")[0] for file, text in texts(tmp_path) for found in leaks(file, text)] == [name]


def test_no_secret_is_written_anywhere(tmp_path):
    streams.write(tmp_path, streams.Stream(days=49, per_day=60).frame(), streams.CONFIG + SINK)
    (tmp_path / "configs" / "shop.yaml").write_text(
        re.sub(r"source: \{.*\}", SOURCE, streams.CONFIG.replace("model: toy", "model: shop"))
    )
    given = {k: v for k, v in os.environ.items() if not k.startswith(("TRUEUP_", "PREFECT_"))} | SECRETS
    given |= {"TRUEUP_HOME": str(tmp_path / "home"), "TRUEUP_CONFIGS": str(tmp_path / "configs")}
    given |= {"PREFECT_LOGGING_LEVEL": "DEBUG", "PREFECT_HOME": str(tmp_path / "home" / "prefect")}
    given |= {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300"}
    done = subprocess.run([sys.executable, "-c", TURNS], env=given, capture_output=True, timeout=550, check=False)
    said = done.stdout + done.stderr
    (tmp_path / "said").write_bytes(said)
    assert b"toy came to promoted" in said, said.decode()[-3000:]
    assert b"toy failed at 2024-02-19" in said, said.decode()[-3000:]
    assert b"shop failed at" in said, said.decode()[-3000:]
    assert b"TRUEUP_NOTIFY: a message to address 1 could not be sent" in said
    kinds = {path.suffix for path in (tmp_path / "home").rglob("*") if path.is_file()}
    assert {".db", ".html", ".parquet", ".skops"} <= kinds  # databases, reports, data and models were searched
    found = [leak for file, content in texts(tmp_path) for leak in leaks(file, content)]
    assert not found


@pytest.mark.parametrize("place", ["DATABASE", "MLFLOW"])
def test_an_address_that_does_not_answer_is_said_without_its_password(trueup, monkeypatch, place):
    name = {"DATABASE": "TRUEUP_DATABASE_URL", "MLFLOW": "TRUEUP_MLFLOW_URI"}[place]
    monkeypatch.setenv(name, f"postgresql://me:{CANARIES[place.lower()]}@127.0.0.1:1/trueup")
    answer = trueup("ledger", "verify")
    assert answer.code == 1, answer
    assert "Traceback" not in answer.err
    assert not leaks("what was said", (answer.out + answer.err).encode())


@pytest.mark.parametrize(
    "url", ["postgresql://me:{}@db/shop", "postgresql://db/shop?password={}", "postgresql://me:${{A}}{}@db/x"]
)
def test_a_password_in_a_config_is_refused_and_not_shown(trueup, url):
    file = trueup.folder / "configs" / "toy.yaml"
    source = f"source: {{kind: sql, url: '{url.format(CANARIES['typed'])}', query: SELECT 1}}"
    file.write_text(re.sub(r"source: \{.*\}", source, file.read_text()))
    answer = trueup("check", "toy")
    assert answer.code == 2
    assert "holds a password; write ${NAME}" in answer.out + answer.err
    assert not leaks("what was said", (answer.out + answer.err).encode())
