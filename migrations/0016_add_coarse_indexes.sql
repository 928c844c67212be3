-- Before a large project has its graph (hnsw), which takes minutes, it has a coarse index (ivfflat), which takes seconds.
-- Its recalls are not in the columns of a graph's: an older version of the service, which may still run, must not take it
-- for one. Without recalls it searches exactly.
ALTER TABLE project_indexes
    -- The number of lists of a coarse index; 0 for a graph.
    ADD COLUMN lists integer NOT NULL DEFAULT 0,
    -- Numbers of lists to read, and the recall with each.
    ADD COLUMN probes integer[] NOT NULL DEFAULT '{}',
    ADD COLUMN probe_recalls double precision[] NOT NULL DEFAULT '{}';
