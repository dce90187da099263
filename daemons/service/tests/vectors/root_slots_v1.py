#!/usr/bin/env python3
"""Makes root-slots-v1.json from the description in `service::root_key`, with other libraries.

Needs PyPI `cryptography` (OpenSSL 3.2 or newer, for AES-256-GCM-SIV) and `argon2-cffi`. The file is kept for ever: it is
not made again when the program changes.
"""
import base64
import hashlib
import hmac
import json

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV


def key_id(key):
    return hashlib.sha256(b"blindfold-root-key-id-v1" + key).digest()[:8]


def wrap(key, context, secret, nonce):
    header = b"BFRW\x01" + key_id(key)
    sealed = AESGCMSIV(key).encrypt(nonce, secret, header + context)
    return base64.b64encode(header + nonce + sealed).decode()


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def mul(a, b):
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


FILE_ID = bytes(range(8))
UNLOCK = bytes(range(0x40, 0x60))
ROOTS = [bytes(range(0x60, 0x80)), bytes(range(0x80, 0xA0))]
KEY_FILE = bytes(range(0x20))
PASSPHRASE = b"six random words are long enough"
SALT = bytes(range(0x10, 0x20))
SHARING = bytes(range(0x30, 0x38))
SECRET = bytes(range(0xA0, 0xC0))
SLOPE = bytes((7 * i + 3) % 256 for i in range(32))


def share(place):
    return bytes(s ^ mul(c, place) for s, c in zip(SECRET, SLOPE))


def line(place, name):
    content = SHARING + bytes([place, 2, 3, len(name)]) + name.encode() + share(place)
    content += hashlib.sha256(b"blindfold-root-share-v1" + content).digest()[:4]
    return "bfroot1-" + base64.urlsafe_b64encode(content).decode().rstrip("=")


def check(place):
    return hashlib.sha256(
        b"blindfold-root-share-check-v1" + SHARING + bytes([place]) + share(place)
    ).hexdigest()


NAMES = ["alice", "bob", "carol"]
sources = [
    ({"kind": "key_file"}, KEY_FILE),
    (
        {"kind": "passphrase", "memory_kib": 19456, "passes": 3, "lanes": 4, "salt": SALT.hex()},
        hash_secret_raw(PASSPHRASE, SALT, 3, 19456, 4, 32, Type.ID),
    ),
    (
        {
            "kind": "custodians",
            "sharing": SHARING.hex(),
            "threshold": 2,
            "holders": [
                {"name": name, "place": place, "check": check(place)}
                for place, name in enumerate(NAMES, 1)
            ],
        },
        SECRET,
    ),
]
body = {
    "format": "blindfold-root-keys-v1",
    "id": FILE_ID.hex(),
    "revision": 5,
    "newest": key_id(ROOTS[1]).hex(),
    "keys": [
        {
            "id": key_id(root).hex(),
            "created": "2026-11-22T12:00:00.000000Z",
            "wrapped": wrap(
                UNLOCK,
                b"blindfold-root-keys-v1\0" + FILE_ID + key_id(root).hex().encode(),
                root,
                bytes([number] * 12),
            ),
        }
        for number, root in enumerate(ROOTS, 1)
    ],
    "slots": [
        {
            "source": source,
            "wrapped": wrap(
                kek, b"blindfold-root-slot-v1\0" + FILE_ID + compact(source), UNLOCK, bytes([number] * 12)
            ),
        }
        for number, (source, kek) in enumerate(sources, 16)
    ],
}
mac_key = hmac.digest(UNLOCK, b"blindfold-root-mac-v1", "sha256")
document = {"body": body, "mac": hmac.digest(mac_key, compact(body), "sha256").hex()}
row = wrap(ROOTS[0], b"row", b"secret", bytes([99] * 12))
print(json.dumps({"document": document, "key_file": KEY_FILE.hex(), "passphrase": PASSPHRASE.decode(),
                  "shares": [line(p, n) for p, n in enumerate(NAMES, 1)], "row": row}, indent=1))
