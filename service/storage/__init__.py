"""What lives between a handler and a statement: tables, vector indexes, locks, the replica."""
