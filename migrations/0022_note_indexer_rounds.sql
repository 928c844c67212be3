-- The end of the last round of any indexer: the metrics of all services show whether an indexer runs anywhere.
CREATE TABLE indexer_state (
    only_row   boolean NOT NULL DEFAULT true
        CONSTRAINT indexer_state_pkey PRIMARY KEY
        CONSTRAINT indexer_state_only_row_check CHECK (only_row),
    last_round timestamptz NOT NULL
);
-- The time of the migration, until the first round.
INSERT INTO indexer_state (last_round) VALUES (now());
