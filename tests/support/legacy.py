"""Databases of the original system, dhamps-vdb, made from nothing but what is known of its tables.

`build(url, version)` makes one at version 3 or 4 with everything that real ones hold: several users, odd handles,
shared projects, projects with no, one and several linked services, embeddings of several dimensions and of several
owners, NULL metadata, percent-encoded ids, schemas that are no JSON, keys in the clear and sealed ones.
`python -m tests.support.legacy URL VERSION [--rows N --dimensions D]` makes one to try things on.
"""

import hashlib

import click
import numpy as np
import psycopg

from service.provider_keys.keyring import Key

ENCRYPTION_KEY = "enckey-1"
PLAINTEXT = "sk-marked-plaintext-key-51ce"
SEALED = "sk-marked-sealed-key-88d0"
STAMPS = "created_at timestamp NOT NULL, updated_at timestamp NOT NULL"
NOW = "'2025-03-30 02:30:00.123456', '2025-06-01 12:00:00'"

BASE = f"""
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE db_version (version int);
CREATE TABLE users (user_handle varchar(20) PRIMARY KEY, name text, email text UNIQUE NOT NULL,
                    vdb_key char(64) UNIQUE NOT NULL, {STAMPS});
CREATE TABLE vdb_roles (vdb_role varchar(20) PRIMARY KEY);
INSERT INTO vdb_roles VALUES ('owner'), ('editor'), ('reader');
CREATE TABLE projects (project_id serial PRIMARY KEY, project_handle varchar(20) NOT NULL,
                       owner varchar(20) NOT NULL REFERENCES users ON DELETE CASCADE, description text,
                       metadata_scheme text, {STAMPS}, public_read boolean DEFAULT false,
                       UNIQUE (owner, project_handle));
CREATE TABLE users_projects (user_handle varchar(20) NOT NULL REFERENCES users ON DELETE CASCADE,
                             project_id serial NOT NULL REFERENCES projects ON DELETE CASCADE,
                             role varchar(20) NOT NULL REFERENCES vdb_roles, {STAMPS},
                             PRIMARY KEY (user_handle, project_id));
CREATE TABLE key_methods (key_method varchar(20) PRIMARY KEY);
INSERT INTO key_methods VALUES ('auth_bearer'), ('body_form'), ('query_param'), ('custom_header');
CREATE TABLE api_standards (api_standard_handle varchar(20) PRIMARY KEY, description text,
                            key_method varchar(20) NOT NULL REFERENCES key_methods, key_field varchar(20), {STAMPS});
INSERT INTO api_standards VALUES ('openai', 'as the users described it', 'auth_bearer', 'Authorization', {NOW}),
                                 ('ollama', 'local', 'auth_bearer', NULL, {NOW});
INSERT INTO users VALUES
    ('anna', 'Anna', 'anna@example.org', '{hashlib.sha256(b"key of anna").hexdigest()}', {NOW}),
    ('bert', NULL, 'bert@example.org', '{hashlib.sha256(b"key of bert").hexdigest()}', {NOW}),
    ('Zoë van Ää', 'odd', 'zoe@example.org', '{hashlib.sha256(b"key of zoe").hexdigest()}', {NOW});
"""

SERVICES = f"""
CREATE TABLE llm_services (
    llm_service_id serial PRIMARY KEY, llm_service_handle varchar(20) NOT NULL,
    owner varchar(20) NOT NULL REFERENCES users ON DELETE CASCADE, endpoint text NOT NULL, description text,
    api_key text, api_standard varchar(20) NOT NULL REFERENCES api_standards, model text NOT NULL,
    dimensions int NOT NULL, {STAMPS}, UNIQUE (owner, llm_service_handle));
CREATE TABLE users_llm_services (
    user_handle varchar(20) NOT NULL REFERENCES users ON DELETE CASCADE,
    llm_service_id integer NOT NULL REFERENCES llm_services ON DELETE CASCADE,
    role varchar(20) NOT NULL REFERENCES vdb_roles, {STAMPS}, PRIMARY KEY (user_handle, llm_service_id));
CREATE TABLE projects_llm_services (
    project_id integer NOT NULL REFERENCES projects ON DELETE CASCADE,
    llm_service_id integer NOT NULL REFERENCES llm_services ON DELETE CASCADE, {STAMPS},
    PRIMARY KEY (project_id, llm_service_id));
INSERT INTO llm_services (llm_service_handle, owner, endpoint, api_key, api_standard, model, dimensions,
                          created_at, updated_at) VALUES
    ('small', 'anna', 'http://s', '{PLAINTEXT}', 'openai', 's', 3, {NOW}),
    ('large', 'anna', 'http://l', NULL, 'openai', 'l', 8, {NOW}),
    ('odd one', 'Zoë van Ää', '', '', 'ollama', '', 3, {NOW});
INSERT INTO users_llm_services VALUES
    ('anna', 1, 'owner', {NOW}), ('anna', 2, 'owner', {NOW}), ('bert', 1, 'reader', {NOW}), ('bert', 2, 'owner', {NOW}),
    ('Zoë van Ää', 3, 'owner', {NOW});
"""

