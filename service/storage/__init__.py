"""Tables, vector indexes, maps, locks, and the replica."""
