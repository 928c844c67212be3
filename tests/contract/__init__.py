"""Black-box tests of the HTTP contract: they know the service only by its address and the admin's key."""
