"""Sealing: what goes in comes out, and nothing else opens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.crypto import Cipher, DoesNotOpen


def test_a_blob_of_the_original_system_opens() -> None:
    blob = bytes.fromhex("2dcb56b1c538d15dd79d306d61b55cdf4d6b0097b64912b752f059293c6919741009")
    assert Cipher("enckey-1").open(blob) == "sekret"


@given(st.text(), st.text())
def test_what_is_sealed_opens(passphrase: str, secret: str) -> None:
    cipher = Cipher(passphrase)
    blob = cipher.seal(secret)
    assert cipher.open(blob) == secret
    assert len(blob) == len(secret.encode()) + 28
    assert cipher.seal(secret) != blob  # a fresh nonce


@given(st.text(), st.data())
def test_a_changed_blob_does_not_open(secret: str, data: st.DataObject) -> None:
    cipher = Cipher("a key")
    blob = bytearray(cipher.seal(secret))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DoesNotOpen):
        cipher.open(bytes(blob))


@given(st.text(), st.data())
def test_a_cut_blob_does_not_open(secret: str, data: st.DataObject) -> None:
    cipher = Cipher("a key")
    blob = cipher.seal(secret)
    with pytest.raises(DoesNotOpen):
        cipher.open(blob[: data.draw(st.integers(0, len(blob) - 1))])


def test_another_key_does_not_open() -> None:
    with pytest.raises(DoesNotOpen):
        Cipher("another key").open(Cipher("a key").seal("secret"))


def test_a_cipher_does_not_show_its_key() -> None:
    assert "a key" not in repr(Cipher("a key"))
