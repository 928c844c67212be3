"""What lives between a handler and a statement: partitions, vector indexes, locks, the replica."""
