ALTER TABLE project_indexes DROP COLUMN measured_with, DROP COLUMN measured_at;
