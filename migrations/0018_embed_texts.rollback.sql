ALTER TABLE projects DROP COLUMN text_search;
DELETE FROM llm_service_definitions WHERE owner = '_system' AND definition_handle = 'local-small';
-- The standard stays if it has definitions or instances.
DELETE FROM api_standards
 WHERE api_standard_handle = 'local'
   AND NOT EXISTS (SELECT FROM llm_service_definitions WHERE api_standard = 'local')
   AND NOT EXISTS (SELECT FROM llm_service_instances WHERE api_standard = 'local');
ALTER TABLE api_standards DROP COLUMN dialect;
