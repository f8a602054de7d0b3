"""Ed25519 in pure Python: the vectors of RFC 8032, agreement with `cryptography`, and what must be refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from trueup_edge.ed25519 import is_usable, verify

VECTORS = json.loads((Path(__file__).parent / "rfc8032.json").read_text())
ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19

# The eight points of small order, in all of their encodings of 32 bytes, canonical or not.
SMALL = (
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_vectors_of_rfc_8032(vector):
    public, message, signature = (bytes.fromhex(vector[name]) for name in ("public", "message", "signature"))
    assert verify(public, message, signature)
    assert not verify(public, message + b"\0", signature)
    for position in (0, 31, 32, 63):
        flipped = bytearray(signature)
        flipped[position] ^= 1
        assert not verify(public, message, bytes(flipped))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 8 * 96 - 1))
def test_it_agrees_with_another_implementation(seed, message, bit):
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = private.public_key().public_bytes_raw(), private.sign(message)
    assert verify(public, message, signature)
    changed = bytearray(public + signature)
    changed[bit // 8] ^= 1 << bit % 8
    assert verify(bytes(changed[:32]), message, bytes(changed[32:])) == accepted_by_openssl(changed, message)


def accepted_by_openssl(changed: bytearray, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes(changed[:32])).verify(bytes(changed[32:]), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def test_a_scalar_beyond_the_order_is_refused():
    private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public, signature = private.public_key().public_bytes_raw(), private.sign(b"message")
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    assert verify(public, b"message", signature)
    assert not verify(public, b"message", signature[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize("encoded", SMALL)
def test_keys_of_small_order_are_refused(encoded):
    key = bytes.fromhex(encoded)
    assert not is_usable(key)
    # With the neutral point as key, this signature would be right for every message.
    assert not verify(key, b"anything", bytes([1]) + bytes(63))


@pytest.mark.parametrize(
    "public",
    [
        b"",
        bytes(31),
        bytes([2]) + bytes(31),  # not on the curve
        (PRIME + 3).to_bytes(32, "little"),  # y = 3 in a second form
        bytes([1]) + bytes(30) + b"\x80",  # x = 0 with a sign
    ],
    ids=["empty", "short", "no point", "not canonical", "negative zero"],
)
def test_bytes_that_are_no_key_are_refused(public):
    assert not is_usable(public)
    assert not verify(public, b"", bytes(64))


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_of_another_length_is_refused(length):
    public = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    assert not verify(public, b"", bytes(length))
