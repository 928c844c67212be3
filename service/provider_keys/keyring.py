"""Sealing of the providers' keys: AES-256-GCM as in the original system (design section 5).

A sealed secret is nonce (12 bytes), ciphertext and tag (16 bytes) in one blob. What the service seals is bound by
associated data to the place it is for, and kept with the id of its key; what the original system sealed has neither.
No database, no HTTP, no environment here.
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
TAG_BYTES = 16


class DoesNotOpen(Exception):
    """This blob was not sealed with this key, or for another place, or it has been altered."""


class Key:
    """An encryption key, which is the SHA-256 of a passphrase of any length. `id` names it."""

    def __init__(self, passphrase: str) -> None:
        key = hashlib.sha256(passphrase.encode()).digest()
        self.id = hmac.new(key, b"embedding-service key id", hashlib.sha256).hexdigest()[:16]
        self._aes = AESGCM(key)

    @staticmethod
    def generate() -> str:
        """A fresh random passphrase: 32 bytes as 64 hexadecimal characters."""
        return secrets.token_hex(32)

    def __repr__(self) -> str:
        return f"Key({self.id})"

    def encrypt(self, secret: str, bound_to: bytes = b"") -> bytes:
        """Seals a secret under a fresh nonce; the blob is 28 bytes longer than its UTF-8."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aes.encrypt(nonce, secret.encode(), bound_to)

    def decrypt(self, blob: bytes, bound_to: bytes = b"") -> str:
        """Opens what `encrypt` made. Raises DoesNotOpen for another key or place and for a cut or altered blob."""
        if len(blob) < NONCE_BYTES + TAG_BYTES:
            raise DoesNotOpen("This blob is too short to be a sealed secret.")
        try:
            return self._aes.decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], bound_to).decode()
        except (InvalidTag, UnicodeDecodeError):
            raise DoesNotOpen(DoesNotOpen.__doc__) from None

    def encrypt_to_base64(self, secret: str, bound_to: bytes = b"") -> str:
        """As `encrypt`, in base64."""
        return base64.b64encode(self.encrypt(secret, bound_to)).decode()

    def decrypt_from_base64(self, text: str, bound_to: bytes = b"") -> str:
        """Opens the output of `encrypt_to_base64`. Raises DoesNotOpen, also for invalid base64."""
        try:
            blob = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise DoesNotOpen("This is no base64.") from None
        return self.decrypt(blob, bound_to)


class Sealed(msgspec.Struct, frozen=True):
    """A sealed secret and the id of the key that sealed it; None: as the original system does it, or not known."""

    blob: bytes
    key_id: str | None


class Keyring:
    """The key that seals, and the earlier ones that still open."""

    def __init__(self, current: str, previous: Sequence[str] = ()) -> None:
        self.current = Key(current)
        self.keys = [self.current, *map(Key, previous)]

    def __repr__(self) -> str:
        return f"Keyring({self.keys})"

    def seal(self, secret: str, place: str) -> Sealed:
        """Seals a secret for one place, with the current key."""
        return Sealed(self.current.encrypt(secret, place.encode()), self.current.id)

    def open(self, sealed: Sealed, place: str) -> str:
        """Opens a secret of this place. Raises DoesNotOpen with the reason.

        Without a key's id every key is tried, and the original system's way too, which binds to no place.
        """
        for key in self.keys:
            if sealed.key_id == key.id:
                return key.decrypt(sealed.blob, place.encode())
        if sealed.key_id is not None:
            raise DoesNotOpen(f"It was sealed with the key {sealed.key_id}, which is not known here.")
        for key in self.keys:
            for bound_to in (b"", place.encode()):
                try:
                    return key.decrypt(sealed.blob, bound_to)
                except DoesNotOpen:
                    continue
        raise DoesNotOpen("It does not open with any key that is known here.")


def instance_place(owner: str, instance_handle: str) -> str:
    """The place of an instance's provider key; neither handle ever changes."""
    return msgspec.json.encode(["instance", owner, instance_handle]).decode()
