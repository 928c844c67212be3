"""What can be uploaded: arrays, records, frames, and files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vecferry.rows import BadRow, Loss, Rows, SourceError
from vecferry.sources.arrays import array_source, npy_source, npz_source
from vecferry.sources.columns import Columns
from vecferry.sources.records import json_source, record_source
from vecferry.sources.tables import arrow_source, exported_source, parquet_source

__all__ = ["Columns", "Source", "open_source"]

SUFFIXES = ".parquet, .arrow, .feather, .npy, .npz, .jsonl, .ndjson, and the last two with .gz or .zst"


class Source(Protocol):
    """Embeddings that can be read in chunks of at most about 8 MiB, in their order."""

    total: int | None
    """How many rows there are, good and bad, where that is known."""
    can_be_read_again: bool
    """Files, arrays and frames can; iterators and readers give their rows once."""
    loss: Loss
    """What rounding to float16 took from the vectors read so far; anew with each `chunks`."""

    def chunks(self, skip_bad: Callable[[BadRow], None]) -> Iterator[Rows]:
        """All rows from the beginning, in runs without a gap.

        A row that cannot be uploaded goes to `skip_bad`, before the rows behind it come; what that raises ends the
        reading. Where the source says nothing of text or metadata for some rows, these are a run of their own, with
        None for all. Raises SourceError where the source is damaged, or cannot be read again.
        """


def open_source(
    data: Any, *, ids: Any = None, texts: Any = None, metadata: Any = None, columns: Columns | None = None
) -> Source:
    """Opens what can be uploaded. Raises SourceError, which says what would be right.

    `data` is one of

    - an array `(n, dimensions)` of float16, float32 or float64 (or what NumPy makes one of, such as lists), with `ids`
      and perhaps `texts` and `metadata` in the same order: lists, or paths of `.txt` (one a line), `.json` (a list)
      or `.npy` (texts as NumPy has them);
    - an iterable of records: mappings, objects with such attributes (structs, dataclasses, named tuples), or tuples of
      text_id, vector, and perhaps text and metadata. What a record leaves out stays as it is stored, None clears it;
    - a table that exports itself as Arrow: a frame of polars or of pandas 2.2 or newer, a table of pyarrow, a relation
      of DuckDB; needs pyarrow. Vectors are lists, metadata structs, maps, or texts of JSON; what is null in a
      struct is left out of the metadata;
    - a path of `.parquet`, `.arrow` or `.feather` (these need pyarrow), the same; of `.npy`, as an array; of `.npz`
      with the arrays `ids`, `vectors`, and perhaps `texts` and `metadata` (texts of JSON); or of `.jsonl` or `.ndjson`,
      a JSON object a line, also compressed as `.gz` or `.zst`.

    `columns` names the columns of tables and the keys of records where they are not the usual ones.

    A row is bad, and reported rather than uploaded, whose vector has NaN, an infinity, a component beyond float16
    (65504), nothing but zeros in float16, or other dimensions than the first; or whose id, text or metadata are not
    what they must be. Vectors are rounded to float16. Metadata become what JSON has: dates become texts, times with
    microseconds, NaN null.
    """
    is_path = isinstance(data, (str, os.PathLike))
    path = Path(data) if is_path else Path()
    beside = {"ids": ids, "texts": texts, "metadata": metadata}
    given = [name for name, values in beside.items() if values is not None]
    is_array = path.suffix == ".npy" if is_path else bool(given) or isinstance(data, np.ndarray)
    if given and not is_array:
        raise SourceError(f"{given[0]}= goes with arrays and .npy files; {path} has its own: name them by columns=")
    if columns is not None and (is_array or path.suffix == ".npz"):
        raise SourceError("columns= goes with tables and records; an array has none: use ids=, texts= and metadata=")
    if is_path:
        return _file_source(path, beside, columns or Columns())
    if is_array:
        return array_source(data, ids, texts, metadata)
    if hasattr(data, "__arrow_c_stream__"):
        return exported_source(data, columns or Columns())
    if hasattr(data, "__dataframe__"):
        raise SourceError(
            f"the {type(data).__name__} does not export itself as Arrow (__arrow_c_stream__), and the older "
            "interchange protocol has no vectors; pandas does from 2.2 on"
        )
    if isinstance(data, (bytes, dict)) or not isinstance(data, Iterable):
        raise SourceError(
            f"a {type(data).__name__} cannot be uploaded; see the documentation of open_source for what can"
        )
    return record_source(data, columns or Columns())


def _file_source(path: Path, beside: dict[str, Any], columns: Columns) -> Source:
    if not path.is_file():
        is_there = path.exists()
        raise SourceError(f"{path} is not a regular file, which is needed" if is_there else f"there is no file {path}")
    suffix = Path(path.stem).suffix if path.suffix in {".gz", ".zst"} else path.suffix
    if suffix in {".jsonl", ".ndjson"}:
        return json_source(path, columns)
    if path.suffix == ".parquet":
        return parquet_source(path, columns)
    if path.suffix in {".arrow", ".feather"}:
        return arrow_source(path, columns)
    if path.suffix == ".npy":
        return npy_source(path, **beside)
    if path.suffix == ".npz":
        return npz_source(path)
    raise SourceError(f"{path} is of a kind that cannot be read; these can: {SUFFIXES}")