PROJECTS = f"""
INSERT INTO projects (owner, project_handle, metadata_scheme, public_read, created_at, updated_at) VALUES
    ('anna', 'two', NULL, NULL, {NOW}), ('anna', 'one', 'no JSON', true, {NOW}), ('bert', 'none', NULL, false, {NOW}),
    ('Zoë van Ää', 'a b', '{{"type": "object"}}', false, {NOW}), ('anna', 'empty', NULL, false, {NOW});
INSERT INTO users_projects VALUES
    ('anna', 1, 'owner', {NOW}), ('bert', 1, 'reader', {NOW}), ('Zoë van Ää', 1, 'editor', {NOW}),
    ('anna', 2, 'owner', {NOW}), ('bert', 2, 'owner', {NOW}), ('bert', 3, 'owner', {NOW}),
    ('Zoë van Ää', 4, 'owner', {NOW}), ('anna', 5, 'owner', {NOW});
"""

LINKS = """
INSERT INTO projects_llm_services VALUES
    (1, 2, '2025-01-02', '2025-01-02'), (1, 1, '2025-01-01', '2025-01-01'), (2, 2, '2025-01-01', '2025-01-01'),
    (4, 3, '2025-01-01', '2025-01-01'), (5, 1, '2025-01-01', '2025-01-01');
"""

