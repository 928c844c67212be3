-- The dialects that the service speaks to providers.
ALTER TABLE api_standards
    DROP CONSTRAINT api_standards_dialect_check,
    ADD CONSTRAINT api_standards_dialect_check
        CHECK (dialect IN ('local', 'openai', 'cohere', 'gemini', 'voyage', 'jina', 'mistral', 'ollama', 'tei'));

UPDATE api_standards SET dialect = api_standard_handle
 WHERE api_standard_handle IN ('openai', 'cohere', 'gemini') AND dialect IS NULL;

INSERT INTO api_standards (api_standard_handle, description, key_method, key_field, dialect)
VALUES ('voyage', 'Voyage AI embeddings API', 'auth_bearer', 'Authorization', 'voyage'),
       ('jina', 'Jina AI embeddings API', 'auth_bearer', 'Authorization', 'jina'),
       ('mistral', 'Mistral AI embeddings API', 'auth_bearer', 'Authorization', 'mistral'),
       ('azure-openai', 'Azure OpenAI embeddings API', 'custom_header', 'api-key', 'openai'),
       ('ollama', 'Ollama, which needs no key', 'auth_bearer', 'Authorization', 'ollama'),
       ('tei', 'Hugging Face Text Embeddings Inference', 'auth_bearer', 'Authorization', 'tei')
    ON CONFLICT (api_standard_handle) DO NOTHING;

-- Budgets: of an instance for all together, of a share for its user.
ALTER TABLE llm_service_instances
    ADD COLUMN tokens_per_day bigint
        CONSTRAINT llm_service_instances_tokens_per_day_check CHECK (tokens_per_day >= 0),
    ADD COLUMN tokens_per_month bigint
        CONSTRAINT llm_service_instances_tokens_per_month_check CHECK (tokens_per_month >= 0),
    ADD COLUMN requests_per_minute integer
        CONSTRAINT llm_service_instances_requests_per_minute_check CHECK (requests_per_minute >= 0),
    ADD COLUMN expires_at timestamptz;

ALTER TABLE llm_service_instances_shared_with
    ADD COLUMN tokens_per_day bigint
        CONSTRAINT llm_service_instances_shared_with_tokens_per_day_check CHECK (tokens_per_day >= 0),
    ADD COLUMN tokens_per_month bigint
        CONSTRAINT llm_service_instances_shared_with_tokens_per_month_check CHECK (tokens_per_month >= 0),
    ADD COLUMN requests_per_minute integer
        CONSTRAINT llm_service_instances_shared_with_requests_per_minute_check CHECK (requests_per_minute >= 0),
    ADD COLUMN expires_at timestamptz;

-- A share that has expired gives no access.
CREATE OR REPLACE VIEW instance_access AS
SELECT instance_id, owner AS user_handle, 'owner'::text AS role
  FROM llm_service_instances
 UNION ALL
SELECT instance_id, user_handle, role::text
  FROM llm_service_instances_shared_with
 WHERE expires_at IS NULL OR expires_at > now();

-- The ledger: the usage of a day (UTC), by caller and by the user whose access it was. The caller may be 'admin' or 'public',
-- which are no handles of users.
CREATE TABLE instance_usage (
    instance_id      integer NOT NULL
        CONSTRAINT instance_usage_instance_id_fkey REFERENCES llm_service_instances ON DELETE CASCADE,
    day              date NOT NULL,
    holder           varchar(64) NOT NULL,
    caller           varchar(64) NOT NULL,
    requests         bigint NOT NULL,
    texts            bigint NOT NULL,
    tokens           bigint NOT NULL,
    estimated_tokens bigint NOT NULL,
    failures         bigint NOT NULL,
    CONSTRAINT instance_usage_pkey PRIMARY KEY (instance_id, day, holder, caller)
);
COMMENT ON COLUMN instance_usage.estimated_tokens IS 'Those of the tokens that the provider did not count.';

-- Tokens that calls under way may spend. One that ended counts as a request for a minute more, one that was killed
-- reserves nothing from `expires_at` on.
CREATE TABLE usage_reservations (
    reservation_id bigint GENERATED ALWAYS AS IDENTITY
        CONSTRAINT usage_reservations_pkey PRIMARY KEY,
    instance_id    integer NOT NULL
        CONSTRAINT usage_reservations_instance_id_fkey REFERENCES llm_service_instances ON DELETE CASCADE,
    holder         varchar(64) NOT NULL,
    tokens         bigint NOT NULL,
    made_at        timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL
);
CREATE INDEX usage_reservations_instance_id ON usage_reservations (instance_id);
