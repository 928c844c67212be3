-- The ENCRYPTION_KEY of each encrypted value, so that it can be rotated while the service runs.

-- The id of the key (service/provider_keys/keyring.py). NULL: encrypted as by the original system, without associated data.
ALTER TABLE llm_service_instances
    ADD COLUMN api_key_sealed_by text,
    ADD CONSTRAINT llm_service_instances_api_key_sealed_by_check
        CHECK (api_key_sealed_by IS NULL OR api_key_encrypted IS NOT NULL);

-- Some databases of the original system hold plaintext keys in this column, until `keys encrypt` seals them.
-- Nothing else writes it.
ALTER TABLE llm_service_instances ADD COLUMN IF NOT EXISTS api_key text;

-- A known text, encrypted: it decrypts only with the right key.
CREATE TABLE encryption_sentinel (
    only_row  boolean NOT NULL DEFAULT true
        CONSTRAINT encryption_sentinel_pkey PRIMARY KEY
        CONSTRAINT encryption_sentinel_only_row_check CHECK (only_row),
    key_id    text NOT NULL,
    sealed    bytea NOT NULL
);
