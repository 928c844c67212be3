"""The limits of calls to providers, with where they come from."""

CALLS = 64  # that one process makes at once, of all instances
CALLS_OF_INSTANCE = 24  # of these
ATTEMPTS = 4  # of a call that may be repeated
LONGEST_PAUSE = 10.0  # seconds that a provider may ask for with Retry-After, and be asked again in the same request
CONNECT_SECONDS = 5.0
# An answer: a component has at most 26 characters as JSON, and there may be some more about each text.
BYTES_OF_COMPONENT = 26
BYTES_BESIDE = 64 * 1024
MAX_ERROR_BYTES = 64 * 1024  # of an answer that says what was wrong
MAX_MESSAGE = 300  # characters of a provider's message that are passed on
TEXTS_A_CALL = 128  # of providers that take more: their answers are decoded without keeping others waiting
BYTES_A_CALL = 256 * 1024
SEARCHES_FOR_BAD_TEXT = 24  # calls that look for the text for which a provider refused several
RESERVED_SECONDS = 300.0  # after which the tokens of a call that never ended are free again
RESERVE_WAIT = 10.0  # seconds that a request waits for the end of calls which have reserved too much
RESERVE_PAUSE = 0.1
# A broken provider is left alone after failures one after the other, the second time twice as long.
FAILURES_BEFORE_REST = 5
REST_SECONDS, LONGEST_REST = 5.0, 120.0
# No tokenizer makes more than one token of a byte. Some providers put an instruction before each text.
TOKENS_BESIDE = 16
BYTES_OF_TOKEN = 4  # where the provider does not count them: the usual of English
