"""A bundle as a folder and as an archive: the same bytes for the same files, and nothing else is read as one."""

import io
import os
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.errors import UsageError, WorkError
from trueup.export import archive

CONTENTS = {name: f"what {name} holds".encode() * 50 for name in archive.NAMES}


def test_an_archive_is_the_same_to_the_byte_and_opens_everywhere(tmp_path):
    packed = archive.packed(CONTENTS)
    assert packed == archive.packed(dict(reversed(CONTENTS.items())))
    (tmp_path / "bundle.zip").write_bytes(packed)
    assert archive.read_bundle(tmp_path / "bundle.zip") == CONTENTS
    with zipfile.ZipFile(io.BytesIO(packed)) as opened:
        assert opened.namelist() == ["manifest.json", "manifest.sig", "model.onnx", "parity.jsonl"]
        assert {entry.date_time[0] for entry in opened.infolist()} == {1980}


def test_a_folder_is_read_as_it_was_written(tmp_path):
    archive.write_folder(tmp_path / "bundle", CONTENTS)
    assert archive.read_bundle(tmp_path / "bundle") == CONTENTS
    archive.write_folder(tmp_path / "bundle", other := {**CONTENTS, "model.onnx": b"another"})
    assert archive.read_bundle(tmp_path / "bundle") == other


@given(where=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_an_archive_with_a_flipped_bit_is_refused_or_has_other_content(tmp_path_factory, where, bit):
    packed = bytearray(archive.packed(CONTENTS))
    packed[where % len(packed)] ^= 1 << bit
    file = tmp_path_factory.mktemp("flipped") / "bundle.zip"
    file.write_bytes(packed)
    with suppress(WorkError):
        assert archive.read_bundle(file).keys() == CONTENTS.keys()  # the digests of the manifest are checked next


def zipped(folder, *entries):
    file = folder / "bundle.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in entries:
            made.writestr(name, content)
    return file


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("../model.onnx", b""),
        ("/model.onnx", b""),
        ("sub/model.onnx", b""),
        ("notes.txt", b""),
        ("model.onnx/", b""),
    ],
)
def test_what_belongs_to_no_bundle_is_refused(tmp_path, name, content):
    file = zipped(tmp_path, *CONTENTS.items(), (name, content))
    with pytest.raises(WorkError, match="does not belong to a bundle"):
        archive.read_bundle(file)


def test_a_name_that_comes_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        file = zipped(tmp_path, *CONTENTS.items(), ("model.onnx", b"another"))
    with pytest.raises(WorkError, match=r"'model.onnx' does not belong"):
        archive.read_bundle(file)


def test_a_file_that_grows_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_LARGEST", 10_000)
    file = zipped(tmp_path, *{**CONTENTS, "parity.jsonl": bytes(10_001)}.items())
    with pytest.raises(WorkError, match=r"parity.jsonl has 10,001 bytes, more than"):
        archive.read_bundle(file)


def test_links_in_a_folder_are_not_followed(tmp_path):
    archive.write_folder(tmp_path / "bundle", CONTENTS)
    (tmp_path / "bundle" / "model.onnx").rename(tmp_path / "elsewhere")
    (tmp_path / "bundle" / "model.onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WorkError, match="does not belong to a bundle"):
        archive.read_bundle(tmp_path / "bundle")


@pytest.mark.parametrize("missing", archive.NAMES)
def test_a_bundle_without_one_of_its_files_is_none(tmp_path, missing):
    archive.write_folder(tmp_path / "bundle", CONTENTS)
    (tmp_path / "bundle" / missing).unlink()
    with pytest.raises(WorkError, match=f"lacks {missing}"):
        archive.read_bundle(tmp_path / "bundle")


def test_what_is_not_there_is_wrong_usage_and_what_is_no_archive_is_named(tmp_path):
    with pytest.raises(UsageError, match="nothing is there"):
        archive.read_bundle(tmp_path / "bundle")
    (tmp_path / "bundle").write_bytes(os.urandom(100))
    with pytest.raises(WorkError, match="cannot be read as an archive"):
        archive.read_bundle(tmp_path / "bundle")


def test_an_archive_with_a_name_that_is_no_text_is_refused(tmp_path):
    packed = bytearray(archive.packed(CONTENTS))
    directory = packed.index(b"PK\x01\x02")
    packed[directory + 9] |= 8  # names are in UTF-8
    packed[directory + 46 + 5] = 0xCB
    (tmp_path / "bundle.zip").write_bytes(packed)
    with pytest.raises(WorkError, match="cannot be read as an archive"):
        archive.read_bundle(tmp_path / "bundle.zip")
