-- What requests at the same time could break: the dimensions of an instance and of its projects; and what nobody may own.

-- Fits the partitions of all projects of an instance to its dimensions, which the caller has just changed, and so locked.
-- In a function of its own, because its statement sees also the projects that came while the caller waited for the lock.
CREATE FUNCTION fit_projects_of_instance(of_instance integer, dimensions integer) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM fit_embeddings_partition(project.project_id, dimensions)
       FROM projects AS project
      WHERE project.llm_service_instance_id = of_instance
      ORDER BY project.project_id;
    RETURN true;
END
$$;

-- _system owns the built-in definitions, and nothing else: it cannot be deleted, so neither could what it has. Rows that
-- are there already are left alone.
ALTER TABLE projects
    ADD CONSTRAINT projects_owner_is_somebody CHECK (owner <> '_system') NOT VALID;
ALTER TABLE llm_service_instances
    ADD CONSTRAINT llm_service_instances_owner_is_somebody CHECK (owner <> '_system') NOT VALID;
ALTER TABLE users_projects
    ADD CONSTRAINT users_projects_user_is_somebody CHECK (user_handle <> '_system') NOT VALID;
ALTER TABLE llm_service_instances_shared_with
    ADD CONSTRAINT llm_service_instances_shared_with_user_is_somebody CHECK (user_handle <> '_system') NOT VALID;
ALTER TABLE llm_service_definitions_shared_with
    ADD CONSTRAINT llm_service_definitions_shared_with_user_is_somebody CHECK (user_handle <> '_system') NOT VALID;
