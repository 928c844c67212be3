-- The indexes themselves stay with their partitions: they are not used, and not kept up to date.
DROP FUNCTION empty_embeddings_partition(integer);
DROP FUNCTION cancel_index_build(integer);
DROP TABLE project_indexes;
