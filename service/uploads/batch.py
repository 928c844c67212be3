"""A batch of embeddings, and its checks before it is stored."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType
from numpy.typing import NDArray

from service import decoding, number_arrays, turns, vectors
from service.decoding import Wire
from service.errors import MAX_PROBLEMS, ApiError, BadRequest, Invalid, Problem, show
from service.json_tokens import NoJson
from service.metadata.schemas import Fault
from service.queries.projects import ProjectAccess
from service.uploads.json_metadata import encoded_metadata, large_metadata
from service.uploads.limits import MAX_ID_BYTES, MAX_METADATA_BYTES, MAX_RECORD_BYTES, MAX_VECTOR_BYTES, ROWS_AT_ONCE

Scalar = str | int | float | bool
LONG_IN_JSON = bytes(set(range(0x20)) - set(b"\b\t\n\f\r"))  # six bytes each
PIECE = 1024 * 1024  # characters: faster than a large text at once
TextId = Annotated[str, Meta(min_length=1, max_length=300, pattern=r"^[^\u0000]*$", examples=["poem-17"])]
Vector = Annotated[list[float], Meta(max_length=vectors.MAX_DIMENSIONS)] | bytes


class EmbeddingIn(msgspec.Struct, forbid_unknown_fields=True):
    """An embedding to store.

    `vector`: exactly the project's number of dimensions, finite, within half precision, not all zero; as numbers, or as
    little-endian bytes in the body's `encoding`, base64 in JSON. `text` and `metadata`: if omitted, the stored value
    stays; null removes it. The other fields must agree with the path and the project.
    """

    text_id: TextId
    vector: Vector
    vector_dim: int | None = None
    text: str | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET
    instance_handle: str | None = None
    instance_owner: str | None = None
    user_handle: str | None = None
    project_handle: str | None = None
    project_id: int | None = None


class EmbeddingsIn(msgspec.Struct, forbid_unknown_fields=True):
    """A batch of embeddings, all or nothing.

    `encoding` is for vectors as bytes: float32 (`f4`) or float16 (`f2`).
    """

    embeddings: list[EmbeddingIn]
    encoding: vectors.Encoding = "f4"


class _RawRow(EmbeddingIn, forbid_unknown_fields=True):
    """EmbeddingIn with undecoded large fields."""

    vector: msgspec.Raw
    metadata: msgspec.Raw | UnsetType = UNSET  # type: ignore[assignment]


class Row(msgspec.Struct, gc=False):
    """A decoded row. Text and metadata are UNSET if the stored ones stay; metadata are a dict if they are wrong.

    The vector is in pgvector's binary format, once it is known.
    """

    text_id: str
    text: str | UnsetType | None
    metadata: Any
    vector: bytes = b""


class Batch:
    """The ids of all rows of a batch, the decoded `rows`, and their problems by row.

    `bad` has all rows with problems, and at most `max_problems` problems; their locations are relative to the row, like
    `.vector[3]`. Rows of a stream are `repeatable`: a row replaces an earlier one with the same text_id.
    Rows from `end` on cannot be stored. Those that are the `same` as stored are skipped.
    """

    row_type: ClassVar[type[msgspec.Struct]] = EmbeddingIn
    decoded_type: ClassVar[type[msgspec.Struct]] = EmbeddingIn
    rows_name: ClassVar[str] = "embeddings"

    def __init__(
        self,
        project: ProjectAccess,
        encoding: vectors.Encoding = "f4",
        wire: Wire = decoding.JSON,
        *,
        max_problems: int = MAX_PROBLEMS,
        repeatable: bool = False,
    ) -> None:
        self.project, self.encoding, self.wire = project, encoding, wire
        self.ids: list[str] = []
        self.rows: dict[int, Row] = {}
        self.end = 0
        self.same: set[int] = set()
        self.absent_fault: Fault | None = None  # the reason why the schema refuses rows without metadata
        self.bad: dict[int, list[Problem]] = {}
        self._count, self._left, self._is_invalid = 0, max_problems, False
        self._repeatable = repeatable
        self._seen: dict[str, int] = {}
        self._fitting: dict[int, Vector] = {}  # vectors of the right length that are checked next

    def add_problem(
        self, row: int, where: str, message: str, value: Scalar | None = None, *, contradicts: bool = False
    ) -> None:
        """Records a problem: an invalid row, or one that `contradicts` the path or the project."""
        self._count += 1
        self._is_invalid = self._is_invalid or not contradicts
        found = self.bad.setdefault(row, [])
        if self._left:
            self._left -= 1
            found.append(Problem(message, where, value))

    async def decode(self, rows: Sequence[msgspec.Raw]) -> None:
        """Decodes and checks rows into this empty batch, with turns for other requests.

        Raises BadRequest or Invalid for a malformed row, unless rows are repeatable.
        """
        self.end = len(rows)
        decoder = self.wire.module.Decoder(self.decoded_type)
        begin = time.perf_counter()
        for row, raw in enumerate(rows):
            try:
                self._add(row, await self._decoded(raw, decoder))
            except (ApiError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                self._add_undecodable(row, raw, error)
            is_last = row == len(rows) - 1
            if is_last or len(self._fitting) == ROWS_AT_ONCE or time.perf_counter() - begin > turns.SECONDS:
                self._add_vectors()
                await asyncio.sleep(0)
                begin = time.perf_counter()

    async def _decoded(self, raw: msgspec.Raw, decoder: Any) -> Any:
        """Decodes a row; a large one with its vector and metadata in pieces."""
        size = len(memoryview(raw))
        if size <= number_arrays.QUICK_BYTES:
            return decoder.decode(raw)
        decode = self.wire.module.decode
        row = decode(raw, type=_RawRow)
        for field, most in (("vector", MAX_VECTOR_BYTES), ("metadata", MAX_METADATA_BYTES)):
            if size > decoding.EXPLAINED_BYTES and len(memoryview(getattr(row, field) or b"")) > most:
                raise msgspec.ValidationError(f"is too large - at `$.{field}`")
        is_json = self.wire is decoding.JSON
        row.vector = await number_arrays.decode_json(bytes(row.vector)) if is_json else decode(row.vector, type=Vector)
        if row.metadata is not UNSET:
            row.metadata = await large_metadata(bytes(row.metadata), self.wire)
        return row

    def _add_undecodable(self, row: int, raw: msgspec.Raw, error: Exception) -> None:
        """Adds a row that is not of its type, with all its problems, or a malformed one.

        Raises the error of a malformed row, unless rows are repeatable.
        """
        text_id = ""
        try:
            if not isinstance(error, msgspec.ValidationError):
                raise error if isinstance(error, ApiError) else decoding.unreadable(error, self.wire)
            problems = [Problem(str(error))]
            if self._left:
                problems = decoding.problems(bytes(raw), self.row_type, "", error, self.wire)
            text_id = _text_id(raw, self.wire)
        except ApiError as malformed:
            if not self._repeatable:
                raise malformed from None
            problems = [Problem(one.message) for one in malformed.problems]
        self.ids.append(text_id)
        for problem in problems:
            self.add_problem(row, problem.location or "", problem.message, problem.value)

    def _add(self, row: int, sent: Any) -> None:
        """Checks everything except the components of the vector."""
        self._add_fields(row, sent.text_id, sent.text, sent.metadata)
        self._compare_with_project(row, sent)
        got, expected = vectors.length(sent.vector, self.encoding), self.project.dimensions
        if got is None:
            self.add_problem(row, ".vector", f"must consist of complete little-endian {self.encoding} numbers")
            return
        if sent.vector_dim not in (None, got):
            message = f"the vector has {got} dimensions"
            self.add_problem(row, ".vector_dim", message, sent.vector_dim, contradicts=True)
        if got != expected:
            message = f"vector dimension mismatch: expected {expected} dimensions, got {got}"
            self.add_problem(row, ".vector", message, contradicts=True)
        else:
            self._fitting[row] = sent.vector

    def _add_fields(self, row: int, text_id: str, text: str | UnsetType | None, metadata: Any) -> None:
        """Checks the fields that embeddings and texts have in common."""
        self.ids.append(text_id)
        if not self._repeatable and (first := self._seen.setdefault(text_id, row)) != row:
            self.add_problem(row, ".text_id", f"is also the text_id of {self.rows_name}[{first}]")
        if text and "\0" in text:
            self.add_problem(row, ".text", "must not contain a NUL")
        elif text and self.wire is decoding.MESSAGE_PACK and len(text) > MAX_RECORD_BYTES and _is_long_in_json(text):
            message = "has too many control characters: its JSON would be more than twice as long"
            self.add_problem(row, ".text", message)
        if isinstance(metadata, dict):  # else already checked while decoding
            try:
                metadata = encoded_metadata(metadata, self.wire)
            except NoJson as error:
                self.add_problem(row, ".metadata", str(error))
        self.rows[row] = Row(text_id, text, metadata)

    def _compare_with_project(self, row: int, sent: EmbeddingIn) -> None:
        for field in ("instance_handle", "instance_owner", "project_handle", "project_id"):
            value = getattr(sent, field)
            if value is not None and value != (right := getattr(self.project, field)):
                message = f"must be {right!r}, as in the path or the project"
                self.add_problem(row, f".{field}", message, value, contradicts=True)
        if sent.user_handle not in (None, self.project.owner):
            message = f"must be {self.project.owner!r}, as in the path"
            self.add_problem(row, ".user_handle", message, sent.user_handle, contradicts=True)

    def add_fault(self, row: int, fault: Fault) -> None:
        """Records that the metadata of a row violate the project's schema."""
        message = f"violates the project's schema: {fault.message}"
        self.add_problem(row, f".metadata{fault.path}", message, contradicts=True)

    def _add_vectors(self) -> None:
        """Checks vectors of the right length, and keeps them."""
        rows, sent = list(self._fitting), list(self._fitting.values())
        self._fitting.clear()
        if not rows:
            return
        halves, faults = vectors.to_halves(vectors.from_sent(sent, self.encoding))
        for fault in faults:
            where = "" if fault.component is None else f" (component {fault.component})"
            self.add_problem(rows[fault.row], ".vector", fault.message + where, fault.value)
        self.set_vectors(rows, halves)

    def set_vectors(self, rows: list[int], halves: NDArray[np.float16]) -> None:
        """Keeps the vectors of rows."""
        for row, vector in zip(rows, vectors.to_binary(halves), strict=True):
            self.rows[row].vector = vector

    def only(self, rows: list[int]) -> "Batch":
        """A batch of these valid rows, in this order."""
        part = Batch(self.project, self.encoding, self.wire)
        part.ids = [self.ids[row] for row in rows]
        part.rows = {place: self.rows[row] for place, row in enumerate(rows)}
        part.absent_fault = self.absent_fault
        return part

    def check(self) -> None:
        """Raises Invalid if a row is invalid in itself, BadRequest for other problems."""
        if not self.bad:
            return
        problems = [
            Problem(
                f"text_id {show(self.ids[row])!r}: {one.message}" if self.ids[row] else one.message,
                f"body.{self.rows_name}[{row}]{one.location or ''}",
                None if one.value is None else show(one.value),
            )
            for row in sorted(self.bad)
            for one in self.bad[row]
        ]
        detail = f"Nothing was stored: {self._count} problems in {len(self.ids)} {self.rows_name}."
        raise (Invalid if self._is_invalid else BadRequest)(detail, problems)


def _is_long_in_json(text: str) -> bool:
    """Whether a text is more than twice as long in an answer: 60 MB could become 360 MB."""
    controls = size = 0
    for start in range(0, len(text), PIECE):
        piece = text[start : start + PIECE].encode()
        controls += len(piece) - len(piece.translate(None, LONG_IN_JSON))
        size += len(piece)
    return 5 * controls > size


class _Named(msgspec.Struct):
    """A row of which only the id is decoded."""

    text_id: msgspec.Raw = msgspec.Raw(b"")


def _text_id(raw: msgspec.Raw, wire: Wire) -> str:
    """The id of a row that may be invalid in any way, or an empty string."""
    try:
        named = memoryview(wire.module.decode(raw, type=_Named).text_id)
        text_id = wire.module.decode(named) if 0 < len(named) < MAX_ID_BYTES else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return text_id if isinstance(text_id, str) else ""
