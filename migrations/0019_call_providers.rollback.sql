DROP TABLE usage_reservations;
DROP TABLE instance_usage;

CREATE OR REPLACE VIEW instance_access AS
SELECT instance_id, owner AS user_handle, 'owner'::text AS role
  FROM llm_service_instances
 UNION ALL
SELECT instance_id, user_handle, role::text
  FROM llm_service_instances_shared_with;

-- A share that has expired must not come back.
DELETE FROM llm_service_instances_shared_with WHERE expires_at <= now();
ALTER TABLE llm_service_instances_shared_with
    DROP COLUMN tokens_per_day, DROP COLUMN tokens_per_month, DROP COLUMN requests_per_minute, DROP COLUMN expires_at;
ALTER TABLE llm_service_instances
    DROP COLUMN tokens_per_day, DROP COLUMN tokens_per_month, DROP COLUMN requests_per_minute, DROP COLUMN expires_at;

-- A standard with definitions or instances stays.
DELETE FROM api_standards
 WHERE api_standard_handle IN ('voyage', 'jina', 'mistral', 'azure-openai', 'ollama', 'tei')
   AND NOT EXISTS (SELECT FROM llm_service_definitions WHERE api_standard = api_standard_handle)
   AND NOT EXISTS (SELECT FROM llm_service_instances WHERE api_standard = api_standard_handle);
UPDATE api_standards SET dialect = NULL WHERE dialect <> 'local';
ALTER TABLE api_standards
    DROP CONSTRAINT api_standards_dialect_check,
    ADD CONSTRAINT api_standards_dialect_check CHECK (dialect IN ('local'));
