"""A bundle in a `.zip`: what leaves it, and what is refused."""

from __future__ import annotations

import stat
import struct
import zipfile

import pytest

from trueup_edge import load
from trueup_edge.errors import NotTrusted
from trueup_edge.update import pull

FILES = ("manifest.json", "manifest.sig", "model.onnx", "parity.jsonl")


@pytest.fixture
def archive(tmp_path, bundle):
    """A valid archive."""
    file = tmp_path / "bundle.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name in FILES:
            made.write(bundle / name, name)
    return file


def test_an_archive_is_installed(archive, anchor, tmp_path, command):
    assert pull(str(archive), tmp_path / "device", anchor) == "toy version 3, epoch 5: installed"
    assert load(tmp_path / "device", trust=anchor).epoch == 5
    assert command(archive, "--trust", anchor, "--selftest").returncode == 0


def add(file, name, data=b"x", mode=stat.S_IFREG | 0o644) -> None:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    with zipfile.ZipFile(file, "a") as made:
        made.writestr(entry, data)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("name", "mode", "reason"),
    [
        ("../outside", 0, "not the name of a plain file"),
        ("/etc/outside", 0, "not the name of a plain file"),
        ("folder/model.onnx", 0, "not the name of a plain file"),
        ("folder/", 0, "not the name of a plain file"),
        ("..\\outside", 0, "not the name of a plain file"),
        ("C:outside", 0, "not the name of a plain file"),
        ("..", 0, "not the name of a plain file"),
        ("model.onnx\0.txt", 0, "not the name of a plain file"),
        ("link", stat.S_IFLNK | 0o777, "is a link"),
        ("pipe", stat.S_IFIFO | 0o644, "is a link or a special file"),
        ("model.onnx", 0, "occurs twice"),
        ("extra.txt", 0, "not in its manifest"),
    ],
)
def test_names_and_kinds_that_a_bundle_does_not_have_are_refused(archive, anchor, tmp_path, name, mode, reason):
    add(archive, "placeholder" if "\0" in name else name, mode=mode or stat.S_IFREG | 0o644)
    if "\0" in name:  # zipfile does not write such a name
        data = archive.read_bytes()
        archive.write_bytes(data.replace(b"placeholder", b"model\0.onnx"))
    with pytest.raises(NotTrusted, match=reason):
        pull(str(archive), tmp_path / "device", anchor)
    left = {path.name for path in (tmp_path / "device").iterdir()}
    assert left == {"lock"}
    assert not (tmp_path / "outside").exists()


def test_an_entry_larger_than_its_manifest_says_is_refused(bundle, anchor, tmp_path):
    file = tmp_path / "large.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name in FILES:
            made.writestr(name, (bundle / name).read_bytes() + (b"\0" * 10_000_000 if name == "model.onnx" else b""))
    with pytest.raises(NotTrusted, match=r"model\.onnx has 1000\d+ of \d+ bytes"):
        pull(str(file), tmp_path / "device", anchor)


def test_an_entry_that_unpacks_to_more_than_it_declares_is_refused(bundle, anchor, tmp_path):
    file = tmp_path / "bomb.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name in FILES:
            made.writestr(name, (bundle / name).read_bytes() + (b"\0" * 10_000_000 if name == "model.onnx" else b""))
    size = (bundle / "model.onnx").stat().st_size
    data = file.read_bytes().replace(struct.pack("<I", size + 10_000_000), struct.pack("<I", size))
    file.write_bytes(data)
    with pytest.raises(NotTrusted, match=r"model\.onnx"):
        pull(str(file), tmp_path / "device", anchor)


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sig"])
def test_an_endless_manifest_is_refused(bundle, anchor, tmp_path, name):
    file = tmp_path / "endless.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("manifest.json", (bundle / "manifest.json").read_bytes())
        if name == "manifest.sig":
            made.writestr(name, b" " * 5000)
    with zipfile.ZipFile(file, "w" if name == "manifest.json" else "a", zipfile.ZIP_DEFLATED) as made:
        if name == "manifest.json":
            made.writestr(name, b" " * 17 * 2**20)
    with pytest.raises(NotTrusted, match="is larger than"):
        pull(str(file), tmp_path / "device", anchor)


def test_a_torn_or_changed_archive_is_refused(archive, anchor, tmp_path):
    whole = archive.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        archive.write_bytes(whole[:length])
        with pytest.raises(NotTrusted):
            pull(str(archive), tmp_path / "device", anchor)
    for position in range(0, len(whole), 97):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        archive.write_bytes(changed)
        try:  # some bits of an archive have no meaning, such as those of a date
            pull(str(archive), tmp_path / f"device{position}", anchor)
        except NotTrusted:
            continue
        assert load(tmp_path / f"device{position}", trust=anchor).epoch == 5


def test_an_encrypted_entry_is_refused(archive, anchor, tmp_path):
    data = bytearray(archive.read_bytes())
    first = data.index(b"PK\1\2")
    data[first + 8] |= 1
    archive.write_bytes(data)
    with pytest.raises(NotTrusted, match="encrypted"):
        pull(str(archive), tmp_path / "device", anchor)


def test_thousands_of_entries_are_refused(archive, anchor, tmp_path):
    with zipfile.ZipFile(archive, "a") as made:
        for number in range(200):
            made.writestr(f"extra{number}", b"")
    with pytest.raises(NotTrusted, match="204 entries"):
        pull(str(archive), tmp_path / "device", anchor)


def test_a_directory_larger_than_a_bundle_needs_is_not_read(archive, anchor, tmp_path):
    with zipfile.ZipFile(archive, "a") as made:
        for number in range(100):
            made.writestr(f"{number:0>20000}", b"")
    with pytest.raises(NotTrusted, match=r"its directory has 2\d+ bytes"):
        pull(str(archive), tmp_path / "device", anchor)


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (b"PK\1\2", {42: b"\xff\xff\xff\x7f"}),  # an entry beyond the end
        (b"PK\3\4", {30: b"\xff"}),  # a name that is no text
        (b"PK\5\6", {16: b"\xff\xff\xff\x7f"}),  # entries before the beginning
        (b"PK\5\6", {12: b"\xff\xff\xff\x7f"}),  # a directory of two gigabytes
    ],
    ids=["beyond the end", "no text", "before the beginning", "large directory"],
)
def test_an_archive_that_says_wrong_things_about_itself_is_refused(bundle, anchor, tmp_path, place, change):
    file = tmp_path / "bundle.zip"
    with zipfile.ZipFile(file, "w") as made:
        for name in FILES:
            made.write(bundle / name, name)
    data = bytearray(file.read_bytes())
    first = data.index(place)
    for offset, wrong in change.items():
        data[first + offset : first + offset + len(wrong)] = wrong
    if place == b"PK\3\4":
        for header, flags in ((place, 6), (b"PK\1\2", 8)):
            data[data.index(header) + flags + 1] |= 8  # names are UTF-8
    file.write_bytes(data)
    with pytest.raises(NotTrusted):
        pull(str(file), tmp_path / "device", anchor)
