"""Limits of searches; docs/API.md has the table."""

MAX_VECTORS = 1000
MAX_QUERY_TEXTS = 100
MAX_QUERY_TEXTS_BYTES = 1024 * 1024

# Of a filter
MAX_FILTER_BYTES = 64 * 1024
MAX_FILTER_DEPTH = 10
MAX_CONDITIONS = 100
MAX_VALUES = 1000  # of one $in
MAX_COMPARED = 2000  # values of all $in and $nin, each compared with each value at the path
MAX_PATH_LENGTH = 1000  # characters of a field's path
# Of a condition that the index of the terms of metadata supports (migration 0023)
MAX_INDEXED_PATH = 100
MAX_INDEXED_STEPS = 5
MAX_SPANS = 10  # ranges and fields of which one must match
MAX_QUERY_FILTER = 4000  # characters in a URL, with up to 12 bytes each of the 64 KiB of a head
