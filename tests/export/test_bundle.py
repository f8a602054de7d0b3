"""A bundle of a version: what is in it, that it is the same each time, and what is never exported."""

import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import sqlalchemy as sa

from tests.export.homes import CHAMPION, JUDGED, formless
from tests.story import Story
from trueup.adapters.onnx.form import read_form
from trueup.errors import LedgerError, UntrustedModel, UsageError, WorkError
from trueup.export.archive import packed, read_bundle
from trueup.export.bundle import export
from trueup.export.manifest import Manifest
from trueup.export.verify import check_bundle
from trueup.governance.rollback import override, roll_back
from trueup.ledger.canonical import canonical
from trueup.ledger.tables import DECISIONS

ISSUED = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture
def exported(shop, tmp_path):
    done = export(shop.model, None, tmp_path / "bundle", zipped=True, issued=ISSUED)
    return done, read_bundle(tmp_path / "bundle")


def test_a_manifest_says_where_a_version_comes_from_and_is_signed(shop, exported):
    done, contents = exported
    manifest, champion = json.loads(contents["manifest.json"]), shop.model.champion()
    assert contents["manifest.json"] == canonical(manifest).encode()
    assert (manifest["model"], manifest["task"], manifest["version"], manifest["epoch"]) == (
        "toy", "binary", CHAMPION, 1,
    )  # fmt: skip
    assert (manifest["issued"], manifest["expires"]) == ("2026-11-29T12:00:00Z", "2027-05-28T12:00:00Z")
    assert datetime.fromisoformat(manifest["trained_until"]) == champion.trained_until
    entry = next(e for e in shop.home.ledger.entries("toy") if e.seq == manifest["ledger"]["seq"])
    assert (entry.body.promotion.version, entry.body.promotion.epoch) == (CHAMPION, 1)
    assert manifest["ledger"]["hash"] == entry.hash
    signer = shop.home.signer
    assert manifest["ledger"]["public"] == signer.public
    assert signer.verifies(entry.key_id, manifest["ledger"]["hash"], manifest["ledger"]["signature"])
    line = json.loads(contents["manifest.sig"])
    assert signer.verifies_document("trueup-bundle-1", line["key_id"], contents["manifest.json"], line["signature"])
    for name, facts in manifest["files"].items():
        assert facts == {"bytes": len(contents[name]), "sha256": hashlib.sha256(contents[name]).hexdigest()}
    assert manifest["output"] == {"name": "y", "unit": ""}
    assert done.key_id == signer.key_id


def test_inputs_are_in_the_order_of_the_graph_with_where_they_come_from(exported):
    done, contents = exported
    manifest, form = json.loads(contents["manifest.json"]), read_form(contents["model.onnx"])
    inputs = {i["name"]: i for i in manifest["inputs"]}
    assert list(inputs) == [column.name for column in form.inputs]
    assert (inputs["x"]["of"], inputs["x"]["dtype"], inputs["x"]["infinite"]) == ("numeric", "float64", True)
    assert [name for name, facts in inputs.items() if "unit" in facts] == ["x"]
    assert inputs["x"]["unit"] == "mm"
    assert (inputs["group"]["of"], inputs["group"]["categories"]) == ("categorical", ["a", "b", "c"])
    hour = inputs["t_hour"]
    assert (hour["of"], hour["column"], hour["part"], hour["dtype"]) == ("calendar", "t", "hour", "float32")
    assert inputs["rate_group_7d"]["definition"] == {
        "of": "label", "aggregate": "mean", "by": ["group"], "window": "7 days",
    }  # fmt: skip
    assert inputs["rate_group_7d_n"]["definition"]["aggregate"] == "count"
    custom = inputs["total"]
    assert (custom["of"], custom["definition"]["function"]) == ("custom", "shop:together")
    assert len(custom["definition"]["module_sha256"]) == 64
    assert done.derived == ("rate_group_7d", "rate_group_7d_n", "total")
    assert Manifest.read(contents["manifest.json"]).content() == contents["manifest.json"]


def test_the_same_version_and_moment_make_the_same_bytes(shop, exported, tmp_path):
    done, contents = exported
    again = export(shop.model, done.version, tmp_path / "again", zipped=True, issued=ISSUED)
    assert read_bundle(tmp_path / "again") == contents
    first, second = (tmp_path / name for name in ("bundle.zip", "again.zip"))
    assert first.read_bytes() == second.read_bytes() == packed(contents)
    assert (done.archive, again.archive) == (str(first), str(second))
    later = export(shop.model, done.version, tmp_path / "again", issued=ISSUED + timedelta(seconds=1))
    assert later.issued > done.issued
    other = read_bundle(tmp_path / "again")
    assert {name for name in contents if other[name] != contents[name]} == {"manifest.json", "manifest.sig"}


