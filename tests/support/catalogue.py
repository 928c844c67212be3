"""What is in a database: the rows of a statement, and all there is in its schema."""

from collections.abc import Callable
from typing import Any

import psycopg


def rows(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(statement).fetchall()  # type: ignore[call-overload,no-any-return]


def embeddings(url: str, columns: str, order: str = "sequence") -> list[Any]:
    """The rows of all projects' tables."""
    names = rows(
        url, "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relname ~ '^embeddings_[0-9]+$'"
    )
    tables = " UNION ALL ".join(f"SELECT * FROM {name}" for (name,) in names)
    return rows(url, f"SELECT {columns} FROM ({tables}) AS stored ORDER BY {order}") if tables else []


def schema(url: str) -> dict[str, list[Any]]:
    """All there is in a database's schema, from the catalogue, but for yoyo's own tables."""
    with psycopg.connect(url) as connection:
        return _schema(lambda statement: connection.execute(statement).fetchall())  # type: ignore[call-overload,no-any-return]


def _schema(rows: Callable[[str], list[Any]]) -> dict[str, list[Any]]:
    return {
        "columns": rows(
            "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage::text, "
            "pg_get_expr(d.adbin, d.adrelid), co.collname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
            "LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum "
            "LEFT JOIN pg_collation co ON co.oid = a.attcollation "
            "WHERE c.relnamespace = 'public'::regnamespace AND c.relname !~ 'yoyo' AND a.attnum > 0 "
            "AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'S') ORDER BY 1, 2",
        ),
        # In PostgreSQL 18 NOT NULL is a constraint too, whose name remembers former names of its column.
        "constraints": rows(
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text !~ 'yoyo' AND contype <> 'n' "
            "ORDER BY 1, 2",
        ),
        "indexes": rows(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename !~ 'yoyo' ORDER BY 1",
        ),
        "functions": rows(
            "SELECT proname, pg_get_functiondef(p.oid) FROM pg_proc p WHERE pronamespace = 'public'::regnamespace "
            "AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e') ORDER BY 1",
        ),
        "triggers": rows(
            "SELECT tgrelid::regclass::text, pg_get_triggerdef(pg_trigger.oid) FROM pg_trigger "
            "JOIN pg_class ON pg_class.oid = tgrelid "
            "WHERE relnamespace = 'public'::regnamespace AND NOT tgisinternal ORDER BY 1, 2",
        ),
        "views": rows("SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1"),
        "seeds": [
            *rows("SELECT * FROM vdb_roles ORDER BY 1"),
            *rows("SELECT * FROM key_methods ORDER BY 1"),
            *rows("SELECT api_standard_handle, key_method, key_field FROM api_standards ORDER BY 1"),
        ]
        if rows("SELECT to_regclass('users') IS NOT NULL") == [(True,)]
        else [],
    }
