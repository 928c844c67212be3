"""Limits of request bodies and answers. docs/API.md has the table; others are settings."""

SMALL_BODY_BYTES = 1024 * 1024  # of routes that take neither embeddings nor vectors
LEAST_BYTES_A_SECOND = 1024  # of a body, or of an answer, on average, once it has taken long
LINGER_SECONDS = 5  # in which the rest of a refused body is read, so that the client gets the answer
ROOM_STEP = 256 * 1024  # bytes of memory that a growing body takes at once
MAX_EMPTY_FRAMES = 1000  # of a compressed body, one after the other: each takes as long as a large one
MAX_WINDOW_LOG = 23  # of zstd: 8 MiB, the most that RFC 9659 lets an encoder use
MAX_ACCEPT_LENGTH = 1000  # characters of the header Accept that are parsed
MAX_POINTS = 100_000  # of a map in an answer
MAX_FIELD_CHARACTERS = 64  # of a value of the metadata beside a point
PIECE_BYTES = 256 * 1024  # of an answer, at least, in one send
