-- A database of the original system at version 3 becomes what migration 0003 leaves.

SELECT pg_temp.name_constraint('llm_services', 'p', '{llm_service_id}', 'llm_services_pkey'),
       pg_temp.name_constraint('llm_services', 'f', '{owner}', 'llm_services_owner_fkey'),
       pg_temp.name_constraint('llm_services', 'f', '{api_standard}', 'llm_services_api_standard_fkey'),
       pg_temp.name_constraint('llm_services', 'u', '{owner,llm_service_handle}',
                               'llm_services_owner_llm_service_handle_key'),
       pg_temp.name_sequence('llm_services', 'llm_service_id', 'llm_services_llm_service_id_seq'),
       pg_temp.name_constraint('embeddings', 'f', '{llm_service_id}', 'embeddings_llm_service_id_fkey'),
       pg_temp.name_constraint('embeddings', 'u', '{text_id,owner,project_id,llm_service_id}',
                               'embeddings_text_id_owner_project_id_llm_service_id_key');