INSTANCES = f"""
CREATE TABLE definitions (
    definition_id serial PRIMARY KEY, definition_handle varchar(20) NOT NULL,
    owner varchar(20) NOT NULL REFERENCES users ON DELETE CASCADE, endpoint text NOT NULL, description text,
    api_standard varchar(20) NOT NULL REFERENCES api_standards, model text NOT NULL, dimensions int NOT NULL,
    context_limit int NOT NULL, is_public boolean NOT NULL DEFAULT false, {STAMPS}, UNIQUE (owner, definition_handle));
CREATE TABLE definitions_shared_with (
    user_handle varchar(20) NOT NULL REFERENCES users ON DELETE CASCADE,
    definition_id integer NOT NULL REFERENCES definitions ON DELETE CASCADE, {STAMPS},
    PRIMARY KEY (user_handle, definition_id));
CREATE INDEX ON definitions_shared_with (user_handle);
CREATE INDEX ON definitions_shared_with (definition_id);
CREATE TABLE instances (
    instance_id serial CONSTRAINT llm_services_pkey PRIMARY KEY, instance_handle varchar(20) NOT NULL,
    owner varchar(20) NOT NULL CONSTRAINT llm_services_owner_fkey REFERENCES users ON DELETE CASCADE,
    endpoint text NOT NULL, description text,
    api_standard varchar(20) NOT NULL REFERENCES api_standards, model text NOT NULL, dimensions int NOT NULL,
    context_limit int NOT NULL, definition_id integer REFERENCES definitions ON DELETE SET NULL,
    api_key_encrypted bytea, {STAMPS}, CONSTRAINT llm_services_owner_llm_service_handle_key
        UNIQUE (owner, instance_handle));
ALTER SEQUENCE instances_instance_id_seq RENAME TO llm_services_llm_service_id_seq;
CREATE INDEX instances_owner_handle ON instances (owner, instance_handle);
CREATE TABLE instances_shared_with (
    user_handle varchar(20) NOT NULL REFERENCES users ON DELETE CASCADE,
    instance_id integer NOT NULL REFERENCES instances ON DELETE CASCADE,
    role varchar(20) NOT NULL REFERENCES vdb_roles, PRIMARY KEY (user_handle, instance_id));
ALTER TABLE projects ADD COLUMN instance_id integer REFERENCES instances ON DELETE RESTRICT;
INSERT INTO users VALUES ('_system', NULL, 'system@dhamps-vdb.internal', repeat('0', 64), {NOW});
INSERT INTO api_standards VALUES ('cohere', 'c', 'auth_bearer', 'Authorization', {NOW}),
                                 ('gemini', 'g', 'custom_header', 'x-goog-api-key', {NOW});
INSERT INTO definitions (definition_handle, owner, endpoint, api_standard, model, dimensions, context_limit, is_public,
                         created_at, updated_at) VALUES
    ('openai-large', '_system', 'http://old', 'openai', 'text-embedding-3-large', 3072, 8191, true, {NOW}),
    ('openai-small', '_system', 'http://old', 'openai', 'text-embedding-3-small', 1536, 8191, true, {NOW}),
    ('cohere-v4', '_system', 'http://old', 'cohere', 'embed-v4.0', 1536, 128000, true, {NOW}),
    ('gemini-embedding-001', '_system', 'http://old', 'gemini', 'gemini-embedding-001', 3072, 2048, true, {NOW}),
    ('own', 'anna', '', 'openai', 's', 0, 0, false, {NOW});
INSERT INTO definitions_shared_with VALUES ('bert', 5, {NOW});
INSERT INTO instances (instance_handle, owner, endpoint, api_standard, model, dimensions, context_limit, definition_id,
                       api_key_encrypted, created_at, updated_at) VALUES
    ('small', 'anna', 'http://s', 'openai', 's', 3, 0, 5, %s, {NOW}),
    ('large', 'anna', 'http://l', 'openai', 'l', 8, 512, NULL, NULL, {NOW}),
    ('odd one', 'Zoë van Ää', '', 'ollama', '', 3, 0, NULL, NULL, {NOW});
INSERT INTO instances_shared_with VALUES ('anna', 1, 'owner'), ('bert', 1, 'reader'), ('bert', 2, 'owner');
"""

# (text_id, owner, project, service, text, vector, metadata); their numbers are 1, 2, …
EMBEDDINGS = [
    ("https%3A%2F%2Fid.example.org%2FW1%3A1.2", "anna", 1, 1, "a text", "[1,2,3]", '{"k": 1, "deep": {"x": [1.50]}}'),
    ("plain", "anna", 1, 1, None, "[0.1,0.2,0.3]", None),
    ("plain", "anna", 1, 2, None, "[1,2,3,4,5,6,7,8]", None),  # of the project's second service
    ("shared", "bert", 1, 1, "bert's", "[1,0,0]", None),
    ("shared", "anna", 1, 1, "the owner's", "[0,1,0]", None),
    ("by bert only", "bert", 1, 1, None, "[0,0,1]", "{}"),
    ("eight", "anna", 2, 2, None, "[8,7,6,5,4,3,2,1]", None),
    (None, "anna", 2, 2, None, "[8,7,6,5,4,3,2,0]", None),
    ("of three", "anna", 2, 2, None, "[1,2,3]", None),  # other dimensions than its service says
    ("no service", "bert", 3, 1, None, "[1,1,1]", None),
    ("zero", "Zoë van Ää", 4, 3, None, "[0,0,0]", None),
    ("Ünï/cödé ?", "Zoë van Ää", 4, 3, "ü", "[6e-08,65504,-1]", None),
    ("x" * 3000, "Zoë van Ää", 4, 3, None, "[1,2,3]", None),
]
LEFT_OVER = {
    3: ("anna/two", "of another instance than its project"),
    4: ("anna/two", "another one of the same text_id is carried"),
    8: ("anna/one", "no text_id"),
    9: ("anna/one", "of other dimensions than its project"),
    10: ("bert/none", "its project has no instance"),
    11: ("Zoë van Ää/a b", "a zero vector"),
    13: ("Zoë van Ää/a b", "text_id too long"),
}


