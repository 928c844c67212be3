ALTER TABLE project_indexes
    -- Whether embeddings_{project_id}_meta_{watermark} is there: a GIN index of the metadata of the same rows, which
    -- finds the few that pass a filter. It is built after the others.
    ADD COLUMN metadata_indexed boolean NOT NULL DEFAULT false;
