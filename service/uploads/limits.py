"""Limits of uploads. docs/API.md and docs/OPERATIONS.md list those that clients notice."""

from service.vectors import MAX_DIMENSIONS

# Of a batch
MAX_ROWS = 100_000
OBJECTS_AN_EMBEDDING = 10  # in its JSON, on average, before rows are counted

# Of a batch of texts
OBJECTS_A_TEXT = 100  # in its JSON, on average, before rows are counted
MAX_TEXT_CHARACTERS = 100_000

# Of requests with ids
MAX_IDS = 10_000
MAX_DIGESTS = 10_000
MAX_DIGESTED = 100_000  # in buckets: three seconds at 1,536 dimensions
MAX_CHANGES = 1000
MAX_IDS_BYTES = 4 * 1024 * 1024  # of ids alone take at most 70 MB as a list, briefly

# Of a row
MAX_ID_BYTES = 4096  # 300 characters of up to twelve bytes each, if escaped
MAX_VECTOR_BYTES = 32 * MAX_DIMENSIONS  # a double has at most 24 characters
MAX_METADATA_BYTES = 1024 * 1024
MAX_METADATA_DEPTH = 64

# Of a stream
MAX_RECORD_BYTES = 8 * 1024 * 1024
CHUNK_ROWS = 1000
CHUNK_BYTES = 4 * 1024 * 1024
CHUNK_ROOM = 2 * CHUNK_BYTES  # in admission control: the memory of a chunk
TEXT_CHUNKS_AT_ONCE = 3  # of texts that are embedded concurrently
GROUP_TEXTS = 100  # embedded together: about the size of a provider call
GROUP_CHARACTERS = 256 * 1024
CHUNK_SECONDS = 1.0  # the longest time that a record waits for others in its chunk
MAX_REASONS = 10  # of a bad record
MAX_REASON_LENGTH = 1000  # characters of all of them

# Rows decoded before other requests get a turn: 4 ms at 1,536 dimensions. It also limits the memory for short decimals
# as Python floats.
ROWS_AT_ONCE = 64
ROWS_A_STATEMENT = 5000  # preparing them takes 30 ms
