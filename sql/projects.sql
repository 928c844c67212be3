-- Projects, access to them, and their tables embeddings_{project_id}.

-- name: RetrieveProjectAccess :one
SELECT caller.user_handle::text AS caller, project.project_id, project.owner::text, project.project_handle::text,
       CASE WHEN @is_admin::bool THEN 'admin'
            -- An unknown key has no access, not even to public projects.
            WHEN @key_hash::text IS NOT NULL AND caller.user_handle IS NULL THEN 'none'
            ELSE coalesce((SELECT access.role FROM project_access AS access
                            WHERE access.project_id = project.project_id
                              AND access.user_handle = caller.user_handle),
                          CASE WHEN project.public_read THEN 'public' ELSE 'none' END) END AS role,
       caller.user_handle::text AS caller,
       coalesce(instance.owner, '')::text AS instance_owner,
       coalesce(instance.instance_handle, '')::text AS instance_handle,
       coalesce(instance.dimensions, 0) AS dimensions, project.metadata_scheme, built.watermark,
       coalesce(CASE WHEN built.lists > 0 THEN built.probes ELSE built.ef_searches END, '{}') AS efforts,
       coalesce(CASE WHEN built.lists > 0 THEN built.probe_recalls ELSE built.recalls END, '{}') AS recalls,
       built.exact_seconds, coalesce(built.lists, 0) AS lists, built.measured_at,
       instance.instance_id, coalesce(project.text_search, '') AS text_search,
       coalesce(built.indexed_rows, 0) AS indexed_rows, coalesce(built.metadata_indexed, false) AS metadata_indexed,
       coalesce(built.terms_watermark = built.watermark, false) AS terms_indexed
  FROM (VALUES (1)) AS always
  LEFT JOIN users AS caller ON caller.vdb_key = @key_hash::text
  LEFT JOIN projects AS project ON project.owner = @owner::text AND project.project_handle = @project_handle::text
  LEFT JOIN llm_service_instances AS instance ON instance.instance_id = project.llm_service_instance_id
  LEFT JOIN project_indexes AS built ON built.project_id = project.project_id;

-- name: UpsertProject :one
-- The owner needs access to the instance, unless the project already uses it: an owner who lost access must still be
-- able to make the project private. The locks prevent changes of the dimensions of the old and the new instance.
WITH locked AS MATERIALIZED (
    SELECT instance.instance_id, instance.owner, instance.instance_handle
      FROM llm_service_instances AS instance
     WHERE (instance.owner = @instance_owner::text AND instance.instance_handle = @instance_handle::text)
        OR instance.instance_id = (SELECT project.llm_service_instance_id FROM projects AS project
                                    WHERE project.owner = @owner::text
                                      AND project.project_handle = @project_handle::text)
     ORDER BY instance.instance_id
       FOR SHARE
), instance AS (
    SELECT instance.instance_id
      FROM locked AS instance
     WHERE instance.owner = @instance_owner::text AND instance.instance_handle = @instance_handle::text
       AND (EXISTS (SELECT FROM instance_access AS access
                     WHERE access.instance_id = instance.instance_id AND access.user_handle = @owner::text)
            OR EXISTS (SELECT FROM projects AS project
                        WHERE project.llm_service_instance_id = instance.instance_id
                          AND project.owner = @owner::text AND project.project_handle = @project_handle::text))
), stored AS (
    INSERT INTO projects (owner, project_handle, description, metadata_scheme, public_read, text_search,
                          llm_service_instance_id)
    SELECT @owner::text, @project_handle::text, @description::text, @metadata_scheme::text,
           coalesce(@public_read::bool, false), coalesce(@text_search::text, 'editors'), instance.instance_id
      FROM instance
    ON CONFLICT (owner, project_handle) DO UPDATE
       SET description = excluded.description, metadata_scheme = excluded.metadata_scheme,
           public_read = coalesce(@public_read::bool, projects.public_read),
           text_search = coalesce(@text_search::text, projects.text_search),
           llm_service_instance_id = excluded.llm_service_instance_id, updated_at = now()
    RETURNING owner, project_handle, project_id, public_read
), shared AS (
    INSERT INTO users_projects (user_handle, project_id, role)
    SELECT share.user_handle, stored.project_id, share.role
      FROM stored, unnest(@share_users::text[], @share_roles::text[]) AS share (user_handle, role)
    ON CONFLICT (user_handle, project_id) DO UPDATE SET role = excluded.role, updated_at = now()
), unshared AS (
    DELETE FROM users_projects AS share
     USING stored
     WHERE share.project_id = stored.project_id AND share.user_handle <> ALL (@share_users::text[])
)
SELECT stored.owner, stored.project_handle, stored.project_id, stored.public_read, @role::text AS role
  FROM stored;

