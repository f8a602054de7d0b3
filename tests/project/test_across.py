"""Two environments on one machine: models are trained in each, or move from one to the other as a signed bundle."""

import json
import os
import shutil
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests import streams
from tests.prefork import Prefork
from tests.story import PLAIN, stream

KEY = "11" * 32  # of staging; production makes its own
DAYS = {"staging": 10 * 7, "prod": 12 * 7}  # that each has data of
TURNED = 42  # the day on which the relation turns round, so that every model from before is bad
FIRST, LATER, LAST = (streams.week(number).date().isoformat() for number in (6, 10, 12))


class Checkout:
    """A project's folder in one environment, with data of its own."""

    def __init__(self, prefork: Prefork, folder: Path, name: str, **variables: str) -> None:
        self.prefork, self.folder, self.name, self.variables = prefork, folder, name, variables
        streams.write(folder, stream(DAYS[name], per_day=40, change_on=TURNED), PLAIN)
        (folder / "environments").mkdir()
        (folder / "prefect.yaml").write_text("deployments: []\n")
        self.describe("overrides: {}")

    def describe(self, more: str) -> None:
        """Write the environment's file."""
        named = ["TRUEUP_HOME: ${HOME_OF_IT}", *(f"{name}: ${{{name}}}" for name in self.variables)]
        (self.folder / "environments" / f"{self.name}.yaml").write_text(
            "variables:\n" + "".join(f"  {line}\n" for line in named) + more + "\n"
        )

    def __call__(self, *words: str, code: int = 0) -> str:
        """Say a command in the environment."""
        outside = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "TRUEUP_REPORTS": "0", "COLUMNS": "400"}
        variables = {"HOME_OF_IT": str(self.folder / "home"), **self.variables, **outside, "OMP_NUM_THREADS": "1"}
        done = self.prefork(["--env", self.name, *map(str, words)], self.folder, variables)
        assert done.code == code, (words, done)
        return done.out if code == 0 else done.err

    def json(self, *words: str) -> dict:
        """What a command answers."""
        return json.loads(self(*words, "--json").splitlines()[-1])

    def entries(self) -> list[dict]:
        """The ledger, oldest first."""
        self("ledger", "export", self.folder / "ledger.jsonl")
        return [json.loads(line) for line in (self.folder / "ledger.jsonl").read_text().splitlines()]

    def champion(self) -> int:
        """The champion's version, which the alias names, too."""
        (state,) = self.json("status")["models"]
        assert state["alias_agrees"]
        return state["champion"]


@pytest.fixture(scope="module")
def prefork(tmp_path_factory):
    prefork = Prefork(tmp_path_factory.mktemp("prefork"))
    yield prefork
    prefork.close()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def databases(request):
    """Variables with a database for each environment; none for SQLite in the home."""
    if request.param == "sqlite":
        return {"staging": {}, "prod": {}}
    server = sa.make_url(request.getfixturevalue("postgres_server")).set(drivername="postgresql+psycopg")
    engine, made = sa.create_engine(server, isolation_level="AUTOCOMMIT"), {}
    with engine.connect() as connection:
        for name in ("staging", "prod"):
            connection.execute(sa.text(f"CREATE DATABASE across_{name}"))
            url = server.set(database=f"across_{name}").render_as_string(hide_password=False)
            made[name] = {"TRUEUP_DATABASE_URL": url}
    engine.dispose()
    return made


@pytest.fixture(scope="module")
def both(prefork, databases, tmp_path_factory):
    """Staging and production with a champion each, trained on the data of each; production has staging's key pinned."""
    folder = tmp_path_factory.mktemp("across")
    staging = Checkout(prefork, folder / "staging", "staging", TRUEUP_LEDGER_KEY=KEY, **databases["staging"])
    prod = Checkout(prefork, folder / "prod", "prod", **databases["prod"])
    for place in (staging, prod):
        place("run", "toy", "--as-of", FIRST)
    prod.variables["TRUEUP_SENDERS"] = staging("ledger", "key").strip()
    staging.variables["TRUEUP_RECEIVERS"] = prod("ledger", "key").strip()
    for place in (staging, prod):
        place.describe("overrides: {}")
    return staging, prod


