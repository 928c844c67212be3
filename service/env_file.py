"""Reading of `.env` files: values are literal, and errors are reported."""

from io import StringIO
from pathlib import Path

import msgspec
from dotenv.parser import parse_stream


class Unreadable(Exception):
    """The file cannot be read. The message gives the place, and no content of the file."""


class EnvFile(msgspec.Struct, frozen=True):
    """The values by name, and the names that occur more than once; the last value counts."""

    values: dict[str, str]
    repeated: list[str]


def read(path: Path) -> EnvFile:
    """Reads a file; a missing file is empty. `$` has no special meaning. Raises Unreadable."""
    if path.is_dir():  # some virtual environments have this name
        return EnvFile({}, [])
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return EnvFile({}, [])
    except UnicodeDecodeError:
        raise Unreadable(f"{path} is not in UTF-8.") from None
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}.") from None
    values: dict[str, str] = {}
    repeated: list[str] = []
    for one in parse_stream(StringIO(text)):
        if one.error:
            before = one.original.string[: -len(one.original.string.lstrip())]  # empty lines
            line = one.original.line + before.count("\n")
            raise Unreadable(f"{path}, line {line}, is not NAME=value; perhaps a quotation mark is not closed.")
        if one.key is None or one.value is None:
            continue
        if one.key in values:
            repeated.append(one.key)
        values[one.key] = one.value
    return EnvFile(values, repeated)
