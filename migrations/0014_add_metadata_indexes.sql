ALTER TABLE project_indexes
    -- Whether the index embeddings_{project_id}_meta_{watermark} exists: a GIN index of the metadata of the same rows,
    -- for filters that few rows pass. It is built last.
    ADD COLUMN metadata_indexed boolean NOT NULL DEFAULT false;
