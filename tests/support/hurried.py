"""The service with less time for a batch under a schema: `python -m tests.support.hurried serve`."""

from service.__main__ import main
from service.metadata import schemas

SECONDS = 1.5  # of a processor

schemas.BATCH_SECONDS = SECONDS

if __name__ == "__main__":
    main()
