"""Faults for real: a process killed at each step of an update, a full disk, a flipped bit in any file of a device."""

from __future__ import annotations

import ast
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.edge import bundles
from tests.edge.serving import serving
from trueup_edge import load
from trueup_edge.device import status
from trueup_edge.errors import EdgeError, Unavailable
from trueup_edge.update import pull, replace_anchor

ROW, CODES = bundles.ROWS[0]

# Kills its own process just before its Nth change below a folder; prints what the change would have been.
KILLED_AT = """
import os, signal, sys
from pathlib import Path
from trueup_edge.update import pull, replace_anchor

at, folder, command, source, place, trust = int(sys.argv[1]), *sys.argv[2:]
EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree", "subprocess.Popen"}
count = 0

def watch(event, arguments):
    global count
    if event not in EVENTS or not any(folder in str(argument) for argument in arguments):
        return
    if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return
    count += 1
    print([event, *map(str, arguments[:2])], flush=True)
    if count == at:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
pull(source, Path(place), Path(trust)) if command == "pull" else replace_anchor(source, Path(trust))
"""


def killed_at(
    at: int, folder: Path, command: str, source: str, device: Path, trust: Path
) -> tuple[list[list[str]], int]:
    """Run an update that dies at its change number `at` (0: never); returns the changes and the exit code."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT, *map(str, (at, folder, command, source, device, trust))],
        env=os.environ | {"PYTHONPATH": str(bundles.EDGE)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return [ast.literal_eval(line) for line in done.stdout.splitlines()], done.returncode


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A device with epochs 4 and 5, and the address of epoch 6."""
    folder = tmp_path_factory.mktemp("template")
    anchor = bundles.trust(folder / "trust.json")
    for epoch in (4, 5):
        pull(str(bundles.write(folder / f"epoch{epoch}", epoch=epoch)), folder / "device", anchor)
    return folder / "device", str(bundles.write(folder / "epoch6", epoch=6))


@pytest.fixture
def fleet(tmp_path, template):
    """Copies of a device with epochs 4 and 5, and the address of epoch 6."""
    device, offer = template

    def copy(name: str) -> Path:
        return shutil.copytree(device, tmp_path / name)

    return copy, offer


def require_sound(device: Path, anchor: Path, epochs: set[int]) -> None:
    """One of the epochs is in use and predicts, and the next update converges to epoch 6 without leftovers."""
    model = load(device, trust=anchor)
    assert model.epoch in epochs
    assert model.predict(ROW) == pytest.approx(bundles.predicted(CODES)[0])


def require_converges(device: Path, anchor: Path, offer: str, kept: int | None) -> None:
    pull(offer, device, anchor)
    described = status(device, anchor)
    assert (described["current"]["epoch"], described["current"]["problem"]) == (6, None)
    assert (described["previous"] or {}).get("epoch") == kept
    assert sorted(path.name for path in device.iterdir()) == ["bundles", "lock", "state.json"]
    assert len(list((device / "bundles").iterdir())) == (1 if kept is None else 2)


def test_an_update_killed_before_or_after_its_switch_leaves_the_old_or_the_new_bundle(fleet, anchor):
    copy, offer = fleet
    device = copy("watched")
    changes, _ = killed_at(0, device, "pull", offer, device, anchor)
    assert load(device, trust=anchor).epoch == 6
    (switch,) = [n for n, (event, *paths) in enumerate(changes, 1) if event == "os.rename" and "state.json" in paths[1]]
    for number, (at, epoch) in enumerate([(switch, 5), (switch + 1, 6)]):
        device = copy(f"device{number}")
        assert killed_at(at, device, "pull", offer, device, anchor)[1] == -signal.SIGKILL
        require_sound(device, anchor, {epoch})
        require_converges(device, anchor, offer, 5)


@pytest.mark.thorough
def test_an_update_killed_at_any_step_leaves_the_old_or_the_new_bundle(fleet, anchor):
    copy, offer = fleet
    for at in range(1, 200):
        device = copy(f"device{at}")
        _, code = killed_at(at, device, "pull", offer, device, anchor)
        require_sound(device, anchor, {5, 6} if code else {6})
        require_converges(device, anchor, offer, 5)
        if code == 0:
            break
    assert at > 15


@pytest.mark.thorough
def test_a_first_installation_killed_at_any_step_converges(tmp_path, anchor):
    offer = str(bundles.write(tmp_path / "epoch6", epoch=6))
    for at in range(1, 200):
        device = tmp_path / f"device{at}"
        _, code = killed_at(at, device, "pull", offer, device, anchor)
        require_converges(device, anchor, offer, None)
        if code == 0:
            break
    assert at > 15


@pytest.mark.thorough
def test_a_repair_killed_at_any_step_leaves_a_good_bundle(fleet, anchor, tmp_path):
    copy, offer = fleet
    damaged = copy("damaged")
    pull(offer, damaged, anchor)
    flip(next((damaged / "bundles").glob("e6-*")) / "model.onnx", 100)
    for at in range(1, 200):
        device = shutil.copytree(damaged, tmp_path / f"device{at}")
        _, code = killed_at(at, device, "pull", offer, device, anchor)
        require_sound(device, anchor, {5, 6} if code else {6})
        require_converges(device, anchor, offer, 5)
        if code == 0:
            break
    assert at > 15


