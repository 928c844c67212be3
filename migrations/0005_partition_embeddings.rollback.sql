-- Rows written since migration 0005 go back too, unless migration 0007 was applied before. Rows left over then whose user, project or
-- instance has been deleted meanwhile are deleted with them, as the original schema would have done.
DELETE FROM embeddings_unmigrated AS old
 WHERE NOT EXISTS (SELECT FROM users WHERE user_handle = old.owner)
    OR NOT EXISTS (SELECT FROM projects WHERE project_id = old.project_id)
    OR NOT EXISTS (SELECT FROM llm_service_instances WHERE instance_id = old.instance_id);

INSERT INTO embeddings_unmigrated
    (embeddings_id, text_id, owner, project_id, instance_id, text, vector, vector_dim, metadata,
     created_at, updated_at)
SELECT stored.sequence, stored.text_id, project.owner, stored.project_id, project.llm_service_instance_id,
       stored.text, stored.vector, vector_dims(stored.vector), stored.metadata, stored.created_at, stored.updated_at
  FROM embeddings AS stored
  JOIN projects AS project USING (project_id)
    ON CONFLICT (text_id, owner, project_id, instance_id) DO UPDATE
   SET embeddings_id = excluded.embeddings_id, text = excluded.text, vector = excluded.vector,
       vector_dim = excluded.vector_dim, metadata = excluded.metadata,
       created_at = excluded.created_at, updated_at = excluded.updated_at;

SELECT setval('embeddings_embeddings_id_seq', last_value, is_called) FROM embeddings_sequence;

DROP TABLE embeddings;
DROP FUNCTION drop_embeddings_partition(integer);
DROP FUNCTION fit_embeddings_partition(integer, integer);
DROP SEQUENCE embeddings_sequence;

ALTER TABLE embeddings_unmigrated
    ADD CONSTRAINT embeddings_owner_fkey FOREIGN KEY (owner) REFERENCES users ON DELETE CASCADE,
    ADD CONSTRAINT embeddings_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects ON DELETE CASCADE,
    ADD CONSTRAINT embeddings_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES llm_service_instances;
ALTER TABLE embeddings_unmigrated RENAME CONSTRAINT embeddings_unmigrated_pkey TO embeddings_pkey;
ALTER TABLE embeddings_unmigrated RENAME TO embeddings;
CREATE INDEX embeddings_text_id ON embeddings (text_id);
CREATE INDEX embeddings_vector_384 ON embeddings
    USING hnsw ((vector::halfvec(384)) halfvec_cosine_ops) WITH (m = 24, ef_construction = 200)
    WHERE vector_dim = 384;
CREATE INDEX embeddings_vector_768 ON embeddings
    USING hnsw ((vector::halfvec(768)) halfvec_cosine_ops) WITH (m = 24, ef_construction = 200)
    WHERE vector_dim = 768;
CREATE INDEX embeddings_vector_1024 ON embeddings
    USING hnsw ((vector::halfvec(1024)) halfvec_cosine_ops) WITH (m = 24, ef_construction = 200)
    WHERE vector_dim = 1024;
CREATE INDEX embeddings_vector_1536 ON embeddings
    USING hnsw ((vector::halfvec(1536)) halfvec_cosine_ops) WITH (m = 24, ef_construction = 200)
    WHERE vector_dim = 1536;
CREATE INDEX embeddings_vector_3072 ON embeddings
    USING hnsw ((vector::halfvec(3072)) halfvec_cosine_ops) WITH (m = 24, ef_construction = 200)
    WHERE vector_dim = 3072;
