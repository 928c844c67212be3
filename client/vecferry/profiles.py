"""Where `vecferry login` keeps the URL and the key of a service, and what a command uses.

A profile is a name for both. Its key is in the system's keyring where that works, else in the file of the profiles,
which other users cannot read. The environment wins: VECFERRY_URL and VECFERRY_KEY.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import click
import msgspec

from vecferry.errors import VecferryError

SERVICE = "vecferry"  # under which the keyring has the keys
LOG_IN = "Log in first, with `vecferry login URL`"
Keeper = Literal["keyring", "file", "environment"]


class ProfileError(VecferryError):
    """A profile that does not exist or cannot be used; the message says what to do."""


class Profile(msgspec.Struct, omit_defaults=True):
    """A service and its user. `user` is a handle, or `admin`. `key` is None where the keyring has it."""

    url: str
    user: str
    key: str | None = None

    def __repr__(self) -> str:
        return f"Profile(url={self.url!r}, user={self.user!r}, key=<hidden>)"


class Access(msgspec.Struct):
    """The URL and the key of a command. `profile` is None where the environment has the key.

    Without a `key` only public projects can be read.
    """

    url: str
    key: str | None
    profile: str | None
    kept_in: Keeper | None

    def __repr__(self) -> str:
        return f"Access(url={self.url!r}, profile={self.profile!r}, key=<hidden>)"


def file_of_profiles() -> Path:
    """Where profiles are kept: in the platform's folder for configurations."""
    return Path(click.get_app_dir("vecferry")) / "profiles.json"


def access(profile: str) -> Access:
    """The URL and the key that count now. Raises ProfileError.

    A key that is kept goes to no other URL than the one that it was checked at.
    """
    url, key = _environment()
    if url and key:
        return Access(url, key, None, "environment")
    kept = _read().get(profile)
    if url and (kept is None or kept.url.rstrip("/") != url.rstrip("/")):
        return Access(url, None, None, None)
    if kept is None:
        raise ProfileError(f"There is no profile {profile!r}. {LOG_IN}, or set VECFERRY_URL and VECFERRY_KEY.")
    if key:
        return Access(kept.url, key, None, "environment")
    if kept.key is not None:
        return Access(kept.url, kept.key, profile, "file")
    return Access(kept.url, _from_keyring(profile, kept.url), profile, "keyring")


def environment_wins() -> bool:
    """Whether the environment has a URL or a key."""
    return any(_environment())


def check_url(url: str) -> None:
    """Raises ValueError for an invalid URL of a service; its message contains no password."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("this is not the URL of a service: it looks like https://vectors.example.org")
    if "@" in parts.netloc:
        raise ValueError("there is a user or a password in the URL: leave it out, the service asks for a key")


def save(profile: str, url: str, user: str, key: str) -> Keeper:
    """Keeps a profile in place of the one of that name, and says where its key is. Raises ProfileError."""
    _read()  # says what is wrong with it before the keyring asks for anything
    in_keyring = _to_keyring(profile, url, key)
    with _alone():
        profiles = _read()
        former = profiles.get(profile)
        profiles[profile] = Profile(url, user, None if in_keyring else key)
        _write(profiles)
    if former is not None and former.key is None and not (in_keyring and former.url == url):
        _forget(profile, former.url)
    return "keyring" if in_keyring else "file"


def remove(profile: str) -> Profile:
    """Forgets a profile and its key, and returns it. Raises ProfileError."""
    with _alone():
        profiles = _read()
        if profile not in profiles:
            raise ProfileError(f"There is no profile {profile!r}. Nothing was removed.")
        former = profiles.pop(profile)
        _write(profiles)
    if former.key is None and not _forget(profile, former.url):
        raise ProfileError(
            f"The profile {profile!r} is removed, but the system's keyring does not let its key go: remove the entry "
            f"of {SERVICE!r} there."
        )
    return former


def _environment() -> tuple[str | None, str | None]:
    return os.environ.get("VECFERRY_URL"), os.environ.get("VECFERRY_KEY")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Lets other processes wait, which else would lose what this one adds. Not on Windows."""
    with contextlib.ExitStack() as opened:
        if sys.platform != "win32":
            import fcntl

            folder = file_of_profiles().parent
            # `_write` says what is wrong with the folder; and some file systems have no locks.
            with contextlib.suppress(OSError):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                descriptor = os.open(folder, os.O_RDONLY)
                opened.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def _read() -> dict[str, Profile]:
    path = file_of_profiles()
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name == "posix" and mode & 0o077:
                raise ProfileError(
                    f"Others can read {path}, which may have keys. Do `chmod 600 '{path}'`; if somebody may have read "
                    "it, exchange the keys."
                )
            return msgspec.json.decode(file.read(), type=dict[str, Profile])
    except FileNotFoundError:
        return {}
    except (msgspec.DecodeError, UnicodeDecodeError):  # not shown: it may have a key
        raise ProfileError(f"{path} is damaged: remove it, and log in again.") from None
    except OSError as error:
        raise ProfileError(f"{path} cannot be read: {error.strerror}.") from None


def _write(profiles: dict[str, Profile]) -> None:
    path = file_of_profiles()
    written: str | None = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        # Made with 0600; and in place of the old one only when it is complete.
        descriptor, written = tempfile.mkstemp(dir=path.parent, prefix=".profiles-")
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(profiles), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        Path(written).replace(path)
    except OSError as error:
        raise ProfileError(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        if written is not None:
            with contextlib.suppress(OSError):
                Path(written).unlink()


def _entry(profile: str, url: str) -> str:
    return f"{profile} at {url}"


def _keyring() -> Any:
    try:
        import keyring
    except ImportError:
        return None
    return keyring


def _to_keyring(profile: str, url: str, key: str) -> bool:
    """Whether the keyring has the key now: some have no backend, or one that keeps nothing."""
    keyring = _keyring()
    try:
        if keyring is None:
            return False
        keyring.set_password(SERVICE, _entry(profile, url), key)
        return bool(keyring.get_password(SERVICE, _entry(profile, url)) == key)
    except Exception:  # of any backend, whose errors are of any kind
        return False


def _from_keyring(profile: str, url: str) -> str:
    keyring = _keyring()
    key = None
    if keyring is not None:
        with contextlib.suppress(Exception):
            key = keyring.get_password(SERVICE, _entry(profile, url))
    if not key:
        raise ProfileError(
            f"The system's keyring has the key of the profile {profile!r}, but does not give it: unlock it, or log in "
            "again."
        )
    return str(key)


def _forget(profile: str, url: str) -> bool:
    keyring = _keyring()
    if keyring is None:
        return False
    with contextlib.suppress(Exception):
        keyring.delete_password(SERVICE, _entry(profile, url))
        return True
    return False
