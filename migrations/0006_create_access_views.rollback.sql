DROP VIEW definition_access;
DROP VIEW instance_access;
DROP VIEW project_access;
