"""The binder: placeholders, and what it refuses at import."""

from pathlib import Path

import pytest

from service.database import statements
from service.database.statements import BindError, Queries, Statement


def test_parameters_are_numbered_in_the_order_of_their_first_use() -> None:
    statement = Statement("X", "one", "SELECT @b::int, @a::text, @b::int")
    assert statement.parameters == ["b", "a"]
    assert statement.render({}) == "SELECT $1::int, $2::text, $1::int"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a @> b",
        "SELECT a <@ b",
        "SELECT a @@ b",
        "SELECT a @? '$.x'",
        "SELECT a <@b",
        "SELECT a @@b",
        "SELECT '@not', 'it''s @not either'",
        'SELECT "@not"',
        "SELECT $$ @not $$, $body$ @not {neither} $body$",
        "SELECT '{not}'",
        "SELECT x::text",
    ],
)
def test_what_only_looks_like_a_placeholder_stays(text: str) -> None:
    statement = Statement("X", "one", text)
    assert statement.parameters == []
    assert statement.literals == []
    assert statement.render({}) == text


def test_comments_are_left_out_with_what_looks_like_placeholders_in_them() -> None:
    statement = Statement("X", "one", "SELECT 1 -- @a {b}\n /* @c */ , @d::int")
    assert statement.parameters == ["d"]
    assert statement.literals == []
    assert "@" not in statement.render({})


def test_operators_beside_a_parameter() -> None:
    statement = Statement("X", "one", "SELECT m @> @wanted::jsonb AND a <@ @all::int[]")
    assert statement.render({}) == "SELECT m @> $1::jsonb AND a <@ $2::int[]"


def test_a_literal_is_an_integer_in_the_text() -> None:
    statement = Statement("X", "one", "SELECT @a::int FROM embeddings_{n} WHERE {n} = 1")
    assert statement.render({"n": 42, "a": 1}) == "SELECT $1::int FROM embeddings_42 WHERE 42 = 1"
    assert Statement("X", "exec", "DROP INDEX e_{kind}").render({"kind": "hnsw"}) == "DROP INDEX e_hnsw"


@pytest.mark.parametrize("value", ["1", "1; DROP TABLE users", "Hnsw", "", 1.0, True, None, -1])
def test_a_literal_is_nothing_but_an_integer_or_a_word(value: object) -> None:
    statement = Statement("X", "one", "SELECT {n}")
    with pytest.raises(TypeError, match="must be an integer"):
        statement.render({"n": value})


@pytest.fixture
def queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queries:
    (tmp_path / "things.sql").write_text(
        "-- Things.\n\n-- name: GetThing :one\n-- One.\nSELECT @id::int;\n\n-- name: GetThings :many\nSELECT 1;\n"
    )
    monkeypatch.setattr(statements, "folder", lambda _: tmp_path)
    return Queries("somewhere.things")


def test_a_function_without_a_statement_is_refused(queries: Queries) -> None:
    async def get_other(db: object, *, id: int) -> int | None: ...  # noqa: A002

    with pytest.raises(BindError, match="no statement for get_other"):
        queries(get_other)


def test_differing_parameters_are_refused(queries: Queries) -> None:
    async def get_thing(db: object, *, identity: int) -> int | None: ...

    with pytest.raises(BindError, match="differ in id, identity"):
        queries(get_thing)


def test_positional_parameters_are_refused(queries: Queries) -> None:
    async def get_thing(db: object, id: int) -> int | None: ...  # noqa: A002

    with pytest.raises(BindError, match="keyword-only"):
        queries(get_thing)


def test_a_return_type_that_does_not_fit_the_kind_is_refused(queries: Queries) -> None:
    async def get_thing(db: object, *, id: int) -> None: ...  # noqa: A002

    with pytest.raises(BindError, match=":one"):
        queries(get_thing)

    async def get_things(db: object) -> int | None: ...

    with pytest.raises(BindError, match=":many"):
        queries(get_things)


def test_two_statements_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "things.sql").write_text("-- name: A :one\nSELECT 1;\n-- name: A :one\nSELECT 2;\n")
    monkeypatch.setattr(statements, "folder", lambda _: tmp_path)
    with pytest.raises(BindError, match="two statements"):
        statements.read("things")
