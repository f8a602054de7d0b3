"""The bundle in which a model moves to another environment: nothing of it is used before all of it is right."""

import json
import zipfile
from datetime import UTC, datetime
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.export.homes import CHAMPION, JUDGED
from trueup.across.bundle import open_parcel
from trueup.across.receive import opened_parcel, receive
from trueup.across.send import send
from trueup.config.settings import Settings
from trueup.errors import UsageError, WorkError
from trueup.ledger.signing import verifier
from trueup.loop import steps

ISSUED = datetime(2026, 11, 29, 12, tzinfo=UTC)
OTHER = "22" * 32


@pytest.fixture(scope="module")
def sent(shop, tmp_path_factory):
    """The champion's bundle, and the key to believe it by."""
    file = tmp_path_factory.mktemp("sent") / "bundle.zip"
    done = send(shop.model, None, file, ISSUED)
    return file, verifier(done.public, "TRUEUP_SENDERS")


def repacked(file, changes):
    """The archive with other contents of some files."""
    stream = BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            new.writestr(name, changes.get(name, old.read(name)))
    return stream.getvalue()


def test_the_champion_is_sent_with_its_entry_and_the_same_bytes_each_time(shop, sent, tmp_path):
    file, believed = sent
    send(shop.model, CHAMPION, tmp_path / "again.zip", ISSUED)
    assert (tmp_path / "again.zip").read_bytes() == file.read_bytes()
    parcel = open_parcel(file, believed)
    entry = shop.home.ledger.entry(parcel.entry.seq)
    assert parcel.entry == entry
    assert parcel.origin.hash == entry.hash
    assert list(parcel.load().feature_names_in_) == list(
        shop.home.registry.load(entry.body.model.uri, entry.body.model.manifest_digest).feature_names_in_
    )


def test_only_what_was_promoted_is_sent_and_no_other_file_is_replaced(shop, tmp_path):
    with pytest.raises(UsageError, match=rf"version {JUDGED} was never promoted here.*those that were: {CHAMPION}"):
        send(shop.model, JUDGED, tmp_path / "bundle.zip")
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(UsageError, match=r"holds something other than a model's bundle"):
        send(shop.model, None, tmp_path / "notes")
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


@given(data=st.data())
def test_whatever_bit_is_turned_round_the_bundle_is_refused_or_the_same(sent, tmp_path_factory, data):
    file, believed = sent
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    changed = tmp_path_factory.mktemp("changed") / "bundle.zip"
    changed.write_bytes(content)
    try:
        parcel = open_parcel(changed, believed)
    except WorkError:
        return
    assert parcel.contents == open_parcel(file, believed).contents


def test_each_file_is_covered_by_the_signature(sent, tmp_path):
    file, believed = sent
    place = tmp_path / "bundle.zip"
    for name in zipfile.ZipFile(file).namelist():
        place.write_bytes(repacked(file, {name: b"{}"}))
        with pytest.raises(WorkError, match=r"signature|was changed"):
            open_parcel(place, believed)
    manifest = json.loads(zipfile.ZipFile(file).read("manifest.json"))
    place.write_bytes(repacked(file, {"manifest.json": json.dumps(manifest | {"version": JUDGED}).encode()}))
    with pytest.raises(WorkError, match=r"its signature is not right"):
        open_parcel(place, believed)


def test_a_key_that_is_not_pinned_is_not_believed(sent):
    file, believed = sent
    with pytest.raises(UsageError, match=r"TRUEUP_SENDERS names no key"):
        opened_parcel(file, Settings())
    with pytest.raises(WorkError, match=r"signed with another key .*TRUEUP_SENDERS"):
        opened_parcel(file, Settings(senders=OTHER))
    opened_parcel(file, Settings(senders=f"{OTHER},{believed.public}"), "toy")
    with pytest.raises(WorkError, match=r"it is about toy, not about other"):
        opened_parcel(file, Settings(senders=believed.public), "other")


def test_it_is_received_only_by_another_home_whose_config_allows_it(shop, sent, tmp_path):
    file, believed = sent
    parcel = open_parcel(file, believed)
    story = shop.branch(tmp_path / "branch")
    before = [entry.hash for entry in story.home.ledger.entries()]

    def attempt():
        return receive(steps, story.model, file, parcel, datetime(2024, 2, 26), tmp_path / "receipt.json")

    with pytest.raises(UsageError, match=r"`promote.across` is code.*set `promote.across: bundle`"):
        attempt()
    config = story.configs / "toy.yaml"
    config.write_text(config.read_text().replace("promote:\n", "promote:\n  across: bundle\n"))
    with pytest.raises(WorkError, match=r"it was sent from this home"):
        attempt()
    (story.configs / "shop.py").write_text((story.configs / "shop.py").read_text().replace("+", "-"))
    config.write_text(config.read_text().replace("ingest:\n", "ingest:\n  timezone: Asia/Tokyo\n"))
    with pytest.raises(WorkError, match=r"ingest.timezone is UTC there and Asia/Tokyo here.*the code of shop:together"):
        attempt()
    assert [entry.hash for entry in story.home.ledger.entries()] == before
    assert not (tmp_path / "receipt.json").exists()
