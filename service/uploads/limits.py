"""Limits of uploads. docs/API.md and docs/OPERATIONS.md name those that clients meet."""

from service.vectors import MAX_DIMENSIONS

# Of a batch
MAX_ROWS = 100_000
MAX_OBJECTS = 10 * MAX_ROWS  # in its JSON, before rows are counted
UNCHECKED_BYTES = 4 * 1024 * 1024  # of JSON: undecoded rows of smaller bodies take 150 MB at most, for a moment

# Of a batch of texts, which are embedded here
OBJECTS_A_TEXT = 100  # in its JSON, on average, before rows are counted
MAX_TEXT_CHARACTERS = 100_000

# Of requests that name embeddings
MAX_IDS = 10_000
MAX_DIGESTS = 10_000
MAX_DIGESTED = 100_000  # of which buckets are shown: three seconds at 1,536 dimensions
MAX_CHANGES = 1000
MAX_IDS_BYTES = 4 * 1024 * 1024  # of ids alone a list takes 70 MB at most, for a moment

# Of a row
MAX_ID_BYTES = 4096  # 300 characters, each of up to twelve bytes where it is escaped
MAX_VECTOR_BYTES = 32 * MAX_DIMENSIONS  # a double has 24 characters at most
MAX_METADATA_BYTES = 1024 * 1024
MAX_METADATA_DEPTH = 64

# Of a stream
MAX_RECORD_BYTES = 8 * 1024 * 1024
CHUNK_ROWS = 1000
CHUNK_BYTES = 4 * 1024 * 1024
CHUNK_ROOM = 2 * CHUNK_BYTES  # in admission control, as a body that takes as much memory
TEXT_CHUNKS_AT_ONCE = 3  # of texts that are embedded while earlier ones are stored
GROUP_TEXTS = 100  # that are embedded together: about as many as a provider takes in a call
GROUP_CHARACTERS = 256 * 1024
CHUNK_SECONDS = 1.0  # the longest that a record waits for others before they are stored together
MAX_REASONS = 10  # of a bad record
MAX_REASON_LENGTH = 1000  # characters of all of them

# Rows that are decoded before other requests get their turn: 4 ms at 1,536 dimensions. It also bounds the size that a
# body of short decimals grows to as Python floats.
ROWS_AT_ONCE = 64
ROWS_A_STATEMENT = 5000  # preparing them takes 30 ms