def test_no_row_of_the_data_is_among_those_that_test_the_bundle(shop, exported):
    _, contents = exported
    lines = [json.loads(line) for line in contents["parity.jsonl"].splitlines()]
    assert len(lines) >= 20
    sample = shop.home.store.read_evaluation(shop.model.champion().baseline_path)
    numbers = ["x", "z", "total"]
    real = {tuple(row) for row in sample[numbers].to_numpy(dtype=float).tolist()}
    rows = [tuple(np.nan if line["row"][n] is None else line["row"][n] for n in numbers) for line in lines]
    assert not [row for row in rows if row in real]


def test_a_version_that_never_served_has_epoch_0_and_one_that_came_back_the_newest(shop, tmp_path):
    story = shop.branch(tmp_path / "branch")
    assert export(story.model, JUDGED, tmp_path / "judged").epoch == 0
    override(story.model, JUDGED, by="Ada", why="the refit is odd")
    assert export(story.model, None, tmp_path / "override").epoch == 2
    assert export(story.model, CHAMPION, tmp_path / "before").epoch == 1
    roll_back(story.model, CHAMPION, by="Ada", why="the last good one")
    assert export(story.model, None, tmp_path / "after").epoch == 3


def test_the_calendar_of_a_bundle_is_that_of_the_training(shop, tmp_path):
    story = shop.branch(tmp_path / "branch")
    config = story.configs / "toy.yaml"
    config.write_text(config.read_text().replace("ingest:\n", "ingest:\n  timezone: Asia/Tokyo\n"))
    assert story.config.ingest.timezone == "Asia/Tokyo"
    export(story.model, None, tmp_path / "bundle")
    manifest = json.loads(read_bundle(tmp_path / "bundle")["manifest.json"])
    assert manifest["timezone"] == "UTC"


def test_the_graph_is_the_registered_one_and_is_made_for_a_version_without(shop, exported, tmp_path):
    done, contents = exported
    champion = shop.model.champion()
    assert contents["model.onnx"] == shop.home.registry.onnx(champion.uri, champion.manifest_digest)
    story = formless(shop.branch(tmp_path / "branch"))
    export(story.model, done.version, tmp_path / "made", issued=ISSUED)
    assert read_bundle(tmp_path / "made") == contents


def test_a_folder_that_holds_something_else_is_left_alone(shop, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds 'notes.txt', which belongs to no bundle"):
        export(shop.model, None, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_in_the_place_of_a_file_is_no_bundle(shop, tmp_path):
    (tmp_path / "bundle" / "manifest.json").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"holds 'manifest.json', which belongs to no bundle"):
        export(shop.model, None, tmp_path / "bundle")


def test_an_archive_that_holds_something_else_is_left_alone(shop, tmp_path):
    place = tmp_path / "bundle.zip"
    place.write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"bundle.zip: holds something other than a bundle"):
        export(shop.model, None, tmp_path / "bundle", zipped=True)
    assert place.read_bytes() == b"mine"
    assert not (tmp_path / "bundle").exists()
    export(shop.model, None, tmp_path / "bundle", issued=ISSUED)  # without an archive
    contents = read_bundle(tmp_path / "bundle")
    manifest = json.loads(contents["manifest.json"]) | {"model": "other"}
    place.write_bytes(packed(contents | {"manifest.json": json.dumps(manifest).encode()}))
    with pytest.raises(UsageError, match=r"bundle.zip: holds a bundle of other"):
        export(shop.model, None, tmp_path / "bundle", zipped=True)
    place.write_bytes(packed(contents))
    export(shop.model, None, tmp_path / "bundle", zipped=True, issued=ISSUED + timedelta(days=1))
    assert read_bundle(place) == read_bundle(tmp_path / "bundle") != contents


