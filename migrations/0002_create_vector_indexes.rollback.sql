DROP INDEX embeddings_vector_384;
DROP INDEX embeddings_vector_768;
DROP INDEX embeddings_vector_1024;
DROP INDEX embeddings_vector_1536;
DROP INDEX embeddings_vector_3072;
