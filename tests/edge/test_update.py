"""`pull`: what is installed, what is refused, and what a device runs afterwards."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

import pytest

from tests.edge import bundles
from trueup_edge import load
from trueup_edge.command_line import main
from trueup_edge.device import status
from trueup_edge.errors import (
    AnotherModel,
    Expired,
    NotTrusted,
    OlderEpoch,
    SelfTestFailed,
    Unavailable,
    UsageError,
)
from trueup_edge.update import pull, replace_anchor

ROW = bundles.ROWS[0][0]


@pytest.fixture
def device(tmp_path):
    """The folder of a device, not there yet."""
    return tmp_path / "device"


@pytest.fixture
def offer(tmp_path):
    """Makes a bundle with changes of its manifest; returns its address."""
    made = iter(range(100))

    def make(**changes: object) -> str:
        return str(bundles.write(tmp_path / f"offer{next(made)}", **changes))

    return make


def other_graph() -> dict[str, bytes]:
    """Another model with the same inputs, and its parity rows."""
    return {"model.onnx": bundles.graph("regression"), "parity.jsonl": bundles.parity("regression")}


def test_a_newer_bundle_replaces_an_older_one_which_is_kept(device, anchor, offer):
    first, second, third = offer(epoch=5), offer(epoch=6, version=4), offer(epoch=9, version=3)
    assert pull(first, device, anchor) == "toy version 3, epoch 5: installed"
    assert pull(first, device, anchor) == "toy version 3, epoch 5: up to date"
    assert pull(second, device, anchor) == "toy version 4, epoch 6: installed"
    assert pull(third, device, anchor) == "toy version 3, epoch 9: installed"  # a rollback has a higher epoch
    model = load(device, trust=anchor)
    assert (model.version, model.epoch) == (3, 9)
    assert model.predict(ROW) == pytest.approx(bundles.predicted(bundles.ROWS[0][1])[0])
    described = status(device, anchor)
    assert [described[role]["epoch"] for role in ("current", "previous")] == [9, 6]
    assert [described[role]["problem"] for role in ("current", "previous")] == [None, None]
    assert len(list((device / "bundles").iterdir())) == 2
    assert sorted(path.name for path in device.iterdir()) == ["bundles", "lock", "state.json"]


def test_epochs_only_rise(device, anchor, offer):
    pull(offer(epoch=6), device, anchor)
    with pytest.raises(OlderEpoch, match="epoch 5 is offered, but epoch 6 was installed"):
        pull(offer(epoch=5), device, anchor)
    with pytest.raises(OlderEpoch, match=r"another model\.onnx"):
        pull(offer(epoch=6, task="regression", files=other_graph(), issued="2024-04-01T00:00:00Z"), device, anchor)
    with pytest.raises(OlderEpoch, match="issued before"):
        pull(offer(epoch=6, issued="2024-02-01T00:00:00Z"), device, anchor)
    assert load(device, trust=anchor).epoch == 6


def test_a_renewed_expiry_of_the_same_epoch_is_installed(device, anchor, offer):
    pull(offer(epoch=6), device, anchor)
    renewed = offer(epoch=6, issued="2024-04-01T00:00:00Z", expires="2124-04-01T00:00:00Z")
    assert pull(renewed, device, anchor) == "toy version 3, epoch 6: installed"
    assert load(device, trust=anchor).manifest.expires.month == 4


def test_the_highest_epoch_counts_also_if_the_newest_bundle_is_damaged(device, anchor, offer, caplog):
    pull(offer(epoch=5), device, anchor)
    pull(offer(epoch=6), device, anchor)
    flip(next((device / "bundles").glob("e6-*")) / "model.onnx")
    assert load(device, trust=anchor).epoch == 5
    assert "the last good one" in caplog.text
    with pytest.raises(OlderEpoch):
        pull(offer(epoch=5), device, anchor)


def flip(file) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_the_same_bundle_repairs_a_damaged_one(device, anchor, offer):
    pull(offer(epoch=5), device, anchor)
    newest = offer(epoch=6)
    pull(newest, device, anchor)
    flip(next((device / "bundles").glob("e6-*")) / "parity.jsonl")
    assert pull(newest, device, anchor) == "toy version 3, epoch 6: installed"
    described = status(device, anchor)
    assert [described[role]["epoch"] for role in ("current", "previous")] == [6, 5]
    assert described["current"]["problem"] is None


def test_a_damaged_bundle_is_not_kept_as_the_last_good_one(device, anchor, offer):
    for epoch in (5, 6):
        pull(offer(epoch=epoch), device, anchor)
    flip(next((device / "bundles").glob("e6-*")) / "model.onnx")
    pull(offer(epoch=7), device, anchor)
    assert [status(device, anchor)[role]["epoch"] for role in ("current", "previous")] == [7, 5]


@pytest.mark.parametrize("damage", ["flipped", "torn", "removed"])
def test_a_damaged_state_is_derived_from_the_bundles(device, anchor, offer, damage, caplog):
    for epoch in (5, 6):
        pull(offer(epoch=epoch), device, anchor)
    state = device / "state.json"
    if damage == "flipped":
        state.write_bytes(state.read_bytes().replace(b'"epoch":6', b'"epoch":4'))
    elif damage == "torn":
        state.write_bytes(state.read_bytes()[:100])
    else:
        state.unlink()
    assert load(device, trust=anchor).epoch == 6
    with pytest.raises(OlderEpoch):
        pull(offer(epoch=5), device, anchor)
    pull(offer(epoch=7), device, anchor)
    assert [status(device, anchor)[role]["epoch"] for role in ("current", "previous")] == [7, 6]
    assert ("it is derived" in caplog.text) == (damage != "removed")


def test_what_is_not_trusted_or_does_not_work_leaves_the_old_one(device, anchor, offer, caplog):
    caplog.set_level(logging.WARNING)
    pull(offer(epoch=5), device, anchor)
    cases = [
        (offer(epoch=6, signer=bundles.key(2)), NotTrusted, "does not have"),
        (offer(epoch=6, model="other"), AnotherModel, "'other'"),
        (offer(epoch=6, expires="2024-03-02T00:00:00Z"), Expired, "expired"),
        (offer(epoch=6, files={"model.onnx": bundles.graph("regression")}), SelfTestFailed, "row 1 "),
        (offer(epoch=6, files={"model.onnx": b"no graph"}), SelfTestFailed, "cannot load"),
        (str(device.parent / "nowhere"), Unavailable, "no such folder"),
        ("ftp://127.0.0.1/bundle", UsageError, "https://"),
    ]
    for source, kind, reason in cases:
        with pytest.raises(kind, match=reason):
            pull(source, device, anchor)
        assert load(device, trust=anchor).epoch == 5
        assert not (device / "incoming").exists()
    with pytest.raises(Unavailable, match="--max-bytes"):
        pull(offer(epoch=6), device, anchor, max_bytes=100)
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sig", "model.onnx", "parity.jsonl"])
def test_a_changed_or_linked_file_of_the_source_is_refused(device, anchor, offer, name, tmp_path):
    source = tmp_path / "offer0"
    offer(epoch=6)
    for damage in (flip, lambda file: file.write_bytes(file.read_bytes()[:-9]), linked):
        whole = (source / name).read_bytes()
        damage(source / name)
        with pytest.raises(NotTrusted):
            pull(str(source), device, anchor)
        (source / name).unlink()
        (source / name).write_bytes(whole)
    (source / name).unlink()
    with pytest.raises(Unavailable, match="is missing"):
        pull(str(source), device, anchor)
    assert not (device / "bundles").exists()


def linked(file) -> None:
    file.rename(file.with_suffix(".real"))
    file.symlink_to(file.with_suffix(".real"))


def test_a_device_runs_one_model(device, anchor, offer, tmp_path):
    pull(offer(epoch=5), device, anchor)
    other = bundles.trust(tmp_path / "other.json", model="other")
    with pytest.raises(AnotherModel, match="this device runs toy"):
        pull(offer(epoch=6, model="other"), device, other)


def test_a_folder_with_other_things_is_left_alone(tmp_path, anchor, offer):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "photo.jpg").write_text("")
    with pytest.raises(UsageError, match=r"photo\.jpg"):
        pull(offer(), tmp_path / "home", anchor)
    (tmp_path / "mine").mkdir()
    inside = shutil.move(anchor, tmp_path / "mine" / "trust.json")
    pull(offer(), tmp_path / "mine", inside)
    assert load(tmp_path / "mine", trust=inside).epoch == 5


def test_the_trust_anchor_inside_an_offered_bundle_is_refused(device, offer):
    source = offer()
    inside = bundles.trust(Path(source) / "trust.json")
    with pytest.raises(NotTrusted, match="vouch for itself"):
        pull(source, device, inside)
    assert not device.exists()


def test_the_disk_of_a_device_may_be_its_own(device, anchor, offer):
    (device / "lost+found").mkdir(parents=True)
    assert pull(offer(), device, anchor).endswith("installed")


def test_the_self_test_imports_nothing_from_where_an_update_runs(anchor, offer, tmp_path, monkeypatch):
    stick = tmp_path / "stick"
    stick.mkdir()
    (stick / "numpy.py").write_text("raise SystemExit('imported from the stick')")
    monkeypatch.chdir(stick)
    assert pull(offer(), Path("..") / "device", Path("..") / anchor.name).endswith("installed")


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_foreign_place_for_downloads_is_replaced(device, anchor, offer, tmp_path, kind):
    pull(offer(epoch=5), device, anchor)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "photo.jpg").touch()
    if kind == "link":
        (device / "incoming").symlink_to(tmp_path / "precious")
    else:
        (device / "incoming").touch()
    assert pull(offer(epoch=6), device, anchor).endswith("installed")
    assert (tmp_path / "precious" / "photo.jpg").exists()


def test_epochs_do_not_fall_when_the_state_and_the_newest_bundle_are_damaged(device, anchor, offer):
    older = offer(epoch=5)
    pull(older, device, anchor)
    newest = offer(epoch=6)
    pull(newest, device, anchor)
    (device / "state.json").unlink()
    flip(next((device / "bundles").glob("e6-*")) / "model.onnx")
    assert load(device, trust=anchor).epoch == 5
    with pytest.raises(OlderEpoch, match="epoch 6 was installed"):
        pull(older, device, anchor)
    assert load(device, trust=anchor).epoch == 5
    assert pull(newest, device, anchor).endswith("installed")
    assert load(device, trust=anchor).epoch == 6


def test_a_device_without_a_good_bundle_names_both_problems(device, anchor, offer):
    pull(offer(epoch=5), device, anchor)
    pull(offer(epoch=6), device, anchor)
    flip(next((device / "bundles").glob("e6-*")) / "model.onnx")
    shutil.rmtree(next((device / "bundles").glob("e5-*")))
    with pytest.raises(NotTrusted, match=r"in use is damaged .*model\.onnx.* before it cannot be used: .*e5-"):
        load(device, trust=anchor)


def test_two_replacements_of_an_anchor_do_not_run_at_once(anchor, tmp_path):
    import fcntl

    new = bundles.trust(tmp_path / "new.json", number=2, signed_by=bundles.key(1))
    place = os.open(anchor.parent, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match="another replacement"):
            replace_anchor(str(new), anchor)
    finally:
        os.close(place)
    assert "replaced by number 2" in replace_anchor(str(new), anchor)


def test_two_updates_do_not_run_at_once(device, anchor, offer):
    import fcntl

    pull(offer(epoch=5), device, anchor)
    with (device / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match="another update"):
            pull(offer(epoch=6), device, anchor)
    pull(offer(epoch=6), device, anchor)


def test_nothing_installed_is_said(tmp_path, anchor):
    (tmp_path / "device" / "bundles").mkdir(parents=True)
    with pytest.raises(UsageError, match="nothing is installed"):
        load(tmp_path / "device", trust=anchor)
    with pytest.raises(UsageError, match="nothing is installed"):
        status(tmp_path / "device", anchor)


def test_the_commands_exit_with_the_kind_of_refusal(device, anchor, offer, command, capsys):
    done = command("pull", offer(epoch=6), "--into", device, "--trust", anchor)
    assert (done.returncode, done.stdout, done.stderr) == (0, "toy version 3, epoch 6: installed\n", "")
    for code, source in {
        4: offer(epoch=5),
        5: offer(epoch=7, model="other"),
        3: offer(epoch=7, signer=bundles.key(2)),
        8: "http://127.0.0.1:1/",
        2: "http://example.com/",
    }.items():
        assert main(["pull", source, "--into", str(device), "--trust", str(anchor)]) == code
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
    assert main(["status", str(device), "--trust", str(anchor), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["current"]["epoch"] == 6
    assert main(["status", str(device)]) == 0
    assert "not verified" in capsys.readouterr().out
    assert main([str(device), "--trust", str(anchor), "--selftest"]) == 0
    later = bundles.trust(anchor.with_name("later.json"), number=2, signed_by=bundles.key(1))
    assert main(["trust", str(later), "--anchor", str(anchor)]) == 0
    assert main(["trust", str(device / "state.json"), "--anchor", str(anchor)]) == 3


def test_keys_rotate_in_steps(device, tmp_path, anchor, offer):
    old, new = bundles.key(1), bundles.key(2)
    pull(offer(epoch=5), device, anchor)
    both = bundles.trust(tmp_path / "both.json", old, new, number=2, signed_by=old)
    assert "replaced by number 2" in replace_anchor(str(both), anchor)
    assert "up to date" in replace_anchor(str(both), anchor)
    pull(offer(epoch=6, signer=new), device, anchor)
    only_new = bundles.trust(tmp_path / "only_new.json", new, number=3, signed_by=new)
    replace_anchor(str(only_new), anchor)
    with pytest.raises(NotTrusted):
        pull(offer(epoch=7), device, anchor)
    assert load(device, trust=anchor).epoch == 6


def test_a_new_anchor_needs_the_signature_of_an_old_key(tmp_path, anchor):
    before = anchor.read_bytes()
    thief = bundles.key(3)
    cases = [
        (bundles.trust(tmp_path / "a.json", thief, number=2), NotTrusted, "not signed"),
        (bundles.trust(tmp_path / "b.json", thief, number=2, signed_by=thief), NotTrusted, "does not have"),
        (bundles.trust(tmp_path / "c.json", number=1, signed_by=bundles.key()), OlderEpoch, "number 1"),
        (bundles.trust(tmp_path / "d.json", number=2, model="x", signed_by=bundles.key()), AnotherModel, "'x'"),
        (tmp_path / "nowhere.json", UsageError, "no such file"),
    ]
    changed = json.loads(bundles.trust(tmp_path / "e.json", number=2, signed_by=bundles.key()).read_bytes())
    changed["keys"].append(thief.entry())
    (tmp_path / "e.json").write_bytes(bundles.canonical(changed))
    for file, kind, reason in [*cases, (tmp_path / "e.json", NotTrusted, "signature is wrong")]:
        with pytest.raises(kind, match=reason):
            replace_anchor(str(file), anchor)
        assert anchor.read_bytes() == before