def edited(bundle: Path, name: str) -> bytes:
    """The bundle with one bit of one of its files turned round, as an archive that is whole."""
    stream_ = BytesIO()
    with zipfile.ZipFile(bundle) as old, zipfile.ZipFile(stream_, "w") as new:
        for entry in old.infolist():
            content = bytearray(old.read(entry))
            if entry.filename == name:
                content[len(content) // 2] ^= 1
            new.writestr(entry, bytes(content))
    return stream_.getvalue()


@pytest.mark.thorough
def test_models_are_trained_in_each_environment_or_move_as_a_bundle(both, tmp_path):
    staging, prod = both
    # By code: each environment has trained its own, and its ledger has its own entry about it.
    (ours,), (theirs,) = staging.entries(), prod.entries()
    assert (ours["kind"], theirs["kind"]) == ("promoted", "promoted")
    assert ours["hash"] != theirs["hash"]
    old, new = tmp_path / "old.zip", tmp_path / "new.zip"
    staging("send", "toy", "--to", old)
    assert "`promote.across` is code" in prod("receive", old, code=2)
    prod.describe("overrides: {promote.across: bundle}")
    # By bundle: one that is better after the relation has turned round, and one that is not.
    assert staging.json("retrain", "toy", "--as-of", LATER)["outcome"] == "promoted"
    sent = staging.json("send", "toy", "--to", new)
    assert prod.json("receive", new, "--as-of", LAST)["outcome"] == "promoted"
    done = prod.json("receive", old, "--as-of", LAST)
    assert (done["outcome"], done["again"]) == ("rejected", False)
    received, refused = prod.entries()[1:]
    about = received["body"]["received"]
    assert (about["hash"], about["version"], about["environment"]) == (sent["hash"], sent["version"], "staging")
    assert about["key_id"] == sent["key_id"]
    assert refused["body"]["received"]["hash"] == ours["hash"]
    judged = received["body"]["evidence"]
    assert received["body"]["gate"]["start"] >= received["body"]["model"]["trained_until"], (
        "it is judged on other rows than it learned from"
    )
    assert (judged["burden"], judged["changed"]) == ("change", ["origin"])
    assert received["body"]["model"]["manifest_digest"] == staging.entries()[-1]["body"]["model"]["manifest_digest"]
    # The same bundle again is not judged again, and the receipt is the same decision.
    again = prod.json("receive", new, "--as-of", LAST)
    assert (again["outcome"], again["again"], again["sequence"]) == ("promoted", True, received["seq"])
    assert len(prod.entries()) == 3
    # The receipt stands in the sender's ledger.
    said = staging("ledger", "receipt", again["receipt"])
    assert f"prod received version {sent['version']}" in said
    staging("ledger", "receipt", again["receipt"])
    noted = staging.entries()[-1]
    assert (noted["kind"], noted["body"]["receipt"]["hash"]) == ("receipt", received["hash"])
    assert len(staging.entries()) == 3
    # What is received works like what was trained here.
    version = again["version"]
    assert prod.champion() == version
    for place in both:
        assert "right" in place("ledger", "verify")
    assert "only staging can train it again" in prod("reproduce", "toy", str(version))
    page = Path(prod.json("dossier", "toy", "--out", tmp_path)["page"]).read_text()
    assert f"It was trained in staging, as version {sent['version']} (ledger entry {sent['entry']} there)" in page
    ran = prod.json("run", "toy", "--as-of", LAST)
    assert {s["version"] for s in ran["scored"] if s["new"]} == {version}
    prod("export", "toy", "--to", tmp_path / "device")
    # Back in production, and staging stays as it is.
    before = staging.entries(), staging.champion()
    prod("rollback", "toy", "--by", "Ada", "--why", "complaints")
    assert prod.champion() == theirs["body"]["model"]["version"]
    prod("rollback", "toy", "--to", str(version), "--by", "Ada", "--why", "they were about something else")
    assert prod.entries()[-1]["body"]["received"] == about
    assert (staging.entries(), staging.champion()) == before
    # A retrain here learns from the champion that was received, and has to prove that other data are better.
    retrained = prod.json("retrain", "toy", "--as-of", LAST)
    assert retrained["outcome"] in {"promoted", "rejected", "held"}
    assert "right" in prod("ledger", "verify")


@pytest.mark.thorough
def test_a_bundle_that_was_changed_is_refused_and_nothing_is_written(both, tmp_path):
    staging, prod = both
    bundle, place = tmp_path / "sent.zip", tmp_path / "bundle.zip"
    staging("send", "toy", "--to", bundle)
    prod.describe("overrides: {promote.across: bundle}")
    before = prod.entries()
    names = zipfile.ZipFile(bundle).namelist()
    assert {"manifest.json", "manifest.sig", "entry.json", "baseline.parquet", "model.skops", "MLmodel"} <= set(names)
    for name in names:
        place.write_bytes(edited(bundle, name))
        said = prod("receive", place, "--as-of", LAST, code=1)
        assert name in said or "signature" in said or "another key" in said, (name, said)
    shutil.copyfile(bundle, place)
    with zipfile.ZipFile(place, "a") as archive:
        archive.writestr("more.txt", "more")
    assert "'more.txt' does not belong to a bundle" in prod("receive", place, code=1)
    place.write_bytes(bundle.read_bytes()[:500])
    assert "cannot be read as an archive" in prod("receive", place, code=1)
    assert "it is about toy, not about other" in prod("receive", bundle, "--model", "other", code=1)
    assert "nothing is there" in prod("receive", tmp_path / "none.zip", code=2)
    pinned = prod.variables.pop("TRUEUP_SENDERS")
    prod.describe("overrides: {promote.across: bundle}")
    assert "TRUEUP_SENDERS names no key" in prod("receive", bundle, code=2)
    prod.variables["TRUEUP_SENDERS"] = prod("ledger", "key").strip()
    prod.describe("overrides: {promote.across: bundle}")
    assert "it is signed with another key" in prod("receive", bundle, code=1)
    prod.variables["TRUEUP_SENDERS"] = pinned
    prod.describe("overrides: {promote.across: bundle}")
    config = prod.folder / "configs" / "toy.yaml"
    text = config.read_text()
    config.write_text(text.replace("numeric: [x, z]", "numeric: [x]"))
    assert "it was trained on other `features`" in prod("receive", bundle, code=1)
    config.write_text(text)
    assert prod.entries() == before
    assert not list(tmp_path.glob("*.receipt.json"))


@pytest.mark.thorough
def test_a_receipt_that_was_changed_or_is_of_somebody_else_is_not_recorded(both, tmp_path):
    staging, prod = both
    bundle, receipt = tmp_path / "sent.zip", tmp_path / "receipt.json"
    staging("send", "toy", "--to", bundle)
    prod.describe("overrides: {promote.across: bundle}")
    prod("receive", bundle, "--as-of", LAST, "--receipt", receipt)
    before = staging.entries()
    content = json.loads(receipt.read_text())
    receipt.write_text(json.dumps(content | {"kind": "promoted!"}))
    assert "its signature is not right" in staging("ledger", "receipt", receipt, code=1)
    receipt.write_text("[]")
    assert "cannot be read as a receipt" in staging("ledger", "receipt", receipt, code=1)
    receipt.write_text(json.dumps(content))
    assert "TRUEUP_RECEIVERS names no key" in prod("ledger", "receipt", receipt, code=2)
    assert staging.entries() == before


@pytest.mark.thorough
def test_where_a_person_decides_the_receipt_follows_the_decision(both, tmp_path):
    staging, prod = both
    bundle = tmp_path / "sent.zip"
    staging("retrain", "toy", "--as-of", LATER)
    staging("send", "toy", "--to", bundle)
    prod.describe("overrides: {promote.across: bundle, promote.mode: approval}")
    first = min(e["body"]["promotion"]["version"] for e in prod.entries() if "promotion" in e["body"])
    if prod.champion() != first:
        prod("rollback", "toy", "--to", str(first), "--by", "Ada", "--why", "to begin with the old one")
    waiting = prod.json("receive", bundle, "--as-of", LAST, "--by", "Bob")
    assert waiting["outcome"] == "pending"
    assert json.loads(Path(waiting["receipt"]).read_text())["kind"] == "pending"
    prod("approve", str(waiting["sequence"]), "--by", "Ada")
    assert prod.champion() == waiting["version"]
    done = prod.json("receive", bundle, "--as-of", LAST)
    assert (done["outcome"], done["again"]) == ("promoted", True)
    assert json.loads(Path(done["receipt"]).read_text())["hash"] == prod.entries()[-1]["hash"]
    staging("ledger", "receipt", done["receipt"])
    assert staging.entries()[-1]["body"]["receipt"]["kind"] == "promoted"
