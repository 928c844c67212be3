"""Sealing of the providers' keys: AES-256-GCM as in the original system (design section 5).

A sealed key is nonce (12 bytes), ciphertext and tag (16 bytes) in one blob. No database, no HTTP,
no environment here.
"""

import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
TAG_BYTES = 16


class DoesNotOpen(Exception):
    """This blob was not sealed with this key, or has been altered."""


class Cipher:
    """Seals and opens with one key, which is the SHA-256 of a passphrase of any length."""

    def __init__(self, passphrase: str) -> None:
        self._aes = AESGCM(hashlib.sha256(passphrase.encode()).digest())

    def __repr__(self) -> str:
        return "Cipher(…)"

    def seal(self, secret: str) -> bytes:
        """Encrypts a secret under a fresh nonce; the blob is 28 bytes longer than its UTF-8."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aes.encrypt(nonce, secret.encode(), None)

    def open(self, blob: bytes) -> str:
        """Decrypts what `seal` made. Raises DoesNotOpen for another key and for a cut or altered blob."""
        if len(blob) < NONCE_BYTES + TAG_BYTES:
            raise DoesNotOpen("This blob is too short to be a sealed secret.")
        try:
            return self._aes.decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], None).decode()
        except (InvalidTag, UnicodeDecodeError):
            raise DoesNotOpen(DoesNotOpen.__doc__) from None
