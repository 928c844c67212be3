-- The encrypted keys stay as they are. Without the ids, each known key is tried on each.
DROP TABLE encryption_sentinel;

-- A plaintext key that is not encrypted yet stays where the original system has it.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM llm_service_instances WHERE api_key IS NOT NULL) THEN
        ALTER TABLE llm_service_instances DROP COLUMN api_key;
    END IF;
END
$$;

ALTER TABLE llm_service_instances
    DROP CONSTRAINT llm_service_instances_api_key_sealed_by_check,
    DROP COLUMN api_key_sealed_by;
