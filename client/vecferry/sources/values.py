"""The values of a table's columns as Python has them. Needs pyarrow."""

from __future__ import annotations

from typing import Any

from vecferry.rows import SourceError


def pyarrow() -> Any:
    """The package, which only tables need. Raises SourceError without it."""
    try:
        import pyarrow as pa
        import pyarrow.compute
    except ImportError:
        raise SourceError("tables, Parquet and Arrow files need pyarrow: pip install 'vecferry[parquet]'") from None
    return pa


def column_of(batch: Any, name: str) -> Any:
    """A column of a record batch."""
    column = batch.column(name)
    return getattr(column, "storage", column)  # of an extension type, such as JSON or tensors


def texts_of(batch: Any, name: str, field: str, faults: dict[int, str]) -> list[str | None]:
    """The texts of a column; None also for those that are not UTF-8, which are faults."""
    return _values(column_of(batch, name), field, faults)


def metadata_of(batch: Any, name: str, faults: dict[int, str]) -> list[Any]:
    """The metadata of a column of structs, maps, or texts of JSON."""
    types, column = pyarrow().types, column_of(batch, name)
    values = _values(column, "metadata", faults)
    if types.is_struct(column.type):
        return [_filled(value) for value in values]
    if types.is_map(column.type):
        return [None if value is None else {name: _filled(of) for name, of in value} for value in values]
    return values


def gathered_of(batch: Any, names: list[str], faults: dict[int, str]) -> list[Any]:
    """Objects made of several columns, each of what is not null in its row."""
    columns = [_values(column_of(batch, name), f"column {name!r}", faults) for name in names]
    return [
        {name: _filled(value) for name, value in zip(names, values, strict=True) if value is not None}
        for values in zip(*columns, strict=True)
    ]


def _filled(value: Any) -> Any:
    """A value without what is null in its structs: all of a column have the fields of all."""
    if isinstance(value, dict):
        return {name: _filled(of) for name, of in value.items() if of is not None}
    return [_filled(one) for one in value] if isinstance(value, list) else value


def _values(column: Any, what: str, faults: dict[int, str]) -> list[Any]:
    """All values of a column. None also for those that Python cannot have, such as a date before Christ: faults."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        pass  # of at least one of them
    values = []
    for row, value in enumerate(column):
        try:
            values.append(value.as_py())
        except (ValueError, OverflowError) as error:
            values.append(None)
            reason = f"its {what} cannot be read: {error}"
            if isinstance(error, UnicodeDecodeError):
                reason = f"its {what} is not UTF-8: {error.reason} at byte {error.start}"
            faults.setdefault(row, reason)
    return values
