"""From what a reader finds in a source to Rows: what every kind of source has in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from vecferry.rows import HALF_MAX, ROUNDS_TO_ZERO, BadRow, Loss, Rows, to_halves, vector_fault

CHUNK_BYTES = 8 * 1024 * 1024
"""About how much of a source is read at once."""

_object = msgspec.json.Decoder(dict[str, Any] | None)
_packer = msgspec.msgpack.Encoder()


def is_missing(value: Any) -> bool:
    """Whether pandas says with it that there is none: by NaN, NaT or NA, which differ from themselves, or may."""
    try:
        return bool(value != value)
    except TypeError:  # of NA
        return True
    except (ValueError, RuntimeError):  # of an array or a tensor, which is something
        return False


def _plain(value: Any) -> Any:
    """A value of NumPy or pandas as Python has it; times in microseconds, as they are without pandas."""
    if isinstance(value, (np.generic, np.ndarray)) and value.dtype.kind in "biufU":
        return value.tolist()
    if is_missing(value):
        return None
    if hasattr(value, "to_pydatetime"):
        return value.to_pydatetime(warn=False)
    if hasattr(value, "to_pytimedelta"):
        return value.to_pytimedelta()
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")


# Decimals are numbers, as which filters find them.
_encoder = msgspec.json.Encoder(enc_hook=_plain, decimal_format="number")


class Checks:
    """The checks of one passage through a source: reports bad rows, counts the loss, knows the dimensions."""

    def __init__(self, skip_bad: Callable[[BadRow], None], loss: Loss) -> None:
        self.dimensions: int | None = None
        self._skip_bad = skip_bad
        self._loss = loss

    def length_fault(self, length: int) -> str | None:
        """Says why a vector cannot have this many components; the first that has some decides it."""
        if not length:
            return "its vector has no components"
        if self.dimensions is None:
            self.dimensions = length
        if length != self.dimensions:
            return f"its vector has {length} dimensions; the first of the source has {self.dimensions}"
        return None

    def rows(
        self,
        start: int,
        ids: list[Any],
        vectors: NDArray[Any],
        texts: list[Any] | None,
        metadata: list[Any] | None,
        faults: dict[int, str],
    ) -> Iterator[Rows]:
        """The good ones of these rows, in runs without a gap, after the bad ones were reported.

        `vectors` is `(n, dimensions)` of floats, with anything in the rows of `faults`: the reasons known already, by
        place in these lists. UNSET among texts or metadata is what the source left out: such a run has None for all.
        """
        halves, largest, errors = to_halves(vectors)
        fine = (largest > ROUNDS_TO_ZERO) & (largest <= HALF_MAX)  # NaN is neither
        fine[list(faults)] = False
        for row in np.flatnonzero(~fine).tolist():
            reason = faults.get(row) or vector_fault(vectors[row])
            text_id = None if text_fault("text_id", ids[row]) else ids[row]
            self._skip_bad(BadRow(start + row, text_id, reason or "its vector cannot be stored"))
        self._loss.largest = max(self._loss.largest, float((errors[fine] / largest[fine]).max(initial=0)))
        no_text, no_metadata = _left_out(texts, len(ids)), _left_out(metadata, len(ids))
        kinds = fine + 2 * no_text + 4 * no_metadata
        edges = [0, *(np.flatnonzero(np.diff(kinds)) + 1).tolist(), len(ids)]
        for begin, end in pairwise(edges):
            if begin < end and fine[begin]:
                yield Rows(
                    start=start + begin,
                    ids=ids[begin:end],
                    vectors=halves[begin:end],
                    texts=None if texts is None or no_text[begin] else texts[begin:end],
                    metadata=None if metadata is None or no_metadata[begin] else metadata[begin:end],
                )


def _left_out(values: list[Any] | None, count: int) -> NDArray[np.int8]:
    if values is None:
        return np.zeros(count, np.int8)
    return np.fromiter((value is UNSET for value in values), np.int8, count)


def metadata_of(value: Any) -> dict[str, Any] | None:
    """Metadata as JSON has it, made of a dict or of JSON text: dates become text, NaN becomes null.

    Raises ValueError, which says what is wrong with it, also of integers that MessagePack does not have.
    """
    if value is None:
        return None
    if isinstance(value, str) or (isinstance(value, bytes) and value):
        encoded: str | bytes = value
    elif isinstance(value, dict):
        try:
            encoded = _encoder.encode(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"its metadata cannot be written as JSON: {error}") from None
    else:
        raise ValueError(f"its metadata is {kind_of(value)}; it must be an object or null")
    try:
        decoded: dict[str, Any] | None = _object.decode(encoded)
        _packer.encode(decoded)
    except OverflowError:
        raise ValueError(f"its metadata has at {_large_integer(decoded)}, beyond 64 bits; write it as a text") from None
    except msgspec.ValidationError as error:
        raise ValueError(f"its metadata must be a JSON object or null: {error}") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(f"its metadata is not JSON: {error}") from None
    return decoded


def _large_integer(value: Any, place: str = "") -> str | None:
    """The first integer beyond 64 bits with its place, such as `a.b[1] the integer 18446744073709551616`."""
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**64 else f"{place.removeprefix('.')} the integer {value}"
    if isinstance(value, dict):
        inner = [(f"{place}.{name}", one) for name, one in value.items()]
    elif isinstance(value, list):
        inner = [(f"{place}[{at}]", one) for at, one in enumerate(value)]
    else:
        return None
    return next(filter(None, (_large_integer(one, below) for below, one in inner)), None)


def metadata_column(values: list[Any], faults: dict[int, str]) -> list[dict[str, Any] | None]:
    """`metadata_of` all of these; what is wrong with one joins the faults, by its place."""
    objects: list[dict[str, Any] | None] = []
    for row, value in enumerate(values):
        try:
            objects.append(metadata_of(value))
        except ValueError as error:
            objects.append(None)
            faults.setdefault(row, str(error))
    return objects


def text_fault(name: str, value: Any) -> str | None:
    """Says why a value cannot be a text (or None); `name` is what it is the value of."""
    if isinstance(value, str):
        try:
            value.isascii() or value.encode()
        except UnicodeEncodeError as error:
            return f"its {name} is not Unicode text: {error.reason} at character {error.start}"
        return None
    if name == "text_id" and isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        return f'its text_id is the number {value}; ids are texts, such as "{value}"'
    return f"its {name} is {kind_of(value)}; it must be a text"


def kind_of(value: Any) -> str:
    """What a value is, in words for a message."""
    return "null" if value is None else f"of the type {type(value).__name__}"
