"""Who may reach the servers: loopback by default, and elsewhere nobody who does not say who he is."""

import asyncio
import base64

import httpx
import pytest

from trueup.config.settings import Settings
from trueup.errors import UsageError
from trueup.orchestration.stack.access import authorization, require_guarded
from trueup.orchestration.stack.reports import application
from trueup.orchestration.stack.services import Layout

OTHER = "192.0.2.7"  # nobody's: for documentation
AUTH = {"PREFECT_SERVER_API_AUTH_STRING": "trueup:a long password"}
TOKEN = "a-token-of-the-test"


def layout(tmp_path, **settings):
    """The stack of a home, with a model that is served."""
    (tmp_path / "toy.yaml").write_text("model: toy\nserve: {}\n")
    return Layout(Settings(home=tmp_path / "home", configs=tmp_path, **settings), tmp_path)


def listens(made):
    return {p: made.command(p)[0][made.command(p)[0].index("--host") + 1] for p in made.ports}


def test_without_any_setting_everything_binds_to_loopback_and_asks_nobody(tmp_path):
    usual = layout(tmp_path)
    assert listens(usual) == dict.fromkeys(("prefect", "mlflow", "evidently", "reports", "serve", "ui"), "127.0.0.1")
    require_guarded(usual, {})


def test_another_address_is_refused_with_all_that_is_missing(tmp_path):
    with pytest.raises(UsageError) as refused:
        require_guarded(layout(tmp_path, host=OTHER), {})
    said = str(refused.value).splitlines()
    assert [line.split()[0] for line in said[1:]] == ["prefect", "reports", "ui", "serve", "mlflow", "evidently"]
    assert "PREFECT_SERVER_API_AUTH_STRING" in said[1]
    assert "TRUEUP_REPORTS_TOKEN" in said[2]
    assert "TRUEUP_REPORTS_TOKEN" in said[3]
    assert "trueup token add" in said[4]
    assert "Flask-WTF" in said[5]
    assert refused.value.exit_code == 2


def test_another_address_is_taken_where_each_server_asks(tmp_path):
    guarded = layout(tmp_path, host=OTHER, reports_token=TOKEN, without="mlflow,evidently,serve")
    require_guarded(guarded, AUTH)
    assert listens(guarded) == {"prefect": OTHER, "reports": OTHER, "ui": OTHER}
    assert guarded.api == f"http://{OTHER}:4200/api"
    assert guarded.origins == f"http://{OTHER}:4200"
    environment = guarded.environment(AUTH)
    assert environment["PREFECT_API_AUTH_STRING"] == AUTH["PREFECT_SERVER_API_AUTH_STRING"]
    for program in guarded.programs:  # every user of a machine can read a command line
        assert "password" not in " ".join(guarded.command(program)[0])
        assert TOKEN not in " ".join(guarded.command(program)[0])


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        ({"PREFECT_SERVER_API_AUTH_STRING": "trueup:short"}, "at least 12 characters"),
        ({"PREFECT_SERVER_API_AUTH_STRING": "nocolon-but-long-enough"}, "is not user:password"),
        ({"PREFECT_SERVER_API_AUTH_STRING": "trueup:pässword-long"}, "is not user:password"),
        (AUTH | {"PREFECT_API_AUTH_STRING": "trueup:another password"}, "is not what"),
    ],
)
def test_a_password_that_guards_nothing_is_refused_and_not_shown(tmp_path, auth, said):
    with pytest.raises(UsageError, match=said) as refused:
        require_guarded(layout(tmp_path, host=OTHER, reports_token=TOKEN, without="mlflow,evidently,serve"), auth)
    assert not any(secret.partition(":")[2] in str(refused.value) for secret in auth.values() if ":" in secret)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "224.0.0.1", "::", "localhost", "example.org", "127.0.0.1/8", "", "１２７.0.0.1"]
)
def test_what_is_no_single_address_is_refused(tmp_path, host):
    with pytest.raises(UsageError, match="TRUEUP_HOST"):
        layout(tmp_path, host=host)


def test_a_token_that_is_too_short_is_refused_and_not_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("TRUEUP_REPORTS_TOKEN", "canary")
    with pytest.raises(UsageError, match="TRUEUP_REPORTS_TOKEN") as refused:
        Settings(home=tmp_path)
    assert "canary" not in str(refused.value)
    assert TOKEN not in repr(Settings(home=tmp_path, reports_token=TOKEN))


def test_prefects_header():
    assert authorization({}) == {}
    sent = authorization(AUTH)["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(sent).decode() == AUTH["PREFECT_SERVER_API_AUTH_STRING"]


def basic(word):
    return f"Basic {base64.b64encode(f'me:{word}'.encode()).decode()}"


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401), ("", 401), ("Bearer", 401), ("Bearer wrong", 401), ("Basic !!", 401), ("Basic ", 401),
        (basic("wrong"), 401), (basic(""), 401), (f"Digest {TOKEN}", 401), (TOKEN, 401),
        (f"Bearer {TOKEN}", 200), (basic(TOKEN), 200),
    ],
)  # fmt: skip
def test_reports_are_for_who_brings_the_token(tmp_path, header, status):
    (tmp_path / "report.html").write_text("what lies here")

    async def ask():
        transport = httpx.ASGITransport(application(tmp_path, OTHER, TOKEN))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{OTHER}") as client:
            return await client.get("/report.html", headers={} if header is None else {"Authorization": header})

    answer = asyncio.run(ask())
    assert answer.status_code == status
    assert ("what lies here" in answer.text) == (status == 200)
    assert status == 200 or answer.headers["WWW-Authenticate"].startswith("Basic")
