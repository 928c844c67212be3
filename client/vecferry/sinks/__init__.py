"""Files that embeddings are written to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vecferry.rows import SourceError
from vecferry.sinks.files import Sink
from vecferry.sinks.jsonl import JsonSink
from vecferry.sinks.npz import NpzSink
from vecferry.sinks.tables import ArrowSink, ParquetSink

__all__ = ["Sink", "open_sink"]


def open_sink(path: Path) -> Sink:
    """A file to write embeddings to, of the kind that its suffix says; `open_source` of it gives equal rows.

    - `.parquet` and `.arrow` (these need pyarrow): columns `text_id`, `vector` (lists of float16), and, if the rows
      have them, `text` and `metadata` (texts of JSON);
    - `.jsonl`, also with `.gz` or `.zst`: objects with these keys, one a line, vectors as the shortest decimals that
      are rounded to the same float16;
    - `.npz`: arrays `ids` (texts), `vectors` `(n, dimensions) float16`, and, if the rows have them, `texts` and
      `metadata` as bytes, in which each line is one value as JSON.

    Used as a context manager: the file is there once the block ends without an error, and is complete then; with an
    error whatever was there stays. Raises SourceError for another suffix, or where the package for it is missing.
    """
    suffixes = path.suffixes[-2:]
    if suffixes[-1:] == [".jsonl"] or suffixes in ([".jsonl", ".gz"], [".jsonl", ".zst"]):
        return JsonSink(path)
    kinds: dict[str, Callable[[Path], Sink]]
    kinds = {".parquet": ParquetSink, ".arrow": ArrowSink, ".npz": NpzSink}
    if path.suffix not in kinds:
        known = ".parquet, .arrow, .jsonl, .jsonl.gz, .jsonl.zst, .npz"
        raise SourceError(f"{path} is of a kind that cannot be written; these can: {known}")
    return kinds[path.suffix](path)