-- name: FitTable :exec
SELECT fit_embeddings_partition(project.project_id, instance.dimensions)
  FROM projects AS project
  JOIN llm_service_instances AS instance ON instance.instance_id = project.llm_service_instance_id
 WHERE project.project_id = @project_id::int;

-- name: GetProjectsByUser :many
-- Without duplicates: an owner has no share.
SELECT project.project_id
  FROM project_access AS access
  JOIN projects AS project USING (project_id)
 WHERE access.user_handle = @user_handle::text
 ORDER BY project.owner, project.project_handle
 LIMIT @max_rows::int OFFSET @skip::bigint;

-- name: GetAllProjects :many
SELECT project_id FROM projects ORDER BY owner, project_handle LIMIT @max_rows::int OFFSET @skip::bigint;

-- name: GetLargestProjects :many
SELECT counts.project_id
  FROM embedding_counts AS counts
  LEFT JOIN (SELECT project_id, sum(embeddings) AS embeddings FROM embedding_count_deltas GROUP BY project_id) AS delta
       USING (project_id)
 WHERE counts.embeddings IS NOT NULL
 ORDER BY counts.embeddings + coalesce(delta.embeddings, 0) DESC, counts.project_id
 LIMIT @max_rows::int;

-- name: DescribeProjects :many
SELECT project.owner, project.project_handle, project.project_id, project.public_read,
       coalesce(access.role, 'admin') AS role,
       count_embeddings(project.project_id) AS number_of_embeddings, project.text_search, project.description,
       instance.owner, instance.instance_handle, instance.dimensions, instance.model
  FROM unnest(@project_ids::int[]) WITH ORDINALITY AS listed (project_id, place)
  JOIN projects AS project ON project.project_id = listed.project_id
  LEFT JOIN project_access AS access ON access.project_id = project.project_id AND access.user_handle = @caller::text
  LEFT JOIN llm_service_instances AS instance ON instance.instance_id = project.llm_service_instance_id
 WHERE @caller::text IS NULL OR access.role IS NOT NULL
 ORDER BY listed.place;

-- name: RetrieveProject :one
SELECT project.owner, project.project_handle, project.project_id, project.public_read, @role::text AS role,
       count_embeddings(project.project_id) AS number_of_embeddings, project.text_search,
       counted.changes + (SELECT coalesce(sum(delta.changes), 0)::bigint
                            FROM embedding_count_deltas AS delta
                           WHERE delta.project_id = project.project_id) AS changes,
       counted.log::text AS log,
       CASE WHEN instance.instance_id IS NOT NULL THEN jsonb_build_object(
           'owner', instance.owner, 'instance_handle', instance.instance_handle,
           'instance_id', instance.instance_id,
           'access_role', (SELECT access.role FROM instance_access AS access
                            WHERE access.instance_id = instance.instance_id
                              AND access.user_handle = @caller::text)) END AS instance,
       project.description, project.metadata_scheme,
       CASE WHEN @role::text IN ('owner', 'admin') THEN
           (SELECT coalesce(jsonb_agg(to_jsonb(share) ORDER BY share.user_handle), '[]')
              FROM users_projects AS share
             WHERE share.project_id = project.project_id) END AS shared_with
  FROM projects AS project
  LEFT JOIN llm_service_instances AS instance ON instance.instance_id = project.llm_service_instance_id
  LEFT JOIN embedding_counts AS counted ON counted.project_id = project.project_id
 WHERE project.project_id = @project_id::int;