def test_two_exports_at_once_leave_the_bundle_of_one(shop, tmp_path):
    """Many times, because their writing has to overlap."""
    stories = [Story.at(shop.folder, shop.frame) for _ in range(2)]

    def write(number):
        issued = ISSUED + timedelta(days=number)
        return export(stories[number % 2].model, None, tmp_path / "bundle", zipped=True, issued=issued)

    for turn in range(5):
        with ThreadPoolExecutor(2) as pool:
            assert len(list(pool.map(write, (2 * turn, 2 * turn + 1)))) == 2
        for place in ("bundle", "bundle.zip"):
            assert check_bundle(tmp_path / place, shop.home).problems == ()
        assert read_bundle(tmp_path / "bundle") == read_bundle(tmp_path / "bundle.zip")


def test_a_broken_bundle_is_replaced_and_one_of_another_model_is_not(shop, tmp_path):
    folder = tmp_path / "bundle"
    export(shop.model, None, folder, issued=ISSUED)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"model": "other"}))
    with pytest.raises(UsageError, match="holds a bundle of other"):
        export(shop.model, None, folder, issued=ISSUED)
    (folder / "manifest.json").write_bytes(b"torn")
    export(shop.model, None, folder, issued=ISSUED)
    assert json.loads((folder / "manifest.json").read_text()) == manifest


def test_a_version_that_nobody_decided_on_is_wrong_usage(shop, tmp_path):
    with pytest.raises(UsageError, match="the ledger has no record of version 99; it has 1, 2;"):
        export(shop.model, 99, tmp_path / "bundle")


def test_a_version_is_not_exported_if_the_ledger_is_not_right_about_it(shop, tmp_path):
    story = shop.branch(tmp_path / "branch")
    engine = sa.create_engine(story.home.engine.url)
    with engine.begin() as connection:  # as somebody who owns the database
        for name in connection.scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            connection.execute(sa.text(f"DROP TRIGGER {name}"))
        connection.execute(sa.update(DECISIONS).values(signature="00" * 64))
    engine.dispose()
    with pytest.raises(LedgerError, match="the ledger is not right about it: entry 1: has an invalid signature"):
        export(story.model, None, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_changed_files_are_not_exported(shop, tmp_path):
    story = shop.branch(tmp_path / "branch")
    champion = story.model.champion()
    with story.home.registry.files(champion.uri) as folder:
        file = folder / "model.skops"
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        try:
            with pytest.raises(UntrustedModel):
                export(story.model, None, tmp_path / "bundle")
        finally:
            file.write_bytes(content)
    assert not (tmp_path / "bundle").exists()


def test_after_retention_a_version_is_compared_on_the_newest_batch_and_without_rows_not_exported(shop, tmp_path):
    story = formless(shop.branch(tmp_path / "branch"))
    (story.home.root / story.model.champion().baseline_path).unlink()
    export(story.model, None, tmp_path / "bundle", issued=ISSUED)
    export(shop.model, None, tmp_path / "before", issued=ISSUED)
    graphs = [read_bundle(tmp_path / name)["model.onnx"] for name in ("bundle", "before")]
    assert graphs[0] == graphs[1]
    for file in (story.home.root / "batches").rglob("*.parquet"):
        file.unlink()
    shutil.rmtree(story.home.root / "features")
    with pytest.raises(WorkError):
        export(story.model, None, tmp_path / "without")
    assert not (tmp_path / "without").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--expires", "soon"), "--expires: 'soon' is not a span of time"),
        (("--expires", "0 days"), "has passed at the moment of issue"),
        (("--issued", "yesterday"), "'yesterday' is not a time"),
        (("--issued", "9999-12-31"), "would expire after the year 9999"),
        (("9",), "the ledger has no record of version 9"),
    ],
)
def test_a_wrong_call_writes_nothing(shop, tmp_path, command_line, words, said):
    done = command_line(shop.folder)("export", "toy", "--to", str(tmp_path / "bundle"), *words)
    assert (done.code, said in done.err) == (2, True), done.err
    assert not (tmp_path / "bundle").exists()


def test_the_command_line_says_what_is_in_a_bundle(shop, tmp_path, command_line):
    words = ("export", "toy", "1", "--to", str(tmp_path / "bundle"), "--expires", "30d", "--issued", "2026-11-29T12:00")
    done = command_line(shop.folder)(*words, "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert (facts["version"], facts["epoch"], facts["inputs"]) == (JUDGED, 0, 8)
    assert (facts["issued"], facts["expires"]) == ("2026-11-29T12:00:00Z", "2026-12-29T12:00:00Z")
    assert facts["largest"] <= 1e-9
    assert facts["rows"] > 1000
