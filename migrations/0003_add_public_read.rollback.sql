ALTER TABLE projects DROP COLUMN public_read;
