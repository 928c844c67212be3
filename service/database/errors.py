"""Conversion of database errors to the errors for clients."""

import traceback
from collections.abc import Callable

import asyncpg

from service.database.session import UnsupportedDatabase
from service.errors import ApiError, BadRequest, Conflict, Invalid, NotFound, Problem, Unavailable
from service.observability.logs import logger

# Of statements on a database with an older schema, or without one
NOT_MIGRATED = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError)
StillUsed = asyncpg.ForeignKeyViolationError  # of a deletion
# Of a database that is unavailable, or whose schema is missing for a while, as during a restore
LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, UnsupportedDatabase)
READ_ONLY = "The database is read-only at the moment. Nothing was changed; try again."


def _says(kind: type[ApiError], message: str, location: str | None = None) -> Callable[[], ApiError]:
    return lambda: kind(message, [Problem(message, location)] if location else None)


_UNKNOWN_USER_OF_SHARE = _says(BadRequest, "There is no user of that name to share with.", "body.share_with_handle")
# The error for each named constraint that a request can violate.
REFUSALS: dict[str, Callable[[], ApiError]] = {
    "users_email_key": _says(Conflict, "Another user has this e-mail address.", "body.email"),
    "projects_owner_fkey": _says(NotFound, "There is no user of that name."),
    "projects_owner_project_handle_key": _says(Conflict, "The user already has a project of that name."),
    "projects_llm_service_instance_id_fkey": _says(Conflict, "A project still uses this instance."),
    "projects_dimensions_fixed": _says(
        Conflict, "The number of dimensions cannot change while a project holds embeddings of another number."
    ),
    "users_projects_user_handle_fkey": _says(BadRequest, "There is no user of that name to share with."),
    "llm_service_definitions_shared_with_user_handle_fkey": _UNKNOWN_USER_OF_SHARE,
    "llm_service_instances_shared_with_user_handle_fkey": _UNKNOWN_USER_OF_SHARE,
    "llm_service_definitions_owner_fkey": _says(NotFound, "There is no user of that name."),
    "llm_service_definitions_api_standard_fkey": _says(Invalid, "There is no such API standard.", "body.api_standard"),
    "llm_service_instances_owner_fkey": _says(NotFound, "There is no user of that name."),
    "llm_service_instances_definition_id_fkey": _says(NotFound, "The definition has just been deleted."),
    "llm_service_instances_api_standard_fkey": _says(Invalid, "There is no such API standard.", "body.api_standard"),
    "project_maps_project_id_fkey": _says(NotFound, "The project has just been deleted."),
    "embeddings_dimensions_check": _says(
        BadRequest, "The project's number of dimensions has just changed; its vectors must have the new one."
    ),
}


def explain(error: Exception) -> ApiError | None:
    """The error for the client; None for an internal error."""
    match error:
        case ApiError():
            return error
        case asyncpg.IntegrityConstraintViolationError(constraint_name=name) if name in REFUSALS:
            return REFUSALS[name]()
        case asyncpg.NotNullViolationError(column_name=column):
            return Invalid(problems=[Problem("is required", f"body.{column}")])
        case asyncpg.StringDataRightTruncationError():
            return Invalid("A text is longer than what can be stored.")
        case asyncpg.CharacterNotInRepertoireError() | asyncpg.UntranslatableCharacterError():
            return Invalid("A text contains a NUL, which cannot be stored.")
        case asyncpg.DataError(sqlstate="22000") if "dimensions" in str(error):
            # pgvector compares vectors of different lengths: they changed after the guard, in a search.
            return REFUSALS["embeddings_dimensions_check"]()
        case asyncpg.ReadOnlySQLTransactionError():
            return Unavailable(READ_ONLY)
        case asyncpg.UndefinedTableError():  # the table was dropped during the request
            return NotFound("The project has just been deleted.")
        case (
            asyncpg.QueryCanceledError()
            | asyncpg.LockNotAvailableError()
            | asyncpg.DeadlockDetectedError()
            | asyncpg.SerializationError()
        ):
            return Unavailable("The database was too busy; nothing was changed. Try again.")
        case (
            asyncpg.PostgresConnectionError()
            | asyncpg.OperatorInterventionError()
            | asyncpg.InsufficientResourcesError()
            | asyncpg.ObjectNotInPrerequisiteStateError()  # the database accepts no connections
            | asyncpg.InvalidCatalogNameError()
            | asyncpg.InvalidAuthorizationSpecificationError()
            | asyncpg.InterfaceError()
            | asyncpg.InternalClientError()  # the server closed an idle connection
            | OSError()
            | UnsupportedDatabase()  # its schema is missing for a while, as during a restore
        ):
            return Unavailable()
        case _:
            return None


def reported(error: Exception) -> ApiError:
    """The error for the client. An internal one is logged, and not shown."""
    known = explain(error)
    if known is not None:
        return known
    # Without the message of a database error, which may contain whole rows.
    what = f"SQLSTATE {error.sqlstate}" if isinstance(error, asyncpg.PostgresError) else str(error)
    stack = "".join(traceback.format_tb(error.__traceback__))
    logger.error("fault", kind=type(error).__name__, error=what, stack=stack)
    return ApiError()
