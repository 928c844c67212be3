DROP TABLE indexer_state;
