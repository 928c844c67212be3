"""The body of an upload of texts: cut into its rows, and these checked as embeddings are, but for the vectors."""

import asyncio
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from service import decoding
from service.errors import ApiError, ContentTooLarge, Invalid
from service.queries.projects import ProjectAccess
from service.uploads.batch import Batch, TextId
from service.uploads.json_metadata import large_metadata
from service.uploads.limits import MAX_TEXT_CHARACTERS, OBJECTS_A_TEXT

SentText = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_CHARACTERS, pattern=r"^[^\u0000]*$")]


class TextIn(msgspec.Struct, forbid_unknown_fields=True):
    """A text to be embedded and stored. `metadata`: left out keeps what is stored, null clears it."""

    text_id: TextId
    text: SentText
    metadata: dict[str, Any] | UnsetType | None = UNSET


class TextsIn(msgspec.Struct, forbid_unknown_fields=True):
    """A batch of texts, all or nothing."""

    texts: list[TextIn]


class _RawText(TextIn, forbid_unknown_fields=True):
    """TextIn with metadata that are still undecoded."""

    metadata: msgspec.Raw | UnsetType = UNSET  # type: ignore[assignment]


class _RawTexts(msgspec.Struct, forbid_unknown_fields=True):
    """TextsIn with its rows still undecoded."""

    texts: list[msgspec.Raw]


class TextBatch(Batch):
    """The rows of a batch of texts; vectors come later."""

    row_type = TextIn
    rows_name = "texts"


async def checked(project: ProjectAccess, body: bytes, most: int) -> TextBatch:
    """The rows of a body of JSON, and what is wrong with them in themselves. Raises ContentTooLarge for too many."""
    if body.count(b"{") > OBJECTS_A_TEXT * most:  # before lists of them are made
        raise ContentTooLarge(f"A batch may have at most {most:,} texts: send several.")
    try:
        rows = msgspec.json.decode(body, type=_RawTexts).texts
    except msgspec.ValidationError as error:
        raise Invalid(problems=decoding.problems(body, TextsIn, "body", error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise decoding.unreadable(error) from None
    if len(rows) > most:
        raise ContentTooLarge(f"A batch may have at most {most:,} texts: send several.")
    batch = TextBatch(project)
    for row, raw in enumerate(rows):
        try:
            sent = msgspec.json.decode(raw, type=_RawText)
            metadata = UNSET if sent.metadata is UNSET else await large_metadata(bytes(sent.metadata), decoding.JSON)
            batch.add_fields(row, sent.text_id, sent.text, metadata)
        except msgspec.ValidationError as error:
            batch.add_undecodable(row, raw, error)
        except ApiError as error:
            batch.add_malformed(row, error)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            batch.add_malformed(row, decoding.unreadable(error))
        await asyncio.sleep(0)
    return batch
