"""Limits of request bodies and answers. docs/API.md has the table; others are settings."""

SMALL_BODY_BYTES = 1024 * 1024  # of routes without embeddings, texts or vectors
MAX_SMALL_VALUES = 150_000  # of these bodies: commas, lists and objects, which take 60 ms to decode
LEAST_BYTES_A_SECOND = 1024  # of a body or an answer, on average, after the time limit
LINGER_SECONDS = 5  # for reading the rest of a refused body, so that the client gets the answer
ROOM_STEP = 256 * 1024  # bytes of memory that a growing body reserves at once
MAX_EMPTY_FRAMES = 1000  # in a row, of a compressed body: each costs as much time as a large one
MAX_WINDOW_LOG = 23  # of zstd: 8 MiB, the limit for encoders in RFC 9659
MAX_ACCEPT_LENGTH = 1000  # characters of the header Accept that are parsed
MAX_POINTS = 100_000  # of a map in an answer
MAX_FIELD_CHARACTERS = 64  # of a metadata value of a point
PIECE_BYTES = 256 * 1024  # of an answer in one send, at least
