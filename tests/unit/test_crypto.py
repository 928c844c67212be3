"""Sealing: what goes in comes out, in its place and with its key, and nothing else opens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.provider_keys.keyring import DoesNotOpen, Key, Keyring, instance_place

ORIGINAL = bytes.fromhex("2dcb56b1c538d15dd79d306d61b55cdf4d6b0097b64912b752f059293c6919741009")


def test_a_blob_of_the_original_system_opens() -> None:
    assert Key("enckey-1").decrypt(ORIGINAL) == "sekret"
    assert Keyring("new", ["other", "enckey-1"]).open(ORIGINAL, None, "anywhere") == "sekret"


@given(st.text(), st.text(), st.binary())
def test_what_is_encrypted_is_decrypted(passphrase: str, secret: str, bound_to: bytes) -> None:
    key = Key(passphrase)
    blob = key.encrypt(secret, bound_to)
    assert key.decrypt(blob, bound_to) == secret
    assert len(blob) == len(secret.encode()) + 28
    assert key.encrypt(secret, bound_to) != blob  # a fresh nonce


@given(st.text(), st.binary(), st.data())
def test_a_changed_blob_does_not_open(secret: str, bound_to: bytes, data: st.DataObject) -> None:
    key = Key("a key")
    blob = bytearray(key.encrypt(secret, bound_to))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DoesNotOpen):
        key.decrypt(bytes(blob), bound_to)


@given(st.text(), st.data())
def test_a_cut_or_longer_blob_does_not_open(secret: str, data: st.DataObject) -> None:
    key = Key("a key")
    blob = key.encrypt(secret)
    for other in (blob[: data.draw(st.integers(0, len(blob) - 1))], blob + data.draw(st.binary(min_size=1))):
        with pytest.raises(DoesNotOpen):
            key.decrypt(other)


@given(st.binary(max_size=100))
def test_what_was_never_sealed_does_not_open(blob: bytes) -> None:
    with pytest.raises(DoesNotOpen):
        Key("a key").decrypt(blob)


@given(st.text(min_size=1), st.text(min_size=1), st.text())
def test_only_the_right_key_and_place_open(one: str, other: str, secret: str) -> None:
    blob, key_id = Keyring(one).seal(secret, one), Key(one).id
    assert Keyring(one).open(blob, key_id, one) == secret
    assert Keyring("new", ["x", one]).open(blob, key_id, one) == secret
    assert Keyring(one).open(blob, None, one) == secret
    if one != other:
        assert key_id != Key(other).id
        for keyring, place in ((Keyring(other), one), (Keyring(one), other), (Keyring(other, [one]), other)):
            for named in (key_id, None, Key(other).id):
                with pytest.raises(DoesNotOpen):
                    keyring.open(blob, named, place)


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_no_two_instances_have_the_same_place(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (instance_place(*one) == instance_place(*other)) == (one == other)


def test_keys_do_not_show_themselves() -> None:
    keyring = Keyring("a key", ["an old key"])
    for shown in (repr(keyring), str(keyring), repr(keyring.current), *(key.id for key in keyring.keys)):
        assert "a key" not in shown
        assert "an old key" not in shown
