"""Encryption of the providers' keys with AES-256-GCM, as in the original system (design section 5).

A sealed secret is a blob of nonce (12 bytes), ciphertext and tag (16 bytes). Associated data bind it to its place, and
it is stored with the id of its key; blobs of the original system have neither. No database, no HTTP, no environment.
"""

import hashlib
import hmac
import os
from collections.abc import Sequence

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
TAG_BYTES = 16


class DoesNotOpen(Exception):
    """Decryption failed: wrong key, wrong instance, or corrupted data."""


class Key:
    """An encryption key, the SHA-256 of a passphrase; `id` identifies it."""

    def __init__(self, passphrase: str) -> None:
        key = hashlib.sha256(passphrase.encode()).digest()
        self.id = hmac.new(key, b"embedding-service key id", hashlib.sha256).hexdigest()[:16]
        self._aes = AESGCM(key)

    def __repr__(self) -> str:
        return f"Key({self.id})"

    def encrypt(self, secret: str, bound_to: bytes = b"") -> bytes:
        """Encrypts a secret with a new nonce; the blob is 28 bytes longer than its UTF-8."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aes.encrypt(nonce, secret.encode(), bound_to)

    def decrypt(self, blob: bytes, bound_to: bytes = b"") -> str:
        """Decrypts a blob. Raises DoesNotOpen for another key or place, and for corrupted data."""
        if len(blob) < NONCE_BYTES + TAG_BYTES:
            raise DoesNotOpen("The blob is too short.")
        try:
            return self._aes.decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], bound_to).decode()
        except (InvalidTag, UnicodeDecodeError):
            raise DoesNotOpen(DoesNotOpen.__doc__) from None


class Keyring:
    """The current key, and previous ones for decryption only."""

    def __init__(self, current: str, previous: Sequence[str] = ()) -> None:
        self.current = Key(current)
        self.keys = [self.current, *map(Key, previous)]

    def __repr__(self) -> str:
        return f"Keyring({self.keys})"

    def seal(self, secret: str, place: str) -> bytes:
        """Encrypts a secret for a place with the current key."""
        return self.current.encrypt(secret, place.encode())

    def open(self, blob: bytes, key_id: str | None, place: str) -> str:
        """Decrypts a secret of a place with the key of this id. Raises DoesNotOpen with the reason.

        Without a key id, all keys are tried, also without a place, as in the original system.
        """
        for key in self.keys:
            if key_id == key.id:
                return key.decrypt(blob, place.encode())
        if key_id is not None:
            raise DoesNotOpen(f"It was encrypted with the key {key_id}, which is not configured.")
        for key in self.keys:
            for bound_to in (b"", place.encode()):
                try:
                    return key.decrypt(blob, bound_to)
                except DoesNotOpen:
                    continue
        raise DoesNotOpen("No configured key can decrypt it.")


def instance_place(owner: str, instance_handle: str) -> str:
    """The place of an instance's provider key; both handles are immutable."""
    return msgspec.json.encode(["instance", owner, instance_handle]).decode()
