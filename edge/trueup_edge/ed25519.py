"""Verification of Ed25519 signatures (RFC 8032) in pure Python, for devices without a library for cryptography.

It verifies only, so nothing here is secret and the running time may depend on the values. It is strict where RFC 8032
leaves a choice: points must be written in their only canonical form, the scalar must be below the group's order, keys of
small order are refused, and the equation is the one without the cofactor, as in OpenSSL. One call takes some 3 ms.
"""

from __future__ import annotations

import hashlib
from typing import Final

_P: Final = 2**255 - 19
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_D: Final = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_ONE: Final = pow(2, (_P - 1) // 4, _P)

# A point (x, y) as (X, Y, Z, T) with x = X / Z, y = Y / Z and x * y = T / Z: additions need no division.
Point = tuple[int, int, int, int]

_NEUTRAL: Final[Point] = (0, 1, 1, 0)


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature (64 bytes) of a message is that of a public key (32 bytes).

    Returns False also for bytes that are no signature, and for no usable key (see `is_usable`).
    """
    if len(signature) != 64 or not is_usable(public):
        return False
    key = _point(public)
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or scalar >= _ORDER:
        return False
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % _ORDER
    # The encodings are compared, so the signature's own point must be canonical, too.
    return _bytes(_sum_of_multiples(scalar, _BASE, challenge, _negative(key))) == signature[:32]


def is_usable(public: bytes) -> bool:
    """Whether bytes are a public key: 32 of them, a canonical point of the curve, and not one of the eight of small order.

    With a key of small order one signature is right for many messages.
    """
    point = _point(public) if len(public) == 32 else None
    if point is None:
        return False
    for _ in range(3):
        point = _double(point)
    return point[0] != 0 or point[1] != point[2]


def _point(encoded: bytes) -> Point | None:
    """Decode a point; None if the bytes are not the canonical form of one."""
    number = int.from_bytes(encoded, "little")
    y, odd = number & ((1 << 255) - 1), number >> 255
    if y >= _P:
        return None
    # x² = (y² - 1) / (d·y² + 1), and the root as in RFC 8032, 5.1.3
    above, below = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = above * pow(below, 3, _P) * pow(above * pow(below, 7, _P), (_P - 5) // 8, _P) % _P
    square = below * x * x % _P
    if square == -above % _P:
        x = x * _ROOT_OF_MINUS_ONE % _P
    elif square != above:
        return None
    if x == 0 and odd:
        return None
    if x & 1 != odd:
        x = _P - x
    return x, y, 1, x * y % _P


def _bytes(point: Point) -> bytes:
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _negative(point: Point) -> Point:
    return -point[0] % _P, point[1], point[2], -point[3] % _P


def _add(left: Point, right: Point) -> Point:
    a = (left[1] - left[0]) * (right[1] - right[0]) % _P
    b = (left[1] + left[0]) * (right[1] + right[0]) % _P
    c = 2 * left[3] * right[3] * _D % _P
    d = 2 * left[2] * right[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _double(point: Point) -> Point:
    a, b = point[0] * point[0] % _P, point[1] * point[1] % _P
    h = a + b
    e = h - (point[0] + point[1]) ** 2
    g = a - b
    f = 2 * point[2] * point[2] + g
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _sum_of_multiples(first: int, left: Point, second: int, right: Point) -> Point:
    """Compute first * left + second * right, with the doublings of both shared."""
    choices = (_NEUTRAL, left, right, _add(left, right))
    total = _NEUTRAL
    for bit in range(max(first.bit_length(), second.bit_length()) - 1, -1, -1):
        total = _double(total)
        if choice := (first >> bit & 1) | (second >> bit & 1) << 1:
            total = _add(total, choices[choice])
    return total


def _base() -> Point:
    base = _point((4 * pow(5, -1, _P) % _P).to_bytes(32, "little"))
    assert base is not None
    return base


_BASE: Final = _base()
