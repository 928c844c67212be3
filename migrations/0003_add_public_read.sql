-- A project can be read by anyone.
ALTER TABLE projects ADD COLUMN public_read boolean DEFAULT false;
