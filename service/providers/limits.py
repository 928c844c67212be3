"""Limits of calls to providers, with their reasons."""

CALLS = 64  # concurrent calls of a process
CALLS_OF_INSTANCE = 24  # of these, for one instance
ATTEMPTS = 4  # of a call that may be repeated
LONGEST_PAUSE = 10.0  # seconds of a Retry-After within which a call is repeated in the same request
# Of answers that are awaited or decoded, in a process. An answer takes up to one and a half times its size in memory;
# 128 vectors of 3,072 dimensions have at most 10 MB.
ANSWERS_BYTES = 96 * 1024 * 1024
ANSWERS_BYTES_OF_INSTANCE = 48 * 1024 * 1024
CONNECT_SECONDS = 5.0
# Of an answer: a component has at most 26 characters in JSON.
BYTES_OF_COMPONENT = 26
BYTES_BESIDE = 64 * 1024
MAX_ERROR_BYTES = 64 * 1024  # of an error
MAX_MESSAGE = 300  # characters of a provider's message in our errors
TEXTS_A_CALL = 128  # of providers that allow more: answers of this size are decoded without blocking other requests
BYTES_A_CALL = 256 * 1024
SIZE_SECONDS = 600.0  # after which larger calls are tried again, if a provider refused them
SEARCHES_FOR_BAD_TEXT = 24  # calls to find the texts for which a provider refused several
RESERVED_SECONDS = 300.0  # after which a reservation expires, unless it is renewed
RENEW_SECONDS = 60.0  # between renewals
SETTLE_SECONDS = 10.0  # of a reservation that are left for entering the cost, if it cannot be renewed
ENTER_SECONDS = 300.0  # of attempts to enter a cost while the database does not answer
CLOSE_SECONDS = 5.0  # of these attempts when the service ends
RESERVE_WAIT = 10.0  # seconds that a request waits for reserved tokens of others
RESERVE_PAUSE = 0.1
# The circuit breaker: consecutive failures, and the pause, which doubles each time.
FAILURES_BEFORE_REST = 5
REST_SECONDS, LONGEST_REST = 5.0, 120.0
# A token has at least one byte. Some providers add an instruction to each text.
TOKENS_BESIDE = 16
MOST_TOKENS = 10**9  # that a provider may report for a call
BYTES_OF_TOKEN = 4  # an estimate for English, if the provider does not count
