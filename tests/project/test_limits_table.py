"""The table of limits in docs/API.md, compared with the limits that the code uses."""

import re

import msgspec

from service.api.sharing import MAX_SHARES
from service.http.limits import MAX_FIELD_CHARACTERS, MAX_POINTS, MAX_SMALL_VALUES, SMALL_BODY_BYTES
from service.http.paging import Page
from service.metadata.schemas import MAX_SCHEMA_BYTES
from service.search import limits as search
from service.server.protocol import MAX_HEAD_BYTES, MAX_HEAD_LINES
from service.storage.builds import MAX_DIMENSIONS as MAX_INDEXED_DIMENSIONS
from service.uploads import limits as uploads
from service.uploads.batch import EmbeddingIn
from service.vectors import MAX_DIMENSIONS
from tests.support.processes import ROOT


def schema_of(kind: type, field: str) -> dict[str, int]:
    (schemas, components) = msgspec.json.schema_components([kind])
    properties: dict[str, dict[str, int]] = components[schemas[0]["$ref"].rpartition("/")[2]]["properties"]
    return properties[field]


def test_the_table_of_limits_is_that_of_the_code() -> None:
    section = (ROOT / "docs" / "API.md").read_text().partition("\n## Limits\n")[2]
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", section, re.MULTILINE))
    rows.pop("limit")
    limits = {
        "bytes of a body, decompressed": "`SERVICE_MAX_BODY_BYTES`",
        "bytes of a body of routes that take neither embeddings nor vectors": SMALL_BODY_BYTES,
        "commas, lists and objects of such a body": MAX_SMALL_VALUES,
        "bytes of path, query and headers": MAX_HEAD_BYTES,
        "lines of headers": MAX_HEAD_LINES,
        "embeddings of a batch": uploads.MAX_ROWS,
        "ids of embeddings to read or delete at once": uploads.MAX_IDS,
        "changes of a page": uploads.MAX_CHANGES,
        "ids of a page of digests": uploads.MAX_DIGESTS,
        "embeddings of a page of buckets": uploads.MAX_DIGESTED,
        "characters of a `text_id`": schema_of(EmbeddingIn, "text_id")["maxLength"],
        "dimensions of a vector": MAX_DIMENSIONS,
        "dimensions of a vector that is indexed": MAX_INDEXED_DIMENSIONS,
        "bytes of the metadata of an embedding": uploads.MAX_METADATA_BYTES,
        "levels of the metadata of an embedding": uploads.MAX_METADATA_DEPTH,
        "bytes of a record of a stream": uploads.MAX_RECORD_BYTES,
        "texts of a batch of texts": "`SERVICE_MAX_TEXTS`",
        "bytes of a batch of texts": "`SERVICE_MAX_TEXTS_BYTES`",
        "characters of a text to be embedded": uploads.MAX_TEXT_CHARACTERS,
        "bytes of a metadata schema": MAX_SCHEMA_BYTES,
        "vectors of a search": search.MAX_VECTORS,
        "texts of a search": search.MAX_QUERY_TEXTS,
        "bytes of the texts of a search": search.MAX_QUERY_TEXTS_BYTES,
        "bytes of a filter": search.MAX_FILTER_BYTES,
        "characters of the filter of a page of embeddings": search.MAX_QUERY_FILTER,
        "levels of a filter": search.MAX_FILTER_DEPTH,
        "conditions of a filter": search.MAX_CONDITIONS,
        "values of one `$in` or `$nin`": search.MAX_VALUES,
        "values of all `$in` and `$nin` of a filter": search.MAX_COMPARED,
        "points of a map": MAX_POINTS,
        "characters of a value of the metadata beside a point": MAX_FIELD_CHARACTERS,
        "items of a page": schema_of(Page, "limit")["maximum"],
        "users of a share list": MAX_SHARES,
    }
    assert rows == {name: value if isinstance(value, str) else f"{value:,}" for name, value in limits.items()}
