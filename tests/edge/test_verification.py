"""What `load` refuses: order, reason and exit code."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tests.edge import bundles
from trueup_edge import load
from trueup_edge.bundle import open_bundle
from trueup_edge.errors import AnotherModel, Expired, NotTrusted, SelfTestFailed, UsageError
from trueup_edge.trust import read_anchor

FILES = ("manifest.json", "manifest.sig", "model.onnx", "parity.jsonl")


def test_a_valid_bundle_loads(bundle, anchor):
    model = load(bundle, trust=anchor)
    assert (model.name, model.version, model.epoch) == ("toy", 3, 5)
    assert not model.expired()


@pytest.mark.parametrize("name", FILES)
def test_no_file_may_have_one_bit_flipped(bundle, anchor, name):
    whole = (bundle / name).read_bytes()
    for position in range(0, len(whole), max(1, len(whole) // 40)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        (bundle / name).write_bytes(changed)
        if name == "manifest.sig" and same_content(whole, changed):
            continue
        with pytest.raises(NotTrusted):
            load(bundle, trust=anchor)


def same_content(whole: bytes, changed: bytes) -> bool:
    """Whether the flipped bit was in white space: the signature is the same then."""
    try:
        return json.loads(whole) == json.loads(changed)
    except ValueError:
        return False


@pytest.mark.parametrize("name", FILES)
def test_no_file_may_be_missing_torn_longer_linked_or_a_folder(bundle, anchor, name, tmp_path):
    file = bundle / name
    whole = file.read_bytes()
    for wrong in (whole[:-5], whole[: len(whole) // 2], b"", whole + b"{}"):
        file.write_bytes(wrong)
        with pytest.raises(NotTrusted, match="again"):
            load(bundle, trust=anchor)
    file.unlink()
    with pytest.raises(NotTrusted, match=f"{name} is missing"):
        load(bundle, trust=anchor)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(whole)
    file.symlink_to(elsewhere)
    with pytest.raises(NotTrusted, match="is a link"):
        load(bundle, trust=anchor)
    file.unlink()
    file.mkdir()
    with pytest.raises(NotTrusted, match="not a plain file"):
        load(bundle, trust=anchor)


def test_no_file_may_be_added(bundle, anchor):
    (bundle / "custom_ops.so").write_bytes(b"")
    with pytest.raises(NotTrusted, match="is not in the manifest"):
        load(bundle, trust=anchor)


def test_a_key_that_the_anchor_does_not_have_is_refused(tmp_path, anchor):
    bundle = bundles.write(tmp_path / "bundle", signer=bundles.key(2))
    with pytest.raises(NotTrusted, match=f"{bundles.key(2).key_id}.*does not have.*{bundles.key(1).key_id}"):
        load(bundle, trust=anchor)


def test_a_key_under_the_id_of_another_is_refused(bundle, anchor):
    forged = bundles.key(2).seal(b"trueup-bundle-1\n" + (bundle / "manifest.json").read_bytes())
    (bundle / "manifest.sig").write_bytes(bundles.canonical(forged | {"key_id": bundles.key(1).key_id}))
    with pytest.raises(NotTrusted, match="signature is wrong"):
        load(bundle, trust=anchor)
    entry = bundles.key(2).entry() | {"key_id": bundles.key(1).key_id}
    trust = json.loads(anchor.read_bytes()) | {"keys": [entry]}
    anchor.write_text(json.dumps(trust))
    with pytest.raises(NotTrusted, match="not a usable key"):
        load(bundle, trust=anchor)


def test_a_signature_for_another_purpose_is_refused(bundle, anchor):
    data = (bundle / "manifest.json").read_bytes()
    for message in (data, b"trueup-trust-1\n" + data):
        (bundle / "manifest.sig").write_bytes(bundles.canonical(bundles.key().seal(message)))
        with pytest.raises(NotTrusted, match="signature is wrong"):
            load(bundle, trust=anchor)


def test_the_bundle_of_another_model_is_refused(tmp_path, anchor):
    bundle = bundles.write(tmp_path / "bundle", model="other")
    with pytest.raises(AnotherModel, match=r"'other'.*'toy'"):
        load(bundle, trust=anchor)


def test_a_bundle_does_not_vouch_for_itself(bundle):
    inside = bundles.trust(bundle / "trust.json")
    with pytest.raises(NotTrusted, match="vouch for itself"):
        load(bundle, trust=inside)


def test_an_expired_manifest_is_refused(bundle, anchor):
    trusted = read_anchor(anchor)
    for moment, reason in (
        (datetime(2124, 3, 1, tzinfo=UTC), "expired at 2124-03-01T00:00:00Z"),
        (datetime(1970, 1, 1, tzinfo=UTC), "set the clock"),
    ):
        with pytest.raises(Expired, match=reason):
            open_bundle(bundle, trusted, moment)
        assert open_bundle(bundle, trusted, moment, allow_expired=True).manifest.version == 3
    assert open_bundle(bundle, trusted, datetime(2024, 3, 1, tzinfo=UTC)).manifest.version == 3


def test_the_signature_is_checked_before_the_manifest_is_read(tmp_path, anchor):
    bundle = bundles.write(tmp_path / "bundle", model="other", expires="2024-03-02T00:00:00Z")
    (bundle / "model.onnx").unlink()
    (bundle / "manifest.json").write_bytes((bundle / "manifest.json").read_bytes().replace(b'"late"', b'"Late"'))
    with pytest.raises(NotTrusted, match="signature is wrong"):
        load(bundle, trust=anchor)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "trueup-bundle/2"}, "format.*trueup-bundle/1"),
        ({"task": "ranking"}, "task"),
        ({"version": True}, "version"),
        ({"epoch": -1}, "epoch"),
        ({"epoch": 1.5}, "epoch"),
        ({"epoch": 10**400}, "epoch"),
        ({"tolerance": 10**400}, "tolerance"),
        ({"issued": "0001-01-01T00:00:00Z"}, "issued"),
        ({"expires": "9999-12-31T23:59:59-12:00"}, "expires"),
        ({"inputs": "x" * 10_000_000}, r"^.{,200}$"),
        (
            {"files": {"model.onnx": {"bytes": 1, "sha256": ""}, "Model.onnx": {"bytes": 1, "sha256": ""}}},
            "plain file name",
        ),
        ({"files": {"Manifest.json": {"bytes": 1, "sha256": ""}}}, "plain file name"),
        ({"issued": "2024-03-01"}, "issued.*UTC"),
        ({"expires": "never"}, "expires"),
        ({"inputs": []}, "inputs"),
        ({"inputs": [bundles.manifest({})["inputs"][0]] * 2}, "different names"),
        ({"tolerance": 0.5}, "tolerance"),
        ({"tolerance": None}, "tolerance"),
        ({"files": {"../model.onnx": {"bytes": 1, "sha256": ""}}}, "plain file name"),
        ({"files": {"manifest.json": {"bytes": 1, "sha256": ""}}}, "plain file name"),
        ({"files": {"model.onnx": {"bytes": 1, "sha256": ""}}}, "parity.jsonl"),
        ({"task": "multiclass", "output": {"name": "late", "unit": "", "classes": ["one"]}}, "classes"),
    ],
)
def test_a_manifest_that_this_runtime_cannot_read_is_refused(tmp_path, anchor, change, reason):
    bundle = bundles.write(tmp_path / "bundle")
    signed = bundles.canonical(json.loads((bundle / "manifest.json").read_bytes()) | change)
    (bundle / "manifest.json").write_bytes(signed)
    (bundle / "manifest.sig").write_bytes(bundles.canonical(bundles.key().seal(b"trueup-bundle-1\n" + signed)))
    with pytest.raises(NotTrusted, match=reason):
        load(bundle, trust=anchor)


def test_duplicate_keys_and_nan_are_no_json(anchor, bundle):
    for text in ('{"a": 1, "a": 2}', '{"a": NaN}', "[]", "{", "[" * 4000):
        (bundle / "manifest.sig").write_text(text)
        with pytest.raises(NotTrusted, match=r"manifest\.sig is not"):
            load(bundle, trust=anchor)


def test_a_graph_of_another_width_is_refused(tmp_path, anchor):
    bundle = bundles.write(tmp_path / "bundle", files={"model.onnx": bundles.graph(width=3)})
    with pytest.raises(SelfTestFailed, match="does not take 7 features"):
        load(bundle, trust=anchor)


def test_a_graph_that_onnxruntime_cannot_load_is_refused_in_one_line(tmp_path, anchor):
    bundle = bundles.write(tmp_path / "bundle", files={"model.onnx": b"no graph"})
    with pytest.raises(SelfTestFailed, match=r"onnxruntime .* cannot load") as refused:
        load(bundle, trust=anchor)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"format": "trueup-trust/2"}', '{"format": "trueup-trust/1", "model": "toy", "number": 1}']
)
def test_a_broken_anchor_is_refused(bundle, anchor, text):
    anchor.write_text(text)
    with pytest.raises(NotTrusted, match=r"trust\.json"):
        load(bundle, trust=anchor)


def test_missing_files_are_wrong_calls(bundle, anchor, tmp_path):
    with pytest.raises(UsageError, match="no such trust anchor"):
        load(bundle, trust=tmp_path / "nowhere.json")
    with pytest.raises(UsageError, match="no such folder"):
        load(tmp_path / "nowhere", trust=anchor)
