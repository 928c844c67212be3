"""Statements of `sql/metadata_indexes.sql`: building the metadata indexes of a project."""

from service.database.statements import Db, Queries

query = Queries(__name__)


@query
async def build_metadata_index(db: Db, *, project_id: int, watermark: int) -> None:
    """Builds the metadata index of the rows up to a watermark."""


@query
async def drop_metadata_index(db: Db, *, project_id: int, watermark: int) -> None:
    """Drops a metadata index if it exists."""


@query
async def build_terms_index(db: Db, *, project_id: int, watermark: int) -> None:
    """Builds the index of the terms of metadata of the rows up to a watermark."""


@query
async def omit_terms_from_statistics(db: Db, *, project_id: int, watermark: int) -> None:
    """Makes ANALYZE ignore an index of terms."""


@query
async def drop_terms_index(db: Db, *, project_id: int, watermark: int) -> None:
    """Drops an index of terms if it exists."""


@query
async def sample_more_metadata(db: Db, *, project_id: int) -> None:
    """Increases the sample of a project's metadata in ANALYZE."""


@query
async def note_metadata_index(db: Db, *, project_id: int, watermark: int) -> int:
    """Activates the metadata index for searches."""


@query
async def note_terms_index(db: Db, *, project_id: int, watermark: int) -> int:
    """Activates the index of terms for searches."""
