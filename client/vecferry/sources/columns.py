"""Which columns of a table, or keys of a record, are what."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import msgspec

from vecferry.rows import SourceError

TEXT_ID = ("text_id", "id", "ids")
VECTOR = ("vector", "embedding", "vectors")


class Columns(msgspec.Struct, frozen=True):
    """The names of the columns of a table, or of the keys of records, where they are not the usual ones.

    The usual ones, the first that there is: `text_id`, `id` or `ids`; `vector`, `embedding` or `vectors`; and, both
    optional, `text` and `metadata`. `metadata` may also be several columns, which become an object of those that are
    not null. The same column may be named twice.
    """

    text_id: str | None = None
    vector: str | None = None
    text: str | None = None
    metadata: str | Sequence[str] | None = None

    @property
    def text_ids(self) -> Sequence[str]:
        """The names that the ids may have, the first wins."""
        return TEXT_ID if self.text_id is None else (self.text_id,)

    @property
    def vectors(self) -> Sequence[str]:
        """The names that the vectors may have, the first wins."""
        return VECTOR if self.vector is None else (self.vector,)

    @property
    def gathered(self) -> Sequence[str] | None:
        """The columns that together become the metadata, if they are several."""
        return None if self.metadata is None or isinstance(self.metadata, str) else tuple(self.metadata)

    def found_in(self, names: Sequence[str], where: str) -> Found:
        """Which of these columns of a table are what. Raises SourceError where one is missing."""

        def named(name: str) -> str:
            if name in names:
                return name
            near = get_close_matches(name, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise SourceError(f"{where} has no column {name!r}{hint} It has {_listed(names)}.".replace("' It", "'. It"))

        def first(of: Sequence[str], what: str, field: str) -> str:
            there = [name for name in of if name in names]
            if not there and len(of) == 1:
                return named(of[0])
            if not there:
                raise SourceError(
                    f"{where} has no column {_listed(of, 'or')} for the {what}. It has {_listed(names)}: name the one "
                    f'that has them with Columns({field}="...")'
                )
            return there[0]

        if self.gathered is not None:
            metadata = [named(name) for name in self.gathered]
        elif self.metadata is not None:
            metadata = [named(str(self.metadata))]
        else:
            metadata = ["metadata"] if "metadata" in names else []
        return Found(
            text_id=first(self.text_ids, "ids", "text_id"),
            vector=first(self.vectors, "vectors", "vector"),
            text=named(self.text) if self.text is not None else "text" if "text" in names else None,
            metadata=metadata,
            gathers=self.gathered is not None,
        )


class Found(msgspec.Struct, frozen=True):
    """The columns of one table."""

    text_id: str
    vector: str
    text: str | None
    metadata: list[str]
    gathers: bool
    """Whether the metadata are an object of columns, also if it is of one."""

    @property
    def names(self) -> list[str]:
        """All of them, each once."""
        texts = [] if self.text is None else [self.text]
        return list(dict.fromkeys([self.text_id, self.vector, *texts, *self.metadata]))


def _listed(names: Sequence[str], word: str = "and") -> str:
    quoted = [repr(name) for name in names]
    if not quoted:
        return "no columns"
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {word} {quoted[-1]}"