def test_a_rotation_killed_at_any_step_leaves_the_old_or_the_new_anchor(tmp_path, anchor):
    before = anchor.read_bytes()
    new = bundles.trust(tmp_path / "new.json", bundles.key(2), number=2, signed_by=bundles.key(1))
    for at in range(1, 20):
        anchor.write_bytes(before)
        _, code = killed_at(at, anchor.parent, "trust", str(new), anchor, anchor)
        assert anchor.read_bytes() in (before, new.read_bytes())
        replace_anchor(str(new), anchor)
        assert anchor.read_bytes() == new.read_bytes()
        if code == 0:
            break
    assert at > 2


def pulling(address, device, anchor, **more):
    """A process that updates a device from a server."""
    command = [sys.executable, "-m", "trueup_edge", "pull", f"{address}/epoch6", "--into", device, "--trust", anchor]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(bundles.EDGE)}, **more)


def test_an_update_killed_within_a_download_leaves_the_old_bundle(fleet, anchor):
    copy, offer = fleet
    device = copy("device")
    with serving(Path(offer).parent) as (address, behaviour):
        behaviour.stall = {"model.onnx": 200}
        process = pulling(address, device, anchor)
        assert behaviour.stalled.wait(60)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        behaviour.stall = {}
        behaviour.go_on.set()
    assert (device / "incoming").exists()
    require_sound(device, anchor, {5})
    require_converges(device, anchor, offer, 5)


def test_an_update_stopped_from_the_keyboard_says_so_in_one_line(fleet, anchor):
    copy, offer = fleet
    device = copy("device")
    with serving(Path(offer).parent) as (address, behaviour):
        behaviour.stall = {"model.onnx": 200}
        process = pulling(
            address,
            device,
            anchor,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
        )
        assert behaviour.stalled.wait(60)
        process.send_signal(signal.SIGINT)
        _, reason = process.communicate(timeout=60)
        behaviour.go_on.set()
    assert (process.returncode, reason.count("\n")) == (130, 1)
    assert not (device / "incoming").exists()
    require_sound(device, anchor, {5})


def flip(file: Path, position: int) -> None:
    data = bytearray(file.read_bytes())
    data[position % len(data)] ^= 1 << position % 8
    file.write_bytes(data)


def test_a_bit_flipped_in_any_file_of_a_device_leaves_a_good_bundle(fleet, anchor):
    copy, _ = fleet
    device = copy("device")
    files = [path for path in device.rglob("*") if path.is_file() and path.name != "lock"]
    assert len(files) == 9
    for file in files:
        whole = file.read_bytes()
        for position in range(3, len(whole), max(1, len(whole) // 6)):
            flip(file, position)
            require_sound(device, anchor, {4, 5})
            file.write_bytes(whole)


def test_no_bundle_is_loaded_when_all_are_damaged(fleet, anchor):
    copy, _ = fleet
    device = copy("device")
    for file in device.rglob("model.onnx"):
        flip(file, 50)
    with pytest.raises(EdgeError) as refused:
        load(device, trust=anchor)
    assert refused.value.exit_code == 3


def test_a_process_that_loads_while_updates_run_always_gets_a_bundle(fleet, anchor, tmp_path):
    copy, offer = fleet
    device, stop = copy("device"), Event()
    epochs, problems = set[int](), list[Exception]()

    def loading() -> None:
        while not stop.is_set():
            try:
                epochs.add(load(device, trust=anchor).epoch)
            except Exception as error:
                problems.append(error)

    thread = Thread(target=loading)
    thread.start()
    pull(offer, device, anchor)
    pull(str(bundles.write(tmp_path / "epoch7", epoch=7)), device, anchor)
    time.sleep(0.2)
    stop.set()
    thread.join()
    assert problems == []
    assert epochs == {5, 6, 7}


def test_a_file_that_cannot_grow_is_a_full_disk(fleet, anchor):
    copy, offer = fleet
    device = copy("device")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
        with pytest.raises(Unavailable, match="cannot be written"):
            pull(offer, device, anchor)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    require_sound(device, anchor, {5})
    require_converges(device, anchor, offer, 5)


@pytest.fixture
def disk(tmp_path):
    """A file system of a megabyte, in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a full disk is not tested: no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_at_any_moment_leaves_the_old_bundle(fleet, anchor, disk, command):
    copy, offer = fleet
    device = shutil.copytree(copy("device"), disk / "device")
    filler, page = disk / "filler", 4096
    pages = sum(-(-file.stat().st_size // page) for file in Path(offer).iterdir())
    for room in range(pages + 1):  # the last one is enough for the bundle, and not for the new state
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        filler.write_bytes(bytes(free - room * page))
        with pytest.raises(Unavailable, match="make room"):
            pull(offer, device, anchor)
        require_sound(device, anchor, {5})
        assert not (device / "incoming").exists()
        filler.unlink()
    filler.write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
    done = command("pull", offer, "--into", device, "--trust", anchor)
    assert (done.returncode, done.stderr.count("\n")) == (8, 1)
    filler.unlink()
    require_converges(device, anchor, offer, 5)
