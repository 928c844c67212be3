-- Who calls, in what role, and what a request on a project needs to know of it. Always one row: 'caller' is null for an
-- unknown key, 'project_id' when there is no such project, 'role' when the caller may not see it. As a function, so that
-- a search can ask it in its own statement.
CREATE FUNCTION access_to_project(with_key_hash text, with_admin_key boolean, of_owner text, of_handle text)
RETURNS TABLE (
    caller text, project_id integer, owner text, project_handle text, role text, instance_owner text,
    instance_handle text, dimensions integer, metadata_scheme text, watermark bigint, ef_searches integer[],
    recalls double precision[]
)
LANGUAGE sql STABLE AS $$
    SELECT caller.user_handle::text, project.project_id, project.owner::text, project.project_handle::text,
           CASE WHEN with_admin_key THEN 'admin'
                -- An unknown key gives no role, not even that of the public.
                WHEN with_key_hash IS NOT NULL AND caller.user_handle IS NULL THEN NULL
                ELSE coalesce((SELECT access.role FROM project_access AS access
                                WHERE access.project_id = project.project_id
                                  AND access.user_handle = caller.user_handle),
                              CASE WHEN project.public_read THEN 'public' END) END,
           instance.owner::text, instance.instance_handle::text, instance.dimensions, project.metadata_scheme,
           built.watermark, built.ef_searches, built.recalls
      FROM (VALUES (1)) AS always
      LEFT JOIN users AS caller ON caller.vdb_key = with_key_hash
      LEFT JOIN projects AS project ON project.owner = of_owner AND project.project_handle = of_handle
      LEFT JOIN llm_service_instances AS instance ON instance.instance_id = project.llm_service_instance_id
      LEFT JOIN project_indexes AS built ON built.project_id = project.project_id
$$;