def build(url: str, version: int, *, rows: int = 0, dimensions: int = 8) -> None:
    """Makes the database; `rows` more embeddings with random vectors go into anna/two's or, of 8, anna/one's."""
    link = {3: "llm_service_id", 4: "instance_id"}[version]
    services = {3: "llm_services", 4: "instances"}[version]
    with psycopg.connect(url) as connection:
        connection.execute(BASE.encode())
        connection.execute("INSERT INTO db_version VALUES (%s)", [version])
        if version == 3:
            connection.execute((SERVICES + PROJECTS + LINKS).encode())
        else:
            sealed = Key(ENCRYPTION_KEY).encrypt(SEALED)
            connection.execute((INSTANCES.replace("%s", f"'\\x{sealed.hex()}'") + PROJECTS).encode())
            connection.execute("UPDATE projects SET instance_id = ('{1,2,NULL,3,1}'::int[])[project_id]")
        connection.execute(
            f"CREATE TABLE embeddings (embeddings_id serial PRIMARY KEY, text_id text, "  # type: ignore[arg-type]
            f"owner varchar(20) NOT NULL REFERENCES users ON DELETE CASCADE, "
            f"project_id int NOT NULL REFERENCES projects ON DELETE CASCADE, "
            f"{link} int NOT NULL REFERENCES {services}, text text, vector halfvec NOT NULL, vector_dim int NOT NULL, "
            f"metadata jsonb, {STAMPS}, UNIQUE (text_id, owner, project_id, {link}))"
        )
        connection.execute("CREATE INDEX ON embeddings (text_id)")
        for number in (384, 768, 1024, 1536, 3072):
            connection.execute(
                f"CREATE INDEX embeddings_vector_{number} ON embeddings USING hnsw "  # type: ignore[arg-type]
                f"((vector::halfvec({number})) halfvec_cosine_ops) WITH (m = 24, ef_construction = 200) "
                f"WHERE vector_dim = {number}"
            )
        for row in EMBEDDINGS:
            connection.execute(
                f"INSERT INTO embeddings (text_id, owner, project_id, {link}, text, vector, vector_dim, metadata, "  # type: ignore[arg-type]
                "created_at, updated_at) VALUES "
                f"(%s, %s, %s, %s, %s, %s::halfvec, vector_dims(%s::halfvec), %s, {NOW})",
                [*row[:6], row[5], row[6]],
            )
        if rows:
            _fill(connection, link, services, rows, dimensions)


def _fill(connection: psycopg.Connection, link: str, services: str, rows: int, dimensions: int) -> None:
    if dimensions != 8:
        connection.execute(f"UPDATE {services} SET dimensions = %s WHERE {link} = 2", [dimensions])  # type: ignore[arg-type]
    # The takeover drops the vector indexes, whatever is in them, and filling one here would take half an hour.
    connection.execute(f"DROP INDEX IF EXISTS embeddings_vector_{dimensions}")  # type: ignore[arg-type]
    connection.execute("CREATE TEMPORARY TABLE examples (number serial, vector halfvec)")
    for vector in np.random.default_rng(1).standard_normal((97, dimensions)).astype(np.float16):
        connection.execute("INSERT INTO examples (vector) VALUES (%s)", ["[" + ",".join(map(str, vector)) + "]"])
    connection.execute(
        "INSERT INTO embeddings (text_id, owner, project_id, "  # type: ignore[arg-type]
        f"{link}, text, vector, vector_dim, metadata, created_at, updated_at) "
        "SELECT 'row-' || n, 'anna', 2, 2, repeat(md5(n::text), 31), vector, %s, jsonb_build_object('n', n), "
        f"{NOW} FROM generate_series(0, %s - 1) AS n JOIN examples ON number = n %% 97 + 1 ORDER BY n",
        [dimensions, rows],
    )


@click.command()
@click.argument("url")
@click.argument("version", type=click.IntRange(3, 4))
@click.option("--rows", default=0)
@click.option("--dimensions", default=8)
def main(url: str, version: int, rows: int, dimensions: int) -> None:
    """Make a database of the original system in the empty database URL."""
    build(url, version, rows=rows, dimensions=dimensions)


if __name__ == "__main__":
    main()