-- name: RetrieveProjectSize :one
SELECT project_id, count_embeddings(project_id) AS number_of_embeddings
  FROM projects
 WHERE owner = @owner::text AND project_handle = @project_handle::text;

-- name: DeleteProject :one
DELETE FROM projects WHERE owner = @owner::text AND project_handle = @project_handle::text
RETURNING project_id;

-- name: DropTable :exec
-- First cancels the build of an index, which may lock the table for hours.
SELECT CASE WHEN cancel_index_build(@project_id::int) THEN drop_embeddings_partition(@project_id::int) END;

-- name: GetOrphanedTables :many
SELECT project_id FROM deleted_projects ORDER BY project_id;

-- name: LockProject :one
-- Not FOR UPDATE, which could deadlock with the deletion of an instance.
SELECT jsonb_build_object(
           'project_handle', project.project_handle, 'description', project.description,
           'metadataScheme', project.metadata_scheme, 'public_read', project.public_read,
           'text_search', project.text_search,
           'instance_owner', instance.owner, 'instance_handle', instance.instance_handle)
  FROM projects AS project
  LEFT JOIN llm_service_instances AS instance ON instance.instance_id = project.llm_service_instance_id
 WHERE project.owner = @owner::text AND project.project_handle = @project_handle::text
   FOR NO KEY UPDATE OF project;

-- name: ShareProject :one
INSERT INTO users_projects (user_handle, project_id, role)
SELECT @user_handle::text, project_id, @role::text
  FROM (SELECT project_id FROM projects
         WHERE owner = @owner::text AND project_handle = @project_handle::text
           FOR KEY SHARE) AS project
    ON CONFLICT (user_handle, project_id) DO UPDATE SET role = excluded.role, updated_at = now()
RETURNING project_id;

-- name: UnshareProject :one
DELETE FROM users_projects AS share
 USING projects AS project
 WHERE project.owner = @owner::text AND project.project_handle = @project_handle::text
   AND share.project_id = project.project_id AND share.user_handle = @user_handle::text
RETURNING share.project_id;

-- name: GetSharedUsersForProject :one
SELECT (SELECT coalesce(jsonb_agg(to_jsonb(share) ORDER BY share.user_handle), '[]')
          FROM users_projects AS share
         WHERE share.project_id = project.project_id)
  FROM projects AS project
 WHERE project.owner = @owner::text AND project.project_handle = @project_handle::text;

-- name: TransferProject :one
-- A share of the new owner ends. Nobody else may embed texts until the new owner permits it, whose share of the instance,
-- or whose instance, pays for them: otherwise a user whose share has ended could go on with the help of another one.
WITH project AS (
    SELECT project.project_id,
           project.llm_service_instance_id IS NULL
        OR EXISTS (SELECT FROM instance_access AS access
                    WHERE access.instance_id = project.llm_service_instance_id
                      AND access.user_handle = @new_owner::text) AS fits
      FROM projects AS project
     WHERE project.owner = @owner::text AND project.project_handle = @project_handle::text
       FOR UPDATE OF project
), unshared AS (
    DELETE FROM users_projects AS share
     USING project
     WHERE project.fits AND share.project_id = project.project_id AND share.user_handle = @new_owner::text
), demoted AS (
    UPDATE users_projects AS share
       SET role = 'reader', updated_at = now()
      FROM project
     WHERE project.fits AND share.project_id = project.project_id AND share.role <> 'reader'
       AND share.user_handle <> @new_owner::text
), moved AS (
    UPDATE projects
       SET owner = @new_owner::text, text_search = 'editors', updated_at = now()
      FROM project
     WHERE project.fits AND projects.project_id = project.project_id
)
SELECT fits, project_id FROM project;
