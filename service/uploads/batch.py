"""A batch of embeddings as a client sends it, and all that is checked of it before it is stored."""

import math
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType
from numpy.typing import NDArray

from service import decoding, vectors
from service.decoding import Wire
from service.errors import MAX_PROBLEMS, BadRequest, Invalid, Problem, show
from service.metadata.schemas import Fault
from service.queries.projects import ProjectAccess

MAX_METADATA_DEPTH = 64
_TOO_DEEP = f"must not be nested more than {MAX_METADATA_DEPTH} levels deep"
MAX_ID_BYTES = 4096  # 300 characters, each of up to twelve bytes where it is escaped
Scalar = str | int | float | bool
TextId = Annotated[str, Meta(min_length=1, max_length=300, pattern=r"^[^\u0000]*$", examples=["poem-17"])]


Vector = Annotated[list[float], Meta(max_length=vectors.MAX_DIMENSIONS)] | bytes


class EmbeddingIn(msgspec.Struct, forbid_unknown_fields=True):
    """An embedding to be stored.

    `vector`: exactly the project's number of dimensions, finite, within half precision, not all zero; as numbers, or
    as the raw little-endian bytes of the body's `encoding`, which in JSON are base64.
    `text` and `metadata`: left out keeps what is stored, null clears it. The other fields repeat the path
    or the project and must agree with them.
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

    `encoding`: of vectors that are sent as bytes: float32 (`f4`) or float16 (`f2`).
    """

    embeddings: list[EmbeddingIn]
    encoding: vectors.Encoding = "f4"


class _Problems:
    """How many problems there are, and the first of them with their rows: no more are told, so no more are kept."""

    def __init__(self) -> None:
        self.count = 0
        self.rows: set[int] = set()
        self.first: list[tuple[int, Problem]] = []

    @property
    def is_full(self) -> bool:
        return len(self.first) >= MAX_PROBLEMS

    def add(self, row: int, problem: Problem) -> None:
        self.count += 1
        self.rows.add(row)
        if not self.is_full:
            self.first.append((row, problem))


class Batch:
    """The rows of a batch as they are checked, and the problems that are found."""

    def __init__(self, project: ProjectAccess, encoding: vectors.Encoding = "f4", wire: Wire = decoding.JSON) -> None:
        self.project = project
        self.encoding = encoding
        self.wire = wire
        self.halves: list[NDArray[np.float16]] = []  # (rows at once, dimensions), in the order of the rows
        self.ids: list[str] = []
        self.texts: list[str | None] = []
        self.metadata: list[msgspec.Raw | None] = []
        self.keep_text: list[str] = []
        self.keep_metadata: list[str] = []
        self.cleared: list[int] = []  # the rows whose metadata is null
        self.absent_fault: Fault | None = None  # what is wrong with having no metadata
        self.invalid = _Problems()
        self.contradicting = _Problems()
        self._seen: dict[str, int] = {}

    def _add_invalid(self, row: int, field: str, message: str, value: Scalar | None = None) -> None:
        self.invalid.add(row, self._problem(row, field, message, value))

    def _add_contradiction(self, row: int, field: str, message: str, value: Scalar | None = None) -> None:
        self.contradicting.add(row, self._problem(row, field, message, value))

    def _problem(self, row: int, field: str, message: str, value: Scalar | None) -> Problem:
        shown = None if value is None else show(value)
        return Problem(_named(self.ids[row], message), f"body.embeddings[{row}].{field}", shown)

    def add_undecodable(self, row: int, raw: msgspec.Raw, error: msgspec.ValidationError) -> None:
        """A row that is no EmbeddingIn: keeps its place, and says all that is wrong with it."""
        text_id = _text_id(raw, self.wire)
        self._skip(text_id)
        if self.invalid.is_full:
            self.invalid.count += 1
            return
        for problem in decoding.problems(bytes(raw), EmbeddingIn, f"body.embeddings[{row}]", error, self.wire):
            self.invalid.add(row, Problem(_named(text_id, problem.message), problem.location, problem.value))

    def add_too_large(self, row: int, field: str) -> None:
        """A row of which a field is larger than any that could be stored."""
        self._skip("")
        self._add_invalid(row, field, "is too large")

    def _skip(self, text_id: str) -> None:
        self.ids.append(text_id)
        self.texts.append(None)
        self.metadata.append(None)

    def add(self, row: int, sent: EmbeddingIn) -> bool:
        """Checks all but the numbers of the vector; False when there is something wrong with its length."""
        self.ids.append(sent.text_id)
        if (first := self._seen.setdefault(sent.text_id, row)) != row:
            self._add_invalid(row, "text_id", f"is also the text_id of embeddings[{first}]")
        self._add_text(row, sent)
        self._add_metadata(row, sent)
        self._compare_with_project(row, sent)
        got, expected = vectors.length(sent.vector, self.encoding), self.project.dimensions
        if got is None:
            self._add_invalid(row, "vector", f"must be a whole number of {self.encoding} numbers, little-endian")
            return False
        if sent.vector_dim not in (None, got):
            self._add_contradiction(row, "vector_dim", f"the vector has {got} dimensions", sent.vector_dim)
        if got != expected:
            message = f"vector dimension mismatch: expected {expected} dimensions, got {got}"
            self._add_contradiction(row, "vector", message)
        return got == expected

    def _compare_with_project(self, row: int, sent: EmbeddingIn) -> None:
        for field in ("instance_handle", "instance_owner", "project_handle", "project_id"):
            value = getattr(sent, field)
            if value is not None and value != (right := getattr(self.project, field)):
                self._add_contradiction(row, field, f"must be {right!r}, as in the path or the project", value)
        if sent.user_handle not in (None, self.project.owner):
            right = self.project.owner
            self._add_contradiction(row, "user_handle", f"must be {right!r}, as in the path", sent.user_handle)

    def _add_text(self, row: int, sent: EmbeddingIn) -> None:
        if sent.text is UNSET:
            self.keep_text.append(sent.text_id)
            self.texts.append(None)
            return
        if sent.text and "\0" in sent.text:
            self._add_invalid(row, "text", "must not contain a NUL")
        self.texts.append(sent.text)

    def _add_metadata(self, row: int, sent: EmbeddingIn) -> None:
        if sent.metadata is UNSET:
            self.keep_metadata.append(sent.text_id)
        elif sent.metadata is None:
            self.cleared.append(row)
        large: Any = sent.metadata
        if isinstance(large, msgspec.Raw):  # it has been looked at (`service.uploads.store`)
            self.metadata.append(large)
            return
        if not isinstance(sent.metadata, dict):
            self.metadata.append(None)
            return
        wrong = _no_json(sent.metadata, MAX_METADATA_DEPTH) if self.wire is decoding.MESSAGE_PACK else None
        encoded = None if wrong else _encoded(sent.metadata)
        if encoded is None:
            self.metadata.append(None)
            self._add_invalid(row, "metadata", wrong or _TOO_DEEP)
            return
        if b"\\u0000" in encoded and _has_nul(sent.metadata):
            self._add_invalid(row, "metadata", "must not contain a NUL")
        self.metadata.append(msgspec.Raw(encoded))

    def add_fault(self, row: int, fault: Fault) -> None:
        """A row whose metadata break the project's schema."""
        self._add_contradiction(row, f"metadata{fault.path}", breaks_schema(fault))

    def add_vectors(self, rows: list[int], sent: list[list[float] | bytes]) -> None:
        """Checks vectors of the right length and keeps them as halves; those of bad rows do not matter any more."""
        numbers = vectors.from_sent(sent, self.encoding)
        for place in vectors.faulty_rows(numbers):
            message, component = vectors.fault(numbers[place]) or ("is not valid", None)
            value = None if component is None else float(numbers[place][component])
            where = "" if component is None else f" (component {component})"
            self._add_invalid(rows[place], "vector", message + where, value)
        self.halves.append(vectors.to_halves(numbers))

    @property
    def has_problems(self) -> bool:
        """Whether anything was found."""
        return bool(self.invalid.count or self.contradicting.count)

    def check(self) -> None:
        """Raises for what was found: Invalid when any row is not valid in itself, else BadRequest."""
        if not self.has_problems:
            return
        found = sorted(self.invalid.first + self.contradicting.first, key=lambda one: one[0])
        count = self.invalid.count + self.contradicting.count
        detail = f"Nothing was stored: {count} problems in {len(self.ids)} embeddings."
        raise (Invalid if self.invalid.count else BadRequest)(detail, [problem for _, problem in found])


