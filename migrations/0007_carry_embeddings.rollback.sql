DROP FUNCTION carry_embeddings_back(integer, text, integer);
DROP FUNCTION carry_embeddings(integer);
DROP VIEW embeddings_to_carry;
DROP FUNCTION make_missing_partitions(integer);
ALTER TABLE embeddings_unmigrated DROP CONSTRAINT embeddings_unmigrated_project_id_fkey;
DROP INDEX embeddings_unmigrated_project_id;
DROP INDEX embeddings_unmigrated_waiting;
ALTER TABLE embeddings_unmigrated DROP COLUMN obstacle;
