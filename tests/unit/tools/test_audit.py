"""The audit of what is locked: a known hole fails it, and what could not be asked is said."""

from datetime import date

import pytest

from tests.advisories import NOBODY, serving
from tools.audit import main, outcome
from trueup.adapters.pip_audit import ask, read

TODAY = date(2026, 11, 1)
HOLE = {"package": "jinja2", "id": "GHSA-aaaa", "until": date(2026, 12, 1), "reason": "no templates of others"}


def answer(*vulns, skipped=()):
    jinja = {"name": "jinja2", "version": "2.0", "vulns": list(vulns)}
    rest = [{"name": name, "skip_reason": "Dependency not found"} for name in skipped]
    return read({"dependencies": [jinja, *rest]})


def vuln(**changes):
    return {"id": "PYSEC-1", "aliases": ["GHSA-aaaa"], "fix_versions": ["2.1", "3.0"], **changes}


def told(found, *accepted, today=TODAY):
    lines = list(outcome(found, accepted, today))
    return any(wrong for wrong, _ in lines), "\n".join(line for _, line in lines)


def test_a_hole_fails_and_is_named_with_the_version_that_mends_it():
    failed, said = told(answer(vuln()))
    assert failed
    assert "jinja2 2.0: PYSEC-1, fixed in 2.1, 3.0" in said
    assert "no version without it yet" in told(answer(vuln(fix_versions=[])))[1]


def test_a_hole_is_accepted_until_its_date_under_any_of_its_names():
    failed, said = told(answer(vuln()), HOLE)
    assert not failed
    assert "accepted until 2026-12-01: no templates of others" in said
    failed, said = told(answer(vuln()), HOLE, today=date(2026, 12, 2))
    assert failed
    assert "until 2026-12-01 only" in said
    assert told(answer(vuln()), HOLE | {"package": "other"})[0]
    assert "not found any more" in told(answer(), HOLE)[1]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("no network", "nothing was audited: no network"),
        (
            read({"dependencies": [{"name": "a", "skip_reason": "not found on PyPI"}]}),
            "the service knows 0 of 1 packages",
        ),
        (answer(skipped=["a", "b"]), "1 of 3 packages audited, 2 of which the service does not know, 0 known holes"),
    ],
)
def test_what_was_not_looked_at_is_said_and_fails_nothing(found, said):
    failed, text = told(found)
    assert not failed
    assert said in text


@pytest.mark.slow
def test_pip_audit_finds_a_hole_that_a_service_knows_of(tmp_path, capsys):
    lock, project = tmp_path / "requirements.lock", tmp_path / "pyproject.toml"
    lock.write_text("jinja2==3.1.5\nrich==14.0.0\n")
    project.write_text("")
    with serving("jinja2", "3.1.5", fixed_in="3.1.6") as service:
        assert main(["--lock", str(lock), "--project", str(project), "--osv-url", service]) == 1
    said = capsys.readouterr().out
    assert "jinja2 3.1.5: GHSA-zzzz, fixed in 3.1.6" in said
    assert "2 of 2 packages audited, 1 known holes" in said


@pytest.mark.slow
def test_a_service_that_cannot_be_reached_is_said(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("rich==14.0.0\n")
    said = ask(lock, NOBODY)
    assert isinstance(said, str)
    assert "cannot be reached" in said
