"""`ledger verify --bundle`: a bundle that is not what the ledger and the registry have is found, whoever signed it."""

import hashlib
import json
import shutil

import pytest

from tests.export.homes import formless
from trueup.audit.verify import verify
from trueup.errors import UsageError
from trueup.export import archive
from trueup.export.bundle import export
from trueup.ledger import documents
from trueup.ledger.canonical import canonical
from trueup.ledger.signing import Keys, open_signer


@pytest.fixture(scope="module")
def written(shop, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    export(shop.model, None, folder, zipped=True)
    return folder


@pytest.fixture
def bundle(written, tmp_path):
    return shutil.copytree(written, tmp_path / "bundle")


def problems(shop, place):
    result = verify({"toy": shop.config}, shop.home, [place])
    (checked,) = result.bundles
    assert result.right is not bool(checked.problems)
    return " ".join(checked.problems)


def signed_again(shop, folder, signer=None, **changed):
    """Another manifest, as somebody with the key could write it."""
    manifest = json.loads((folder / "manifest.json").read_text()) | changed
    content = canonical(manifest).encode()
    (folder / "manifest.json").write_bytes(content)
    (folder / "manifest.sig").write_bytes(
        documents.signature_line(signer or shop.home.signer, documents.BUNDLE, content)
    )


def test_a_bundle_as_it_was_written_is_right(shop, written):
    for place in (written, written.with_name("bundle.zip")):
        (checked,) = verify({"toy": shop.config}, shop.home, [place]).bundles
        assert (checked.model, checked.version, checked.problems) == ("toy", shop.model.champion().version, ())


@pytest.mark.parametrize("name", archive.NAMES)
@pytest.mark.parametrize("where", [0.0, 0.3, 0.6, 0.99])
def test_a_flipped_bit_is_found(shop, bundle, name, where):
    content = bytearray((bundle / name).read_bytes())
    content[int(where * len(content))] ^= 1
    (bundle / name).write_bytes(content)
    found = problems(shop, bundle)
    assert "signature" in found if name.startswith("manifest") else f"{name} was changed" in found


def test_a_key_that_the_home_does_not_know_signs_nothing(shop, bundle, tmp_path):
    signed_again(shop, bundle, open_signer(tmp_path, Keys("55" * 32)))
    assert "it is signed with another key" in problems(shop, bundle)


def test_what_the_ledger_does_not_say_is_found_although_the_key_signed_it(shop, bundle):
    facts = json.loads((bundle / "manifest.json").read_text())["ledger"]
    for changed, expected in (
        ({"epoch": 7}, "served in epoch 7, which the ledger does not"),
        ({"version": 9}, "which is not about version 9"),
        ({"model": "other"}, "about other, which this ledger does not have"),
        ({"ledger": facts | {"seq": 99}}, "names ledger entry 99"),
        ({"ledger": facts | {"hash": "0" * 64}}, "with another hash or signature"),
    ):
        before = (bundle / "manifest.json").read_bytes()
        signed_again(shop, bundle, **changed)
        assert expected in problems(shop, bundle), changed
        (bundle / "manifest.json").write_bytes(before)


def test_another_graph_is_found_although_the_key_signed_it(shop, bundle, tmp_path):
    export(shop.model, 1, tmp_path / "other")
    graph = (tmp_path / "other" / "model.onnx").read_bytes()
    assert graph != (bundle / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(graph)
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    files["model.onnx"] = {"bytes": len(graph), "sha256": hashlib.sha256(graph).hexdigest()}
    signed_again(shop, bundle, files=files)
    assert "model.onnx is not the one of the registered version 2" in problems(shop, bundle)


def test_a_graph_that_was_not_registered_is_made_again_and_what_cannot_be_compared_is_not_right(shop, bundle, tmp_path):
    story = formless(shop.branch(tmp_path / "branch"))
    assert problems(story, bundle) == ""
    (story.home.root / story.model.champion().baseline_path).unlink()
    story.home.looks = True  # as the command line opens it
    assert "model.onnx cannot be compared with the registered version" in problems(story, bundle)


def test_a_bundle_that_is_not_there_is_wrong_usage(shop, tmp_path):
    with pytest.raises(UsageError, match="nothing is there"):
        verify({"toy": shop.config}, shop.home, [tmp_path / "bundle"])


def test_by_the_command_line_a_wrong_bundle_is_shown_and_is_the_exit_code(shop, bundle, written, command_line):
    trueup = command_line(shop.folder)
    done = trueup("ledger", "verify", "--bundle", str(written))
    assert done.code == 0, done.out + done.err
    assert f"right: bundle {written}: toy version 2" in done.out
    (bundle / "parity.jsonl").write_bytes(b"")
    done = trueup("ledger", "verify", "--bundle", str(bundle), "--bundle", str(written), "--json")
    assert done.code == 1
    wrong, right = json.loads(done.out)["bundles"]
    assert (wrong["problems"], right["problems"]) == (
        ["parity.jsonl was changed: it has another digest than in the manifest"], [],
    )  # fmt: skip