def breaks_schema(fault: Fault) -> str:
    """How it is said that metadata have a fault."""
    return f"breaks the project's schema: {fault.message}"


def _named(text_id: str, message: str) -> str:
    return f"text_id {show(text_id)!r}: {message}" if text_id else message


class _Named(msgspec.Struct):
    """A row of which only the id is looked at."""

    text_id: msgspec.Raw = msgspec.Raw(b"")


def _text_id(raw: msgspec.Raw, wire: Wire) -> str:
    """The id of a row that may be wrong in every way, else nothing."""
    try:
        named = memoryview(wire.module.decode(raw, type=_Named).text_id)
        text_id = wire.module.decode(named) if 0 < len(named) < MAX_ID_BYTES else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return text_id if isinstance(text_id, str) else ""


def _encoded(value: dict[str, Any]) -> bytes | None:
    """Metadata as JSON; None when it is nested too deeply, wherever it comes from and whoever reads it."""
    try:
        encoded = msgspec.json.encode(value)
    except RecursionError:
        return None
    may_be_deep = encoded.count(b"{") + encoded.count(b"[") >= MAX_METADATA_DEPTH  # to look at the text is faster
    return None if may_be_deep and _is_deeper(value, MAX_METADATA_DEPTH) else encoded


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether a document is nested more than so deep; a plain value is one level. Without recursion."""
    layer = [value]
    for _ in range(levels):
        layer = [inner for one in layer for inner in _values(one)]
        if not layer:
            return False
    return True


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _has_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(inner) for key, inner in value.items())
    if isinstance(value, list):
        return any(map(_has_nul, value))
    return isinstance(value, str) and "\0" in value


def _no_json(value: Any, levels: int) -> str | None:
    """What in MessagePack metadata has no form in JSON, or is deeper than so many levels; None when nothing."""
    if not levels:
        return _TOO_DEEP
    match value:
        case float():
            return None if math.isfinite(value) else "must not hold a number that is not finite"
        case str() | int() | None:
            return None
        case list():
            return next(filter(None, (_no_json(one, levels - 1) for one in value)), None)
        case dict():
            if not all(type(key) is str for key in value):
                return "must have texts as names only"
            return next(filter(None, (_no_json(one, levels - 1) for one in value.values())), None)
        case _:
            return "must hold nothing that JSON has not: texts, numbers, lists, objects, true, false, null"
